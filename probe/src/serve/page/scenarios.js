// The scenario starter of the native lab.

import { write } from "./format.js";

const POLL_MS = 2_000;
const form = document.getElementById("starter");
const stop = document.getElementById("stop");
const status = document.getElementById("load-status");
let url, timer, known = "";
const about = new Map();

export function begin(link) {
  if (link === url) return;
  url = link;
  clearInterval(timer);
  if (!url) return;
  timer = setInterval(poll, POLL_MS);
  poll();
}

async function ask(options) {
  const answer = await fetch(`${url}/scenarios`, { ...options, signal: AbortSignal.timeout(4_000) });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail ?? `the scenario starter returned ${answer.status}`);
  return body;
}

async function poll() {
  if (document.hidden) return;
  await act(ask());
}

async function act(asked) {
  try {
    show(await asked);
  } catch (error) {
    const silent = error instanceof TypeError || error.name === "TimeoutError";
    write(status, silent ? `The scenario starter at ${url} does not respond.` : error.message);
  }
}

function show({ running, last, scenarios }) {
  document.getElementById("load").hidden = false;
  const { scenario } = form.elements;
  const names = scenarios.map(({ name }) => name).join();
  if (names !== known) {
    known = names;
    about.clear();
    for (const one of scenarios) about.set(one.name, one.about);
    scenario.replaceChildren(...scenarios.map(({ name }) => new Option(name)));
    if (about.has("celebrity")) scenario.value = "celebrity";
    describe();
  }
  form.querySelector("[type=submit]").disabled = running !== null;
  stop.disabled = running === null;
  const past = last ? `Last: ${last.scenario}, ${last.outcome}${last.detail ? `: ${last.detail}` : ""}.` : "No scenario is running.";
  write(status, running ? `${running.scenario} is running: ${Math.floor(running.elapsed_seconds)} of ${running.duration} s.` : past);
}

function describe() {
  write(document.getElementById("load-about"), about.get(form.elements.scenario.value) ?? "");
}

form.elements.scenario.addEventListener("change", describe);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const { scenario, duration, rate_factor } = form.elements;
  const body = JSON.stringify({ scenario: scenario.value, duration: Number(duration.value), rate_factor: Number(rate_factor.value) });
  act(ask({ method: "POST", headers: { "content-type": "application/json" }, body }));
});
stop.addEventListener("click", () => act(ask({ method: "DELETE" })));
