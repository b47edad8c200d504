// The last trades of the market, newest first, each once; and the ticker.

import { byId, clock, element, onceAFrame, write } from "./elements.js";
import { padded, placesOf } from "./decimals.js";

const KEPT_MAX = 1_000;
const SHOWN = 40;

export class Tape {
  constructor() {
    this.trades = []; // newest first
    this.draw = onceAFrame(() => this.#draw());
  }

  show(market) {
    this.market = market;
    this.trades = [];
    this.draw();
  }

  take({ type, trades }) {
    const added = trades.toReversed();
    this.trades = type === "snapshot" ? added : [...added, ...this.trades].slice(0, KEPT_MAX);
    this.draw();
  }

  #draw() {
    const places = placesOf(this.market.tick_size);
    const rows = this.trades.slice(0, SHOWN).map((trade) => {
      const price = element("td", { class: trade.taker_side }, padded(trade.price, places));
      const side = element("span", { class: "hidden" }, ` ${trade.taker_side}`);
      price.append(side);
      const cells = [price, element("td", {}, trade.quantity), element("td", {}, clock(trade.time))];
      return element("tr", { "data-trade": trade.trade_id }, ...cells);
    });
    byId("trade-rows").replaceChildren(...rows);
    byId("no-trades").hidden = rows.length > 0;
  }
}

/** Show a ticker. */
export function showTicker({ last, change, high, low, volume }, { base }) {
  write(byId("last"), last ?? "–");
  write(byId("change"), change === null ? "–" : change.startsWith("-") ? change : `+${change}`);
  byId("change").className = change === null ? "" : change.startsWith("-") ? "sell" : "buy";
  write(byId("high"), high ?? "–");
  write(byId("low"), low ?? "–");
  write(byId("volume"), `${volume} ${base}`);
}
