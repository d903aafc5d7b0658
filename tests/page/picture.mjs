// The README's pictures: the live page under celebrity load, in both colour schemes.

import { GATEWAY, json, until, withPage } from "./harness.mjs";

for (const scheme of ["light", "dark"]) {
  await withPage({ width: 1180, height: 800, scheme }, async (page) => {
    await until("the verdict is critical", () => json(`${GATEWAY}/stats`), (stats) => stats.verdict.state === "critical");
    await page.locator("#keys tbody tr").first().waitFor();
    // The charts need some seconds of history.
    await until("some seconds", () => page.evaluate(() => performance.now() > 25_000));
    await page.screenshot({ path: `${process.env.PICTURES}/live-page-${scheme}.png` });
  });
}
