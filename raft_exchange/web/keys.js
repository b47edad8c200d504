// The keyboard: one letter each, outside of text fields, without modifiers.

import { byId, element } from "./elements.js";

/** Have each of `actions` (`[key, text, run]`) run at its key, and list them in the help. */
export function listen(actions) {
  const listed = [
    ...actions.map(([key, text]) => [key, text]),
    ["↑ ↓", "Move between prices of the book, or between own orders"],
    ["Enter", "In the book: take the price into the form"],
    ["Delete", "In own orders: cancel the order"],
    ["Escape", "Close what is open"],
  ];
  for (const [key, text] of listed) {
    byId("help-keys").append(element("div", {}, element("dt", {}, element("kbd", {}, key)), element("dd", {}, text)));
  }
  byId("help-open").onclick = () => byId("help").showModal();
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input:not([type=radio], [type=checkbox]), select, textarea")) return;
    const action = actions.find(([key]) => key === event.key);
    if (!action) return;
    event.preventDefault();
    action[2]();
  });
}
