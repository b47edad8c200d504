// Exact decimals: text <-> whole numbers of 10^-18, as BigInt. No number passes through a float.

const PLACES = 18;
const ONE = 10n ** BigInt(PLACES);
const FORM = /^(\d{1,19})(?:\.(\d{1,18}))?$/;

/** The value of a decimal in units of 10^-18; null where the text is none. */
export function parse(text) {
  const found = FORM.exec(text);
  if (found === null) return null;
  return BigInt(found[1]) * ONE + BigInt((found[2] ?? "").padEnd(PLACES, "0"));
}

/** The shortest decimal of a value, with at least `places` digits after the point. */
export function format(value, places = 0) {
  const sign = value < 0n ? "-" : "";
  const digits = String(value < 0n ? -value : value).padStart(PLACES + 1, "0");
  const whole = digits.slice(0, -PLACES);
  const part = digits.slice(-PLACES).replace(/0+$/, "").padEnd(places, "0");
  return sign + (part ? `${whole}.${part}` : whole);
}

/** The product of two values, rounded down. */
export function multiply(a, b) {
  return (a * b) / ONE;
}

/** How many digits after the point a step such as "0.05" needs. */
export function placesOf(text) {
  return (text.split(".")[1] ?? "").length;
}

/** A decimal with the digits after the point that its step has, for columns. */
export function padded(text, places) {
  const [whole, part = ""] = text.split(".");
  const digits = part.padEnd(places, "0");
  return digits ? `${whole}.${digits}` : whole;
}
