// Shared by all scripts: a browser, a live page, and a list of the page's errors.

import assert from "node:assert/strict";

const { chromium } = await import(process.env.PLAYWRIGHT);

export const PROBE = process.env.PROBE_URL, GATEWAY = process.env.GATEWAY_URL, STARTER = process.env.SCENARIOS_URL;
const PATIENCE_MS = 30_000;

export async function json(url, options) {
  const answer = await fetch(url, options);
  return answer.json();
}

export function post(url, body) {
  return json(url, { method: "POST", body: JSON.stringify(body) });
}

// Evaluates repeatedly until `wanted` holds. The message contains the last state.
export async function until(what, ask, wanted = Boolean) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const seen = await ask();
    if (wanted(seen)) return seen;
    assert.ok(Date.now() < deadline, `${what}: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// Runs `check` with a page of this kind. Fails on any error of the page or its console, except those that `expected`
// matches.
export async function withPage({ width = 1280, height = 900, scheme = "light", expected = /^$|what-if|net::ERR_FAILED/ }, check) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    const page = await browser.newPage({ viewport: { width, height }, colorScheme: scheme });
    page.setDefaultTimeout(PATIENCE_MS);
    const problems = [], loaded = new Map();
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("response", (response) => loaded.set(response.url(), response));
    await page.goto(PROBE);
    await page.locator('#live[data-state="live"]').waitFor();
    await check(page, loaded);
    assert.deepEqual(problems.filter((problem) => !expected.test(problem)), []);
  } finally {
    await browser.close();
  }
}
