// The ladder: a fixed number of rows a side whose texts change, so that focus stays where it was.
// Depth is the quantity from the best price to a row, as a part of the deepest one shown.

import { byId, element, onceAFrame, write } from "./elements.js";
import { format, padded, parse, placesOf } from "./decimals.js";

const ROWS = 12;

export class Ladder {
  #rows = { asks: [], bids: [] };
  #book = null;
  #market = null;
  #own = new Set();

  /** `onPick(price)` is called for a price that somebody chose. */
  constructor(onPick) {
    for (const side of ["asks", "bids"]) {
      const body = byId(side);
      for (let i = 0; i < ROWS; i++) {
        const cells = [element("th", { scope: "row" }), element("td"), element("td")];
        const row = element("tr", { tabIndex: -1, hidden: true }, ...cells);
        row.onclick = () => onPick(row.dataset.price);
        row.onkeydown = (event) => this.#key(event, row, onPick);
        this.#rows[side].push({ row, cells });
        body.append(row);
      }
    }
    this.draw = onceAFrame(() => this.#draw());
  }

  show(book, market) {
    this.#book = book;
    this.#market = market;
    this.draw();
  }

  /** Mark the levels at which one's own orders of the market rest. */
  mark(orders) {
    this.#own = new Set(orders.map(({ market, side, price }) => `${market} ${side} ${price}`));
    this.draw();
  }

  /** Put the keyboard on the best bid or ask. */
  focus() {
    (byId("bids").querySelector("tr:not([hidden])") ?? byId("asks").querySelector("tr:not([hidden])"))?.focus();
  }

  #draw() {
    if (this.#book === null) return;
    const asks = this.#book.asks.best(ROWS);
    const bids = this.#book.bids.best(ROWS);
    const depths = [depthsOf(asks), depthsOf(bids)];
    const deepest = depths.flat().reduce((a, b) => (a > b ? a : b), 1n);
    this.#side("asks", asks.toReversed(), depths[0].toReversed(), deepest);
    this.#side("bids", bids, depths[1], deepest);
    const spread = asks.length && bids.length ? asks[0].value - bids[0].value : null;
    write(byId("spread-value"), spread === null ? "–" : format(spread, placesOf(this.#market.tick_size)));
    write(byId("book-sequence"), `sequence ${this.#book.sequence}`);
    this.#keepATabStop();
  }

  #side(side, levels, depths, deepest) {
    const places = placesOf(this.#market.tick_size);
    this.#rows[side].forEach(({ row, cells }, i) => {
      const level = levels[i];
      row.hidden = level === undefined;
      const name = `${this.#market.market} ${side === "asks" ? "sell" : "buy"} ${level?.price}`;
      row.classList.toggle("own", this.#own.has(name));
      if (row.hidden) return;
      row.dataset.price = level.price;
      write(cells[0], padded(level.price, places));
      write(cells[1], level.quantity);
      write(cells[2], String(level.orders));
      row.style.setProperty("--depth", `${(depths[i] * 100n) / deepest}%`);
    });
  }

  /** One row can be reached by Tab, the others from there by arrow keys. */
  #keepATabStop() {
    const shown = this.#shown();
    if (shown.includes(document.activeElement)) return;
    const stop = byId("bids").querySelector("tr:not([hidden])") ?? shown[0];
    for (const row of shown) row.tabIndex = row === stop ? 0 : -1;
  }

  #shown() {
    return [...this.#rows.asks, ...this.#rows.bids].map(({ row }) => row).filter((row) => !row.hidden);
  }

  #key(event, row, onPick) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (event.key === "Enter") onPick(row.dataset.price);
    else if (step) {
      const shown = this.#shown();
      const next = shown[shown.indexOf(row) + step];
      if (next) {
        row.tabIndex = -1;
        next.tabIndex = 0;
        next.focus();
      }
    } else return;
    event.preventDefault();
  }
}

function depthsOf(levels) {
  let sum = 0n;
  return levels.map(({ quantity }) => (sum += parse(quantity)));
}
