// The shards: a chart each on one common scale, and all figures in one table.

import { count, make, milliseconds, rate, write, DASH } from "./format.js";

const WINDOW_SECONDS = 120;
const cards = [];
const points = [];
let top = 10;

// The past as the probe has kept it; what this page has seen of an earlier probe stays.
export function remember(past) {
  const last = points.at(-1)?.taken_at ?? 0;
  for (const second of past) if (second.taken_at > last) points.push(second);
  draw();
}

// A gap in the lines.
export function interrupt() {
  const last = points.at(-1);
  if (last?.shards.length) points.push({ taken_at: last.taken_at + 0.001, shards: [] });
  for (const card of cards) write(card.rate, DASH);
}

export function update(second) {
  points.push(second);
  const blamed = second.verdicts.kernel?.shard_id;
  const body = document.querySelector("#shards tbody");
  while (body.rows.length > second.shards.length) body.rows[body.rows.length - 1].remove();
  second.shards.forEach((shard, index) => {
    const card = (cards[index] ??= addCard(shard.shard_id));
    card.element.toggleAttribute("data-blamed", blamed === shard.shard_id);
    write(card.rate, rate(shard.kernel_per_second));
    write(card.node, shard.node ? ` on ${shard.node}` : "");
    write(card.why, shard.agrees == null && shard.kernel == null ? shard.cause ?? "" : "");
    const row = body.rows[index] ?? addRow(body, shard.shard_id);
    fill(row, shard);
  });
  draw();
}

function addCard(id) {
  const rateText = make("span", { textContent: DASH });
  const node = make("small", {});
  const why = make("p", { className: "why" });
  const chart = make("div", { className: "chart", ariaHidden: "true" });
  const head = make("div", { className: "head" },
    make("h3", {}, `Shard ${id}`, node),
    make("p", { className: "rate" }, rateText, make("small", { textContent: " /s" })));
  const element = make("article", { className: "card" }, head, why, chart);
  document.getElementById("cards").append(element);
  const card = { element, rate: rateText, node, why, chart };
  new ResizeObserver(() => card.plot?.setSize({ width: chart.clientWidth, height: chart.clientHeight })).observe(chart);
  return card;
}

function addRow(body, id) {
  const row = body.insertRow();
  row.append(make("th", { scope: "row", textContent: id }));
  for (const field of ["kernel_per_second", "app_per_second", "p50", "p99", "kernel", "app", "difference", "bound", "agrees", "node"]) {
    const cell = row.insertCell();
    cell.dataset.field = field;
  }
  row.lastElementChild.className = "text";
  return row;
}

function fill(row, shard) {
  const texts = [
    rate(shard.kernel_per_second), rate(shard.app_per_second),
    milliseconds(shard.latency_ms?.p50), milliseconds(shard.latency_ms?.p99),
    count(shard.kernel), count(shard.app), count(shard.difference), count(shard.bound),
  ];
  texts.forEach((text, index) => write(row.cells[index + 1], text));
  const last = row.cells[texts.length + 1];
  const word = shard.agrees == null ? "unknown" : shard.agrees ? "yes" : "NO";
  write(last, shard.cause ? `${word}: ${shard.cause}` : word);
  last.className = `text ${shard.agrees == null ? "" : shard.agrees ? "yes" : "no"}`;
  write(row.cells[texts.length + 2], shard.node ?? DASH);
}

function draw() {
  const now = points.at(-1)?.taken_at;
  if (now === undefined) return;
  while (points[0].taken_at < now - WINDOW_SECONDS) points.shift();
  const shards = Math.max(...points.map((point) => point.shards.length));
  for (let id = cards.length; id < shards; id++) cards.push(addCard(id));
  const rates = points.flatMap((point) => point.shards.flatMap((s) => [s.kernel_per_second ?? 0, s.app_per_second ?? 0]));
  top = nice(Math.max(10, ...rates));
  const times = points.map((point) => point.taken_at);
  cards.forEach((card, id) => {
    const of = (field) => points.map((point) => point.shards[id]?.[field] ?? null);
    const data = [times, of("kernel_per_second"), of("app_per_second")];
    if (card.plot) card.plot.setData(data);
    else card.plot = plot(card.chart, data);
  });
}

// The next 1, 2 or 5 times a power of ten.
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

function plot(chart, data) {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name);
  const grid = { stroke: color("--line"), width: 1 };
  const font = "11px system-ui, sans-serif";
  const ago = (plot, ticks) => ticks.map((tick) => {
    const seconds = Math.round(tick - plot.scales.x.max);
    return seconds === 0 ? "now" : `${String(seconds).replace("-", "−")} s`;
  });
  return new uPlot({
    width: chart.clientWidth, height: chart.clientHeight, padding: [6, 4, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "shards" }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      x: { time: false, range: () => [points.at(-1).taken_at - WINDOW_SECONDS, points.at(-1).taken_at] },
      y: { range: () => [0, top] },
    },
    axes: [
      { stroke: color("--quiet"), font, grid: { show: false }, ticks: { show: false }, size: 18, gap: 2,
        splits: (plot) => [plot.scales.x.max - 100, plot.scales.x.max - 50], values: ago },
      { stroke: color("--quiet"), font, grid, ticks: { show: false }, size: 40, gap: 4,
        splits: () => [0, top / 2, top], values: (_, ticks) => ticks.map((tick) => rate(tick)) },
    ],
    series: [
      {},
      { stroke: color("--kernel"), width: 5, points: { show: false } },
      { stroke: color("--app"), width: 1.5, points: { show: false } },
    ],
  }, data, chart);
}

// Other colours need other canvases.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const card of cards) {
    card.plot?.destroy();
    card.plot = undefined;
  }
  draw();
});

