// The page shows the API's numbers: every second under load, and exactly at rest.

import assert from "node:assert/strict";
import { PROBE, json, until, withPage } from "./harness.mjs";

// The text of a table, without thin spaces and with plain minus signs.
const cells = (page, table) => page.locator(`#${table} tbody tr`).evaluateAll((rows) =>
  rows.map((row) => [...row.cells].map((cell) => cell.textContent.replaceAll("\u202f", "").replace("−", "-"))));
const shown = (value) => (value == null ? "–" : String(value));

await withPage({}, async (page) => {
  // Under load the page shows an event's numbers until the next event.
  await page.evaluate(() => {
    new EventSource("/api/events").addEventListener("second", ({ data }) => (window.newest = JSON.parse(data)));
  });
  await until("the page shows the newest second", async () => {
    const second = await page.evaluate(() => window.newest);
    if (!second?.shards.some((shard) => shard.hot_keys.kernel.length)) return null;
    const [shards, keys, sentence] = [await cells(page, "shards"), await cells(page, "keys"), await page.locator("#verdict-sentence").textContent()];
    const rows = second.shards.map((shard) => [shard.shard_id, shard.kernel, shard.app, shard.difference, shard.bound].map(shown));
    const hot = second.shards.flatMap(({ shard_id, hot_keys }) => hot_keys.kernel.map((key) => [String(shard_id), key.key, String(key.count)]));
    const found = [shards.map((row) => [0, 5, 6, 7, 8].map((cell) => row[cell])), keys.map((row) => row.slice(0, 3)), sentence];
    const same = JSON.stringify(found) === JSON.stringify([rows, hot, second.verdicts.kernel.sentence]);
    return same ? { keys, state: await page.locator("#verdict-state").textContent() } : null;
  }, (seen) => seen && seen.state === "critical" && seen.keys[0][1] === "celebrity-user-kardashian");
  assert.equal(await page.locator('.card[data-blamed] h3').textContent(), "Shard 0");
  assert.match(await page.locator("#announce").textContent(), /^critical, shard 0, key celebrity-user-kardashian$/);
  assert.match(await page.locator("#verdict-agree").textContent(), /^Kernel and gateway /);
  console.log("under load");

  // At rest the script reads the API itself.
  await until("the page shows what the API says at rest", async () => {
    const [compare, verdict] = [await json(`${PROBE}/api/compare`), await json(`${PROBE}/api/verdict`)];
    const wanted = compare.shards.map((shard) => [shard.kernel, shard.app, shard.difference, shard.bound].map(shown));
    const found = (await cells(page, "shards")).map((row) => row.slice(5, 9));
    const sentence = await page.locator("#verdict-sentence").textContent();
    return { wanted, found, sentence, told: verdict.kernel.sentence };
  }, ({ wanted, found, sentence, told }) =>
    JSON.stringify(wanted) === JSON.stringify(found) && sentence === told && wanted.every((row) => row[2] === "0") && /Not enough traffic/.test(told));
});
