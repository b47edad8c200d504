// One market's book, folded from its stream. After every message the ten best levels of each side
// must have the checksum that the exchange sent: who shows another book finds out at once.

import { crc32 } from "./crc32.js";
import { parse } from "./decimals.js";

const CHECKSUM_LEVELS = 10;

/** One side: levels by price, and the prices in order, best first. */
class Side {
  constructor(isBid) {
    this.isBid = isBid;
    this.clear();
  }

  clear() {
    this.levels = new Map();
    this.keys = [];
  }

  set([price, quantity, orders]) {
    const value = parse(price);
    const key = this.isBid ? -value : value;
    const known = this.levels.has(key);
    if (quantity === "0") {
      if (known) this.keys.splice(this.#place(key), 1);
      this.levels.delete(key);
      return;
    }
    if (!known) this.keys.splice(this.#place(key), 0, key);
    this.levels.set(key, { price, quantity, orders, value });
  }

  best(count) {
    return this.keys.slice(0, count).map((key) => this.levels.get(key));
  }

  #place(key) {
    let low = 0;
    let high = this.keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.keys[middle] < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export class Book {
  constructor() {
    this.bids = new Side(true);
    this.asks = new Side(false);
    this.sequence = 0;
    this.time = "";
  }

  /** Fold one message; false where the book is another one than the exchange's afterwards. */
  take(message) {
    if (message.type === "snapshot") {
      this.bids.clear();
      this.asks.clear();
    }
    for (const level of message.bids) this.bids.set(level);
    for (const level of message.asks) this.asks.set(level);
    this.sequence = message.sequence;
    this.time = message.time;
    return this.checksum() === message.checksum;
  }

  checksum() {
    const parts = [this.bids, this.asks].flatMap((side) =>
      side.best(CHECKSUM_LEVELS).map(({ price, quantity }) => `${price}:${quantity}`),
    );
    return crc32(parts.join(":"));
  }
}
