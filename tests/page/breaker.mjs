// A shard that does not answer has its circuit breaker on the page until it is back. The caller kills the shard when this
// prints `closed`, and starts it again when this prints `open`.

import assert from "node:assert/strict";
import { GATEWAY, json, until, withPage } from "./harness.mjs";

const states = async () => (await json(`${GATEWAY}/stats`)).breakers.map(({ state }) => state);

await withPage({}, async (page) => {
  const text = () => page.locator("#act-breakers").textContent();
  await page.getByRole("radio", { name: "off" }).waitFor();
  assert.equal(await text(), "");
  console.log("closed");
  await page.locator("#act-breakers", { hasText: /^Shard 1 does not answer: .*circuit breaker open, opened 1 times/ }).waitFor();
  assert.deepEqual(await states(), ["closed", "open", "closed", "closed"]);
  console.log("open");
  await until("the shard is back", text, (now) => now === "");
});
