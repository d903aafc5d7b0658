// The answer about a store: nodes, largest keys with their slots, and what would help.

import { count, make, milliseconds, percent, write, DASH } from "./format.js";

const MEASURES = {
  nothing: "No change", replica_reads: "Replica reads", client_side_cache: "Client-side cache",
  split_key: "Split the key", more_copies: "More copies of the key", move_slots: "Move slots",
};

const element = (id) => document.getElementById(id);

export function update(store) {
  element("store").hidden = !store;
  if (!store) return;
  write(element("store-answer"), store.sentence);
  write(element("store-about"),
    `${store.server}, ${count(store.commands)} keyed commands to primaries in ${store.window_seconds.toFixed(0)} s, commands from ${store.commands_from}`);
  rows("store-nodes", store.nodes, (node) => [
    String(node.shard_id), node.address,
    node.primary == null ? node.role : `${node.role} of ${node.primary}`,
    node.slots.join(", ") || DASH, count(node.commands), percent(node.share),
    percent(node.reconciliation.unseen_share),
  ], 4);
  const slowest = families(store).slice(0, 10);
  rows("store-families", slowest, ({ family, shard, took }) => [
    family, String(shard), count(took.count), milliseconds(took.p50), milliseconds(took.p99),
  ], 1);
  element("store-families-scroll").hidden = slowest.length === 0;
  rows("store-keys", store.keys.slice(0, 10), (key) => [
    key.key, key.slot == null ? DASH : String(key.slot), String(key.shard_id), count(key.count),
    key.error === 0 ? "exact" : `+${count(key.error)}`, percent(key.share),
  ], 1);
  rows("store-help", store.mitigations, (one) => [
    MEASURES[one.mitigation] ?? one.mitigation, percent(one.hottest_share), one.note,
  ], 1);
  element("store-help-scroll").hidden = store.mitigations.length === 0;
}

// The families of commands of all nodes, slowest first.
function families(store) {
  const all = store.nodes.flatMap((node) => Object.entries(node.family_latency_ms)
    .map(([family, took]) => ({ family, shard: node.shard_id, took })));
  return all.sort((a, b) => (b.took.p99 ?? Infinity) - (a.took.p99 ?? Infinity));
}

// Fills a table; the first `texts` cells are text, the rest are figures.
function rows(id, items, cells, texts) {
  const body = document.querySelector(`#${id} tbody`);
  while (body.rows.length > items.length) body.rows[body.rows.length - 1].remove();
  items.forEach((item, index) => {
    const values = cells(item);
    const row = body.rows[index] ?? addRow(body, values.length, texts);
    values.forEach((value, cell) => write(row.cells[cell], value));
  });
}

function addRow(body, cells, texts) {
  const row = body.insertRow();
  for (let cell = 0; cell < cells; cell++) {
    const className = cell < texts ? "text" : "";
    row.append(cell === 0 ? make("th", { scope: "row", className }) : make("td", { className }));
  }
  return row;
}
