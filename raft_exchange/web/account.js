// Fills and balances. The exchange tells both where it keeps accounts; where it does not, fills are
// the trades in which one's own orders took part, as far back as this page has seen them.

import { byId, clock, element, onceAFrame } from "./elements.js";

const SHOWN = 50;
const REFRESH_MS = 300;

export class Account {
  #own = new Map(); // order id -> side
  #fills = null; // what the exchange says; null where it keeps none
  #timer = 0;
  #isAsking = true;
  #era = 0; // grows when the page acts for somebody else: what was asked before is not shown then

  constructor(calls, tape) {
    this.calls = calls;
    this.tape = tape;
    this.draw = onceAFrame(() => this.#draw());
  }

  /** Learn the account's past orders, and what the exchange keeps of it. */
  async begin() {
    const era = this.#era;
    const { orders } = await this.calls.read("/v1/orders?limit=1000");
    if (era === this.#era) this.note(orders);
  }

  /** Forget everything of this account. */
  clear() {
    this.#era += 1;
    clearTimeout(this.#timer);
    this.#own.clear();
    this.#fills = null;
    this.#timer = 0;
    this.#isAsking = true;
    this.#drawBalances({});
    this.draw();
  }

  /** Note that these orders are one's own, and that something may have changed. */
  note(orders) {
    for (const { order_id: id, side } of orders) this.#own.set(id, side);
    if (this.#isAsking && !this.#timer) this.#timer = setTimeout(() => this.#refresh(), REFRESH_MS);
    this.draw();
  }

  async #refresh() {
    const era = this.#era;
    this.#timer = 0;
    try {
      const { fills } = await this.calls.read(`/v1/fills?limit=${SHOWN}`);
      if (era !== this.#era) return;
      this.#fills = fills;
      const { balances } = await this.calls.read("/v1/account");
      if (era === this.#era) this.#drawBalances(balances);
    } catch (error) {
      this.#isAsking = !["unknown_route", "unauthenticated", "forbidden"].includes(error.problem?.code);
    }
    this.draw();
  }

  #drawBalances(balances) {
    const rows = Object.entries(balances).map(([asset, { free, held }]) =>
      element("tr", {}, element("th", { scope: "row" }, asset), element("td", {}, free), element("td", {}, held)),
    );
    byId("balances").hidden = rows.length === 0;
    byId("balance-rows").replaceChildren(...rows);
  }

  #draw() {
    const fills = this.#fills ?? this.tape.trades.flatMap((trade) => this.#sides(trade));
    const rows = fills.slice(0, SHOWN).map((fill) => {
      const fee = fill.fee ? `${fill.fee} ${fill.fee_asset}` : "–";
      const cells = [fill.price, fill.quantity, fee, fill.order_id, clock(fill.time)];
      const side = element("td", { class: fill.side }, fill.side);
      return element("tr", { "data-trade": fill.trade_id }, side, ...cells.map((text) => element("td", {}, text)));
    });
    byId("fill-rows").replaceChildren(...rows);
    byId("no-fills").hidden = rows.length > 0;
  }

  #sides(trade) {
    return [trade.taker_order_id, trade.maker_order_id]
      .filter((id) => this.#own.has(id))
      .map((id) => ({ ...trade, order_id: id, side: this.#own.get(id) }));
  }
}
