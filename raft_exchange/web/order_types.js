// What can be ordered: one row for each type. A row is offered where the market says that it takes
// the types it is made of, so that a page shows what its own release can do.

const COMMON = ["time_in_force", "expires_at", "post_only", "self_trade_prevention", "client_order_id"];
const takes = (...types) => (market) => types.every((type) => market.order_types.includes(type));
const single = (type) => (values) => ({ path: "/v1/orders", body: { ...values, type } });

/** `fields` in the order they are shown in, required ones marked with *. */
export const ORDER_TYPES = [
  {
    name: "limit",
    title: "Limit",
    fields: ["price*", "quantity*", "display_quantity", ...COMMON],
    offered: takes("limit"),
    request: single("limit"),
  },
  {
    name: "market",
    title: "Market",
    fields: ["quantity", "quote_quantity", "self_trade_prevention", "client_order_id"],
    oneOf: ["quantity", "quote_quantity"],
    offered: takes("market"),
    request: single("market"),
  },
  {
    name: "stop",
    title: "Stop",
    fields: ["stop_price*", "quantity*", "expires_at", "self_trade_prevention", "client_order_id"],
    offered: takes("stop"),
    request: single("stop"),
  },
  {
    name: "stop_limit",
    title: "Stop limit",
    fields: ["stop_price*", "price*", "quantity*", "display_quantity", ...COMMON],
    offered: takes("stop_limit"),
    request: single("stop_limit"),
  },
  {
    name: "oco",
    title: "One cancels other",
    fields: ["price*", "stop_price*", "quantity*", "self_trade_prevention"],
    offered: takes("limit", "stop"),
    request({ price, stop_price, ...rest }) {
      const limit = { ...rest, type: "limit", price };
      return { path: "/v1/orders/oco", body: { limit, stop: { ...rest, type: "stop", stop_price } } };
    },
  },
];

const isLater = takes("stop"); // the release that knows stops knows these as well

/** The fields of all types: how they are labelled, entered and checked. */
export const FIELDS = {
  price: { title: "Price", kind: "price" },
  stop_price: { title: "Stop price", kind: "price" },
  quantity: { title: "Quantity", kind: "quantity" },
  quote_quantity: { title: "Or spend", kind: "amount", offered: isLater },
  display_quantity: { title: "Shown quantity (iceberg)", kind: "quantity", offered: isLater, extra: true },
  time_in_force: {
    title: "Time in force",
    options: [
      ["", "Good till canceled"],
      ["ioc", "Immediate or cancel"],
      ["fok", "Fill or kill"],
      ["gtd", "Good till date"],
    ],
  },
  expires_at: { title: "Expires at", kind: "time", shown: (values) => values.time_in_force === "gtd" },
  post_only: { title: "Post only", kind: "flag" },
  self_trade_prevention: {
    title: "Self-trade prevention",
    extra: true,
    options: [
      ["", "As the market says"],
      ["expire_taker", "Expire taker"],
      ["expire_maker", "Expire maker"],
      ["expire_both", "Expire both"],
      ["decrement", "Decrement"],
      ["none", "None"],
    ],
  },
  client_order_id: { title: "Own label", kind: "label", extra: true },
};

/** The types that a market takes. */
export function offeredTypes(market) {
  return ORDER_TYPES.filter((type) => type.offered(market));
}

/** The fields of a type in a market: `{name, isRequired, ...FIELDS[name]}`. */
export function fieldsOf(type, market) {
  return type.fields
    .map((text) => ({ name: text.replace("*", ""), isRequired: text.endsWith("*") }))
    .map((field) => ({ ...FIELDS[field.name], ...field }))
    .filter((field) => !field.offered || field.offered(market));
}
