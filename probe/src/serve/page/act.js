// The gateway's switches, and what each of them would do before it is touched.

import { make, percent, write } from "./format.js";

const POLL_MS = 2_000;
const NAMES = {
  nothing: "no mitigation", cache: "cache, all keys", hot_only_cache: "cache, hot keys only", replication: "copies of hot keys",
  jump: "jump hashing", rendezvous: "rendezvous hashing", placement: "another placement (median)", bounded_load: "bounded load",
};
const form = document.getElementById("switches");
const status = document.getElementById("act-status");
let gateway, timer, busy = false;

export function begin(url) {
  if (url === gateway) return;
  gateway = url;
  clearInterval(timer);
  if (!gateway) return;
  timer = setInterval(poll, POLL_MS);
  poll();
}

async function ask(path, options) {
  const answer = await fetch(gateway + path, { ...options, signal: AbortSignal.timeout(4_000) });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail ?? `the gateway returned ${answer.status}`);
  return body;
}

async function poll() {
  if (document.hidden || busy) return;
  const [state, whatIf, stats] = await Promise.allSettled(["/admin/mitigation", "/admin/what-if", "/stats"].map((path) => ask(path)));
  if (state.reason) say(reason(state.reason), true);
  else {
    if (!busy) show(state.value);
    if (status.dataset.lost) say("");
  }
  if (whatIf.value) rank(whatIf.value);
  if (stats.value) write(document.getElementById("act-breakers"), (stats.value.breakers ?? []).map(breaker).filter(Boolean).join(" "));
}

// A shard whose requests fail at once, or one of them tries.
function breaker({ shard_id, state, opened, refused }) {
  if (state === "closed") return "";
  const what = state === "open" ? "does not answer: its requests fail at once" : "is tried again with one request";
  return `Shard ${shard_id} ${what} (${refused} so far; circuit breaker ${state.replace("_", "-")}, opened ${opened} times).`;
}

function say(text, lost = false) {
  status.dataset.lost = lost ? "yes" : "";
  write(status, text);
}

// A request that got no answer has only a technical name.
function reason(error) {
  return error instanceof TypeError || error.name === "TimeoutError" ? `The gateway at ${gateway} does not respond.` : error.message;
}

// At how many gateways a change holds, if there are several.
function held(gateways) {
  if (!gateways) return "";
  const failed = gateways.failed.map(({ url, problem }) => `; ${url}: ${problem}`);
  return ` at ${gateways.holding} of ${gateways.known} gateways${failed.join("")}`;
}

function show(state) {
  document.getElementById("act").hidden = false;
  const { cache, replication, auto } = form.elements;
  for (const choice of cache) choice.checked = choice.value === state.cache;
  // A gateway has not every switch.
  for (const control of form.querySelectorAll(".row > *")) control.parentElement.hidden = !(control.name in state);
  for (const name of ["stale_while_revalidate", "negative_caching"]) form.elements[name].checked = state[name];
  auto.checked = state.auto?.enabled;
  const shards = document.querySelectorAll("#shards tbody tr").length || 1;
  const most = Math.max(shards, state.replication);
  if (replication.options.length !== most) {
    replication.replaceChildren(...Array.from({ length: most }, (_, n) => new Option(n ? String(n + 1) : "1, home only", n + 1)));
  }
  if (document.activeElement !== replication) replication.value = state.replication;
  write(document.getElementById("act-auto"), state.auto?.enabled ? state.auto.reason ?? "" : "");
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", async ({ target }) => {
  const value = target.type === "checkbox" ? target.checked : target.type === "radio" ? target.value : Number(target.value);
  busy = true;
  say("switching …");
  try {
    const state = await ask("/admin/mitigation", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ [target.name]: value }),
    });
    show(state);
    say(`Switched${held(state.gateways)}.`);
  } catch (error) {
    say(reason(error), true);
  } finally {
    busy = false;
  }
});

function rank({ options, note, offered }) {
  document.getElementById("what-if").hidden = false;
  document.getElementById("what-if-scroll").hidden = options.length === 0;
  const basis = options.length ? `Predicted from the ${offered.requests} requests of the last ${Math.round(offered.window_seconds)} s.` : `No prediction: ${note ?? "no load"}.`;
  write(document.getElementById("what-if-note"), basis);
  const body = document.querySelector("#options tbody");
  while (body.rows.length > options.length) body.rows[body.rows.length - 1].remove();
  options.forEach((option, index) => {
    const row = body.rows[index] ?? addRow(body);
    const copies = option.mitigation === "replication" ? `${option.settings.copies} ` : "";
    write(row.cells[0], copies + (NAMES[option.mitigation] ?? option.mitigation));
    write(row.cells[1], percent(option.hottest_shard_share));
    row.cells[2].firstElementChild.style.inlineSize = `${Math.min(100, 100 * option.hottest_shard_share)}%`;
    row.toggleAttribute("data-now", option.mitigation === "nothing");
    row.title = option.note ?? "";
  });
}

function addRow(body) {
  const row = body.insertRow();
  row.append(make("th", { scope: "row", className: "text" }), make("td"), make("td", { className: "bar" }, make("span")));
  return row;
}
