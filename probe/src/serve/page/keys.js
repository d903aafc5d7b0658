// The hot keys of both witnesses, side by side.

import { count, make, percent, write } from "./format.js";

export function update(shards) {
  const rows = shards.flatMap(({ shard_id, hot_keys }) => merged(hot_keys).map((key) => ({ shard_id, ...key })));
  document.getElementById("keys-none").hidden = rows.length > 0;
  document.getElementById("keys-scroll").hidden = rows.length === 0;
  const body = document.querySelector("#keys tbody");
  while (body.rows.length > rows.length) body.rows[body.rows.length - 1].remove();
  rows.forEach((key, index) => {
    const row = body.rows[index] ?? addRow(body);
    const texts = [String(key.shard_id), key.key, count(key.kernel?.count), count(key.app?.count), percent((key.kernel ?? key.app).ratio)];
    texts.forEach((text, cell) => write(row.cells[cell], text));
  });
}

// One row a key that either calls hot; the witness that does not has a dash.
function merged(hot_keys) {
  const kernel = hot_keys?.kernel ?? [], app = hot_keys?.app ?? [];
  const names = new Set([...kernel, ...app].map((hot) => hot.key));
  const of = (list, name) => list.find((hot) => hot.key === name);
  return [...names].map((key) => ({ key, kernel: of(kernel, key), app: of(app, key) }));
}

function addRow(body) {
  const row = body.insertRow();
  row.append(make("th", { scope: "row" }), make("td", { className: "text key-name" }), make("td"), make("td"), make("td"));
  return row;
}
