// The fields of a form: made from their rows in `order_types.js`, read, and faulted one by one.

import { element, write } from "./elements.js";
import { fault } from "./validation.js";

export class Field {
  /** `prefix` keeps the ids of two forms apart. */
  constructor(row, market, prefix) {
    this.row = row;
    this.market = market;
    const id = `${prefix}-${row.name}`;
    this.input = control(row, id, market);
    this.note = element("p", { class: "fault", id: `${id}-fault` });
    this.input.setAttribute("aria-describedby", this.note.id);
    const label = element("label", { for: id }, titleOf(row, market));
    this.element = element("div", { class: `field ${row.kind ?? "choice"}` }, label, this.input, this.note);
    this.input.addEventListener("blur", () => this.check());
    this.input.addEventListener("input", () => this.note.textContent && this.check());
  }

  get value() {
    if (this.row.kind === "flag") return this.input.checked;
    const text = this.input.value.trim();
    return this.row.kind === "time" && text ? new Date(text).toISOString() : text;
  }

  /** Say what is wrong with it; whether nothing is. */
  check() {
    const text = this.row.kind === "flag" || this.element.hidden ? "" : this.input.value.trim();
    if (this.element.hidden) return this.say("");
    return this.say(fault(this.row, text, this.market));
  }

  say(text) {
    write(this.note, text);
    this.input.setAttribute("aria-invalid", String(text !== ""));
    return text === "";
  }
}

function titleOf({ title, kind }, { base, quote }) {
  const unit = { price: quote, quantity: base, amount: quote }[kind];
  return unit ? `${title} (${unit})` : title;
}

function control({ name, kind, options, isRequired }, id, market) {
  if (options) {
    const choices = options.map(([value, text]) => element("option", { value }, text));
    return element("select", { id, name }, ...choices);
  }
  if (kind === "flag") return element("input", { id, name, type: "checkbox" });
  if (kind === "time") return element("input", { id, name, type: "datetime-local", step: "1" });
  const input = element("input", { id, name, type: "text", spellcheck: false });
  if (kind !== "label") input.inputMode = "decimal";
  if (isRequired) input.setAttribute("aria-required", "true");
  if (kind === "price") input.placeholder = `steps of ${market.tick_size}`;
  if (kind === "quantity") input.placeholder = `steps of ${market.lot_size}`;
  return input;
}

/** What a form's fields say, without those that say nothing. */
export function valuesOf(fields) {
  const said = fields.filter((field) => !field.element.hidden).map((field) => [field.row.name, field.value]);
  return Object.fromEntries(said.filter(([, value]) => value !== "" && value !== false));
}

/** Show a problem next to the field that it names; false where there is none. */
export function sayProblem(fields, problem) {
  const name = problem.field?.split(".").at(-1);
  const field = fields.find(({ row }) => row.name === name);
  if (!field) return false;
  const allowed = problem.allowed ? ` Allowed: ${[problem.allowed].flat().join(", ")}.` : "";
  field.say(`${problem.detail}.${allowed}`);
  field.input.focus();
  return true;
}
