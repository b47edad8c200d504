// One's own live orders: followed, canceled, amended.

import { Field, sayProblem, valuesOf } from "./fields.js";
import { FIELDS } from "./order_types.js";
import { Refused } from "./calls.js";
import { announce, byId, element, onceAFrame, write } from "./elements.js";

const ENDED = new Set(["filled", "canceled", "expired", "rejected"]);
const AMENDABLE = ["price", "stop_price", "quantity"];

export class OwnOrders {
  #live = new Map();
  #rows = new Map();
  #amended = null;
  #fields = [];

  /** `onChange(orders)` is told of every change, `onLive(orders)` what is live as it is drawn. */
  constructor(calls, onChange, onLive) {
    this.calls = calls;
    this.onChange = onChange;
    this.onLive = onLive;
    this.draw = onceAFrame(() => this.#draw());
    byId("cancel-all").onclick = () => this.#cancelAll();
    byId("amend-close").onclick = () => byId("amend").close();
    byId("amend-form").onsubmit = (event) => {
      event.preventDefault();
      this.#amend();
    };
    byId("order-rows").onkeydown = (event) => this.#key(event);
  }

  show(market, markets) {
    this.market = market;
    this.markets = markets;
    this.draw();
  }

  clear() {
    this.#live.clear();
    byId("amend").close();
    this.draw();
  }

  take({ type, orders }) {
    if (type === "snapshot") this.#live.clear();
    for (const order of orders) this.put(order);
    this.onChange(orders);
  }

  /** Note the state of an order, unless a later one is known. */
  put(order) {
    const known = this.#live.get(order.order_id);
    if (known && known.sequence > order.sequence) return;
    if (ENDED.has(order.status)) this.#live.delete(order.order_id);
    else this.#live.set(order.order_id, order);
    this.draw();
  }

  /** Put the keyboard on the newest order's first button. */
  focus() {
    byId("order-rows").querySelector("button")?.focus();
  }

  #draw() {
    const orders = [...this.#live.values()].sort((a, b) => Number(BigInt(b.order_id) - BigInt(a.order_id)));
    const focused = document.activeElement;
    const lostPlace = focused?.closest?.("#order-rows tr");
    for (const [id, { row }] of this.#rows) {
      if (!this.#live.has(id)) {
        row.remove();
        this.#rows.delete(id);
      }
    }
    orders.forEach((order, place) => {
      const shown = this.#rows.get(order.order_id) ?? this.#makeRow(order.order_id);
      shown.fill(order);
      const there = byId("order-rows").children[place];
      if (there !== shown.row) byId("order-rows").insertBefore(shown.row, there ?? null);
    });
    this.onLive(orders.filter(({ status }) => status !== "pending"));
    byId("no-orders").hidden = orders.length > 0;
    byId("cancel-all").disabled = orders.length === 0;
    if (lostPlace && !lostPlace.isConnected) {
      this.focus(); // the row under the keyboard is gone
      if (orders.length === 0) byId("order").focus();
    }
  }

  #makeRow(id) {
    const cells = Array.from({ length: 7 }, (_, i) => element(i ? "td" : "th", i ? {} : { scope: "row" }));
    const amend = element("button", { type: "button", "aria-label": `Amend order ${id}` }, "Amend");
    const cancel = element("button", { type: "button", "aria-label": `Cancel order ${id}` }, "Cancel");
    amend.onclick = () => this.#openAmend(id);
    cancel.onclick = () => this.#cancel(id);
    const row = element("tr", { "data-order": id }, ...cells, element("td", { class: "actions" }, amend, cancel));
    const fill = (order) => {
      const stop = order.stop_price && `stop ${order.stop_price}`;
      const price = [order.price, stop].filter(Boolean).join(", ") || "market";
      const size = order.quantity ?? order.quote_quantity;
      const texts = [id, order.side, order.type.replace("_", " "), price, size, order.filled_quantity, order.status.replace("_", " ")];
      texts.forEach((text, i) => write(cells[i], text));
      cells[1].className = order.side;
    };
    const made = { row, fill };
    this.#rows.set(id, made);
    return made;
  }

  #key(event) {
    const row = event.target.closest("tr");
    const near = { ArrowUp: row.previousElementSibling, ArrowDown: row.nextElementSibling }[event.key];
    if (event.key === "Delete") this.#cancel(row.dataset.order);
    else if (near) near.querySelectorAll("button")[event.target.textContent === "Cancel" ? 1 : 0].focus();
    else return;
    event.preventDefault();
  }

  async #cancel(id) {
    try {
      const { order } = await this.calls.write("DELETE", `/v1/orders/${id}`);
      this.put(order);
      announce(`Order ${id} canceled`);
    } catch (error) {
      announce(`Order ${id} is not canceled: ${error.message}`);
    }
  }

  async #cancelAll() {
    try {
      const { canceled } = await this.calls.write("DELETE", "/v1/orders");
      for (const order of canceled) this.put(order);
      announce(`${canceled.length} orders canceled`);
    } catch (error) {
      announce(`The orders are not canceled: ${error.message}`);
    }
  }

  #openAmend(id) {
    const order = this.#live.get(id);
    if (!order) return;
    this.#amended = order;
    const market = this.markets.find(({ market: name }) => name === order.market);
    this.#fields = AMENDABLE.filter((name) => order[name]).map((name) => {
      const field = new Field({ ...FIELDS[name], name, isRequired: true }, market, "amend");
      field.input.value = order[name];
      return field;
    });
    write(byId("amend-title"), `Amend order ${id}`);
    write(byId("amend-fault"), "");
    byId("amend-fields").replaceChildren(...this.#fields.map((field) => field.element));
    byId("amend").showModal();
    this.#fields[0].input.select();
  }

  async #amend() {
    const order = this.#amended;
    const wrong = this.#fields.filter((field) => !field.check());
    if (wrong.length) return wrong[0].input.focus();
    const changed = Object.entries(valuesOf(this.#fields)).filter(([name, value]) => value !== order[name]);
    if (changed.length === 0) return byId("amend").close();
    try {
      const answer = await this.calls.write("PATCH", `/v1/orders/${order.order_id}`, Object.fromEntries(changed));
      this.put(answer.order);
      byId("amend").close();
      announce(`Order ${order.order_id} amended`);
    } catch (error) {
      const isShown = error instanceof Refused && sayProblem(this.#fields, error.problem);
      if (!isShown) write(byId("amend-fault"), error.message);
    }
  }
}
