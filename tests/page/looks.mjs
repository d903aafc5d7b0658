// Checks the page's appearance and accessibility: screenshots in two widths and both colour schemes, no cut text,
// enough contrast, names for all controls, a small page, and no requests to other hosts.

import assert from "node:assert/strict";
import { GATEWAY, PROBE, STARTER, until, withPage } from "./harness.mjs";

const MOST_BYTES = 150 * 1024;
const LEAST_CONTRAST = 4.5;

// Texts with too little contrast to their background.
function faint(least) {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => ((c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const color = channels(getComputedStyle(element).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const texts = [...document.body.querySelectorAll("*")].filter((element) =>
    element.checkVisibility() && !element.disabled && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return texts.flatMap((element) => {
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    return contrast < least ? [`${element.tagName} ${element.textContent.trim().slice(0, 40)}: ${contrast.toFixed(2)}`] : [];
  });
}

for (const [width, height] of [[1280, 900], [360, 740]]) {
  for (const scheme of ["light", "dark"]) {
    await withPage({ width, height, scheme }, async (page, loaded) => {
      await until("a hot key is shown", () => page.locator("#keys tbody tr").count());
      await page.locator("#act").waitFor();
      await page.locator("#load").waitFor();
      // Lines, not dots.
      await until("some seconds", () => page.evaluate(() => performance.now() > 4_000));
      await page.screenshot({ path: `${process.env.PICTURES}/${width}-${scheme}.png`, fullPage: true });
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0, "the page scrolls sideways");
      assert.deepEqual(await page.evaluate(faint, LEAST_CONTRAST), []);
      const unnamed = await page.locator("button, input, select, table").evaluateAll((all) => all
        .filter((one) => !(one.labels?.length || one.textContent.trim()))
        .map((one) => one.outerHTML));
      assert.deepEqual(unnamed, []);

      const hosts = new Set([...loaded.keys()].map((url) => new URL(url).origin));
      assert.deepEqual([...hosts].filter((host) => ![PROBE, GATEWAY, STARTER].includes(host)), []);
      const files = [...loaded.values()].filter((answer) => /\/(page\/.*)?$/.test(new URL(answer.url()).pathname));
      const sizes = await Promise.all(files.map(async (answer) => (await answer.body()).length));
      const bytes = sizes.reduce((sum, size) => sum + size, 0);
      assert.ok(files.length >= 10 && bytes <= MOST_BYTES, `${files.length} files, ${bytes} bytes`);
      console.log(`${width} ${scheme}: ${files.length} files, ${bytes} bytes`);

      await page.keyboard.press("Tab");
      assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
      const outline = () => page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert.equal(await outline(), "solid");
    });
  }
}
