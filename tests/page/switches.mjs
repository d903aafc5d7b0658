// The switches change the gateway, and follow changes by others.

import assert from "node:assert/strict";
import { GATEWAY, json, post, until, withPage } from "./harness.mjs";

const state = () => json(`${GATEWAY}/admin/mitigation`);

await withPage({}, async (page) => {
  const off = page.getByRole("radio", { name: "off" });
  await off.waitFor();
  assert.ok(await off.isChecked());
  for (const [name, value] of [["hot keys only", "hot_only"], ["all keys", "all"], ["off", "off"]]) {
    await page.getByRole("radio", { name }).check();
    await until(`the cache is ${value}`, state, ({ cache }) => cache === value);
  }
  await page.locator("#act-status", { hasText: "Switched." }).waitFor();
  for (const box of await page.locator("#switches .row:not([hidden]) input[type=checkbox]").all()) {
    const name = await box.getAttribute("name");
    const isOn = (now) => (name === "auto" ? now.auto.enabled : now[name]);
    await box.check();
    await until(`${name} is on`, state, isOn);
    await box.uncheck();
    await until(`${name} is off`, state, (now) => !isOn(now));
  }
  const copies = page.getByRole("combobox", { name: "Copies of each hot key" });
  if (await copies.isVisible()) {
    await copies.selectOption("3");
    await until("three copies", state, ({ replication }) => replication === 3);
    await copies.selectOption("1");
    await until("no copies", state, ({ replication }) => replication === 1);
  }

  // With the keyboard only.
  await off.focus();
  await page.keyboard.press("ArrowRight");
  await until("the arrow key has switched", state, ({ cache }) => cache === "hot_only");

  await post(`${GATEWAY}/admin/mitigation`, { cache: "all", stale_while_revalidate: true });
  await until("the page follows", () => page.getByRole("radio", { name: "all keys" }).isChecked());
  await until("the page follows", () => page.locator("[name=stale_while_revalidate]").isChecked());
});
