// The page starts a scenario, shows its progress, and stops it.

import assert from "node:assert/strict";
import { GATEWAY, STARTER, json, until, withPage } from "./harness.mjs";

await withPage({}, async (page) => {
  const start = page.getByRole("button", { name: "Start" }), stop = page.getByRole("button", { name: "Stop" });
  await start.waitFor();
  assert.ok(await stop.isDisabled());
  const offered = (await json(`${STARTER}/scenarios`)).scenarios.map(({ name }) => name);
  assert.deepEqual(await page.getByLabel("Scenario").locator("option").allTextContents(), offered);
  await page.getByLabel("Scenario").selectOption("uniform");
  await page.getByLabel("Seconds").fill("600");
  await start.click();
  await until("it loads the gateway", () => json(`${GATEWAY}/stats`), ({ total_requests }) => total_requests > 20);
  await page.locator("#load-status", { hasText: /uniform is running: \d+ of 600 s\./ }).waitFor();
  assert.ok(await start.isDisabled());
  await stop.click();
  await page.locator("#load-status", { hasText: "Last: uniform, stopped" }).waitFor();
  assert.equal((await json(`${STARTER}/scenarios`)).running, null);
});
