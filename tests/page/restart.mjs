// After a probe ends, the page reports it, keeps its history, and continues when the probe is back. The caller ends the
// probe when this prints `live`, and starts it again when this prints `lost`.

import assert from "node:assert/strict";
import { PROBE, json, until, withPage } from "./harness.mjs";

// The browser itself reports the broken connection.
await withPage({ expected: /ERR_(CONNECTION_REFUSED|CONNECTION_RESET|INCOMPLETE_CHUNKED_ENCODING|EMPTY_RESPONSE)/ }, async (page) => {
  await until("the table is there", () => page.locator("#shards tbody tr").count());
  console.log("live");
  await page.locator("#live", { hasText: /^probe not reachable since \d\d:\d\d:\d\d; reconnecting$/ }).waitFor();
  assert.equal(await page.locator("#shards tbody tr").count(), 4);
  console.log("lost");
  await page.locator('#live[data-state="live"]', { hasText: /^live, / }).waitFor();
  const since = (await json(`${PROBE}/api/compare`)).shards[0].since;
  assert.ok(since > 0);
  const first = await page.locator("#live").textContent();
  await until("seconds go on", () => page.locator("#live").textContent(), (text) => text !== first && text.startsWith("live, "));
});
