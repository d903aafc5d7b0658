// Checks the page of a Redis Cluster: it names node, slot and key, and a failed node. The test starts the load, and kills
// the node in the line `hot HOST:PORT`.

import assert from "node:assert/strict";
import { PROBE, json, until, withPage } from "./harness.mjs";

const KEY = "celebrity-user-kardashian";
const texts = (page, cells) => page.locator(cells).allTextContents();

await withPage({ height: 1500 }, async (page) => {
  const answer = page.locator("#store-answer");
  await until("the hot key", () => answer.textContent(), (text) => text.includes(KEY) && text.includes("critical"));
  const store = await json(`${PROBE}/api/store`);
  const { key, slot, shard_id } = store.keys[0];
  assert.equal(key, KEY);
  assert.match(await answer.textContent(), new RegExp(`in slot ${slot} at ${store.nodes[shard_id].address} \\(primary\\)`));
  assert.match(await page.locator("#verdict-sentence").textContent(), new RegExp(`Shard ${shard_id} is critical`));
  assert.equal(await page.locator("#store-nodes tbody tr").count(), 6);
  const first = await texts(page, "#store-keys tbody tr:first-child > *");
  assert.deepEqual(first.slice(0, 3), [KEY, String(slot), String(shard_id)]);
  const families = await texts(page, "#store-families tbody th");
  assert.deepEqual([...new Set(families)], ["string"], "the load reads and writes strings");
  assert.ok((await page.locator("#store-help tbody tr").count()) > 1, "what would help");
  await page.screenshot({ path: `${process.env.PICTURES}/store.png`, fullPage: true });

  console.log(`hot ${store.nodes[shard_id].address}`);
  const roles = () => texts(page, "#store-nodes tbody td:nth-child(3)");
  const failed = await until("the dead node", roles, (all) => all.includes("failed") && all.filter((role) => role === "primary").length === 3);
  assert.equal(failed.length, 6);
  await page.screenshot({ path: `${process.env.PICTURES}/store-failed.png`, fullPage: true });
});
