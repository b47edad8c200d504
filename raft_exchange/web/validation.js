// What the exchange would refuse for the market's own rules, said next to the field before it is
// sent. The exchange decides all the same: its answer is shown in the same place.

import { format, multiply, parse } from "./decimals.js";

const RULES = {
  price: { step: "tick_size", lowest: "min_price", highest: "max_price" },
  quantity: { step: "lot_size", lowest: "min_quantity", highest: "max_quantity" },
};
const LABEL = /^[\x20-\x7e]{1,64}$/;

/** What is wrong with the text of a field; "" for nothing. */
export function fault(field, text, market) {
  if (text === "") return field.isRequired ? `${field.title} is missing.` : "";
  if (field.kind === "time") {
    return Date.parse(text) > Date.now() ? "" : "Name a time in the future.";
  }
  if (field.kind === "label") {
    return LABEL.test(text) ? "" : "1 to 64 printable ASCII characters.";
  }
  if (!["price", "quantity", "amount"].includes(field.kind)) return "";
  const value = parse(text);
  if (value === null) return "A decimal number such as 100.25.";
  if (value === 0n) return "Above 0.";
  const rules = RULES[field.kind];
  return rules ? offGrid(value, rules, market) : "";
}

function offGrid(value, { step, lowest, highest }, market) {
  if (value % parse(market[step]) !== 0n) return `In steps of ${market[step]}.`;
  if (value < parse(market[lowest])) return `At least ${market[lowest]}.`;
  if (value > parse(market[highest])) return `At most ${market[highest]}.`;
  return "";
}

/** What is wrong with the fields together: `[field, text]`, or null. */
export function combinedFault(type, values, market) {
  if (type.oneOf) {
    const given = type.oneOf.filter((name) => values[name]);
    if (given.length === 0) return [type.oneOf[0], "Say how much."];
    if (given.length > 1) return [type.oneOf[1], "Either a quantity or an amount to spend."];
  }
  if (values.time_in_force === "gtd" && !values.expires_at) {
    return ["expires_at", "Good till date needs a date."];
  }
  if (values.post_only && ["ioc", "fok"].includes(values.time_in_force)) {
    return ["post_only", "An order that must not take cannot be immediate."];
  }
  const least = parse(market.min_notional);
  if (least && values.price && values.quantity) {
    if (multiply(parse(values.price), parse(values.quantity)) < least) {
      return ["quantity", `Price times quantity must be at least ${market.min_notional}.`];
    }
  }
  return null;
}

/** Price times quantity in the quote's asset, for people; "" where one of them is no number. */
export function total(price, quantity) {
  const [a, b] = [parse(price ?? ""), parse(quantity ?? "")];
  return a === null || b === null ? "" : format(multiply(a, b));
}
