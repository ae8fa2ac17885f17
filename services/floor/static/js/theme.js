/**
 * Light, dark, or as the system has it. Kept for the next visit, where the browser allows that.
 */

import { h } from "./dom.js";
import { kept, keep } from "./keeping.js";

const THEMES = [
  ["system", "Auto"],
  ["light", "Light"],
  ["dark", "Dark"],
];

/** The switch, with the theme set as it was kept. */
export function themeSwitch() {
  const buttons = THEMES.map(([name, label]) =>
    h("button", { type: "button", "data-theme-set": name, onclick: () => set(name) }, label),
  );
  const set = (/** @type {string} */ name) => {
    if (name === "system") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.dataset.theme = name;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.themeSet === name));
    keep("theme", name);
  };
  const stored = kept("theme");
  set(THEMES.some(([name]) => name === stored) ? stored : "system");
  return h("div", { class: "theme", role: "group", "aria-label": "Theme" }, buttons);
}
