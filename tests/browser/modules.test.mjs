// What the page's modules promise where no browser is needed. Run by Node.js: `node --test`.

import assert from "node:assert/strict";
import { test } from "node:test";

const of = (name) => import(new URL(`../../raft_exchange/web/${name}.js`, import.meta.url));
const { crc32 } = await of("crc32");
const { Book } = await of("book");
const { format, multiply, padded, parse } = await of("decimals");
const { Nodes } = await of("nodes");
const { Stream } = await of("stream");
const { Access, SAID } = await of("access");
const { Calls, OutcomeUnknown, Refused, Unavailable } = await of("calls");
const { ORDER_TYPES, fieldsOf, offeredTypes } = await of("order_types");
const { combinedFault, fault } = await of("validation");

const MARKET = {
  market: "BTC-USD", base: "BTC", quote: "USD", tick_size: "0.05", lot_size: "0.001",
  min_price: "1", max_price: "1000", min_quantity: "0.01", max_quantity: "50", min_notional: "10",
  order_types: ["limit", "market"],
};
const LATER = { ...MARKET, order_types: ["limit", "market", "stop", "stop_limit"] };

test("a checksum is that of zlib", () => {
  assert.equal(crc32("123456789"), 0xcbf43926);
  assert.equal(crc32(""), 0);
});

test("decimals are exact, and what is none is refused", () => {
  assert.equal(format(parse("0.1") + parse("0.2")), "0.3");
  assert.equal(format(multiply(parse("100.25"), parse("0.00000001"))), "0.0000010025");
  assert.equal(padded("100.5", 2), "100.50");
  assert.equal(format(-parse("0.05"), 2), "-0.05");
  for (const text of ["", "-1", "1e3", ".5", "5.", "41abc", "NaN", " 1", "1,5", "0.1234567890123456789"]) {
    assert.equal(parse(text), null, text);
  }
});

test("a book is in step exactly while its ten best levels are the exchange's", () => {
  const book = new Book();
  const level = (n) => [String(n), "1", 1];
  const bids = Array.from({ length: 12 }, (_, i) => level(100 - i));
  const text = bids.slice(0, 10).map(([p, q]) => `${p}:${q}`).concat("101.5:2").join(":");
  const start = { type: "snapshot", sequence: 5, time: "", bids, asks: [["101.5", "2", 1]] };
  assert.equal(book.take({ ...start, checksum: crc32(text) }), true);
  const gone = { type: "delta", sequence: 6, time: "", bids: [["100", "0", 0]], asks: [["7", "0", 0]] };
  const after = bids.slice(1, 11).map(([p, q]) => `${p}:${q}`).concat("101.5:2").join(":");
  assert.equal(book.take({ ...gone, checksum: crc32(after) }), true);
  assert.equal(book.take({ ...gone, bids: [["99", "3", 2]], checksum: crc32(after) }), false);
  assert.deepEqual(book.bids.best(2).map(({ price }) => price), ["99", "98"]);
});

test("prices are ordered as numbers, not as text", () => {
  const book = new Book();
  const asks = [["9.95", "1", 1], ["10", "1", 1], ["100", "1", 1]];
  book.take({ type: "snapshot", sequence: 1, time: "", bids: asks, asks, checksum: 0 });
  assert.deepEqual(book.asks.best(3).map(({ price }) => price), ["9.95", "10", "100"]);
  assert.deepEqual(book.bids.best(3).map(({ price }) => price), ["100", "10", "9.95"]);
});

const members = (...urls) => ({ members: urls.map((http_url) => ({ http_url })) });

test("a page of a member moves among the members, each in turn", () => {
  const nodes = new Nodes("http://localhost:1");
  nodes.learn(members("http://127.0.0.1:1", "http://127.0.0.1:2", "https://127.0.0.1:3", "http://127.0.0.1:4"));
  assert.deepEqual(nodes.all, ["http://localhost:1", "http://127.0.0.1:2", "http://127.0.0.1:4"]);
  nodes.leave("http://localhost:1");
  nodes.leave("http://localhost:1"); // somebody else noticed too
  assert.equal(nodes.current, "http://127.0.0.1:2");
});

test("a page of no member keeps to its own origin", () => {
  const nodes = new Nodes("https://exchange.example");
  nodes.learn(members("http://pod-0:8081", "http://pod-1:8081"));
  nodes.leave("https://exchange.example");
  assert.equal(nodes.current, "https://exchange.example");
});

class FakeSocket {
  static OPEN = 1;
  static all = [];
  constructor(url) {
    Object.assign(this, { url, readyState: 0, sent: [] });
    FakeSocket.all.push(this);
  }
  accept() {
    this.readyState = 1;
    this.onopen();
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  say(...messages) {
    for (const message of messages) this.onmessage({ data: JSON.stringify(message) });
  }
  close() {
    this.readyState = 3;
  }
}

function following(t, labels, greeting = () => null, refused = () => {}) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  FakeSocket.all = [];
  globalThis.WebSocket = FakeSocket;
  const nodes = new Nodes("http://a");
  nodes.learn(members("http://a", "http://b"));
  const seen = [];
  const stream = new Stream(nodes, { message: (m) => seen.push(m.sequence), missing() {}, state() {}, refused }, greeting);
  stream.follow(labels);
  stream.open();
  const socket = FakeSocket.all[0];
  socket.accept();
  for (const id of labels) socket.say({ id, status: 200, result: {} });
  return { stream, seen, socket, next: () => (t.mock.timers.tick(1), FakeSocket.all.at(-1)) };
}

const snapshot = (channel, sequence) => ({ channel, type: "snapshot", sequence, previous_sequence: null });
const trade = (channel, sequence, previous) => ({ channel, type: "trade", sequence, previous_sequence: previous });

test("a lost channel resumes at the next node from where it stood", (t) => {
  const { seen, socket, next } = following(t, ["trades:M"]);
  socket.say(snapshot("trades:M", 4), trade("trades:M", 9, 4));
  socket.onclose({ reason: "" });
  const other = next();
  assert.equal(other.url, "ws://b/v1/ws");
  other.accept();
  assert.deepEqual(other.sent, [{ op: "subscribe", id: "trades:M", channels: ["trades:M"], from_sequence: 9 }]);
  other.say({ id: "trades:M", status: 200 }, trade("trades:M", 12, 9));
  assert.deepEqual(seen, [4, 9, 12]);
});

test("a heartbeat moves only those channels that were subscribed when it came", (t) => {
  const { stream, socket, next } = following(t, ["trades:M"]);
  socket.say(snapshot("trades:M", 4));
  stream.follow(["trades:M", "trades:N"]);
  socket.say({ type: "heartbeat", sequence: 50, time: "" });
  socket.onclose({ reason: "" });
  const other = next();
  other.accept();
  assert.deepEqual(other.sent.map((frame) => frame.from_sequence), [50, undefined]);
});

test("a channel that is refused is left out, and the others go on", (t) => {
  const { seen, socket } = following(t, ["trades:M", "orders"]);
  socket.say({ id: "orders", status: 401, error: { code: "unauthenticated" } }, snapshot("trades:M", 4));
  assert.deepEqual([seen, FakeSocket.all.length, socket.readyState], [[4], 1, 1]);
});

test("who reads is said first, and a node that does not take the key is not just left", (t) => {
  const told = [];
  const { stream, socket, next } = following(t, ["orders"], () => ({ op: "auth", key: "k" }), () => told.push(1));
  assert.deepEqual(socket.sent[0], { op: "auth", key: "k", id: "auth" });
  assert.equal(socket.sent[1].op, "subscribe");
  socket.say({ id: "auth", status: 401, error: { code: "unauthenticated" } });
  assert.deepEqual([told.length, FakeSocket.all.length, socket.readyState], [1, 1, 3]);
  stream.next();
  const other = next();
  other.accept();
  assert.equal(other.url, "ws://b/v1/ws");
  other.onclose({ reason: "key_revoked" });
  assert.equal(told.length, 2);
});

test("a repeat is dropped, and a gap begins the channel anew", (t) => {
  const { stream, seen, socket } = following(t, ["trades:M"]);
  socket.say(snapshot("trades:M", 4), trade("trades:M", 9, 4), trade("trades:M", 9, 4));
  assert.deepEqual([seen, stream.repeats], [[4, 9], 1]);
  socket.say(trade("trades:M", 20, 15), trade("trades:M", 21, 20));
  assert.deepEqual(socket.sent.at(-1), { op: "subscribe", id: "trades:M", channels: ["trades:M"] });
  assert.deepEqual([seen, stream.gaps], [[4, 9], 1]);
  socket.say(snapshot("trades:M", 21), trade("trades:M", 22, 21));
  assert.deepEqual(seen, [4, 9, 21, 22]);
});

test("a node that says it goes away, or falls silent, is left", (t) => {
  const { socket, next } = following(t, ["trades:M"]);
  socket.say({ type: "going_away", sequence: 4 });
  const other = next();
  assert.equal(other.url, "ws://b/v1/ws");
  other.accept();
  t.mock.timers.tick(20_000);
  assert.equal(next().url, "ws://a/v1/ws");
});

function calling(t, ...answers) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const asked = [];
  t.mock.method(globalThis, "fetch", async (url, { headers }) => {
    asked.push([url, headers["Idempotency-Key"]]);
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (answer === null) throw new TypeError("connection lost");
    const [status, body] = answer;
    const sent = new Headers(status === 429 ? { "Retry-After": "2" } : {});
    return { ok: status < 300, status, headers: sent, json: async () => body };
  });
  let now = 0;
  t.mock.method(performance, "now", () => (now += 500));
  const nodes = new Nodes("http://a");
  nodes.learn(members("http://a", "http://b"));
  const finished = (promise) => {
    const turning = setInterval(() => t.mock.timers.tick(2_000), 1);
    return promise.finally(() => clearInterval(turning));
  };
  return { asked, finished, calls: new Calls(nodes, () => ({})) };
}

test("a write whose answer is lost goes to the next node under the same key", async (t) => {
  const { asked, finished, calls } = calling(t, null, [201, { sequence: 7 }]);
  assert.deepEqual(await finished(calls.write("POST", "/v1/orders", {})), { sequence: 7 });
  assert.deepEqual(asked.map(([url]) => url), ["http://a/v1/orders", "http://b/v1/orders"]);
  assert.equal(asked[0][1], asked[1][1]);
});

test("who asks too much waits as long as told, and keeps the node", async (t) => {
  const { asked, finished, calls } = calling(t, [429, { code: "rate_limited", detail: "wait" }], [201, { sequence: 7 }]);
  assert.deepEqual(await finished(calls.write("POST", "/v1/orders", {})), { sequence: 7 });
  assert.deepEqual(asked.map(([url]) => url), ["http://a/v1/orders", "http://a/v1/orders"]);
});

test("when patience ends, one lost answer makes the outcome unknown", async (t) => {
  const { asked, finished, calls } = calling(t, null, [503, { code: "no_leader", detail: "none" }]);
  const error = await finished(calls.write("POST", "/v1/orders", {})).catch((e) => e);
  assert.ok(error instanceof OutcomeUnknown);
  assert.equal(new Set(asked.map(([, key]) => key)).size, 1);
  await finished(error.again()).catch(() => {});
  assert.equal(new Set(asked.map(([, key]) => key)).size, 1);
});

test("when nothing can have happened, that is said", async (t) => {
  const { finished, calls } = calling(t, [503, { code: "no_leader", detail: "none" }]);
  const error = await finished(calls.write("POST", "/v1/orders", {})).catch((e) => e);
  assert.ok(error instanceof Unavailable);
});

test("a refusal is final", async (t) => {
  const { asked, finished, calls } = calling(t, [422, { code: "off_tick", detail: "no" }]);
  await assert.rejects(finished(calls.write("POST", "/v1/orders", {})), Refused);
  assert.equal(asked.length, 1);
});

test("types and fields are offered as the market says", () => {
  assert.deepEqual(offeredTypes(MARKET).map(({ name }) => name), ["limit", "market"]);
  assert.deepEqual(offeredTypes(LATER), ORDER_TYPES);
  const names = (market) => fieldsOf(ORDER_TYPES[1], market).map(({ name }) => name);
  assert.ok(!names(MARKET).includes("quote_quantity"));
  assert.ok(names(LATER).includes("quote_quantity"));
});

test("an OCO is a limit order and a stop of the same side and size", () => {
  const values = { market: "M", side: "sell", quantity: "1", price: "110", stop_price: "90" };
  const { path, body } = ORDER_TYPES.at(-1).request(values);
  const leg = { market: "M", side: "sell", quantity: "1" };
  assert.equal(path, "/v1/orders/oco");
  assert.deepEqual(body, {
    limit: { ...leg, type: "limit", price: "110" },
    stop: { ...leg, type: "stop", stop_price: "90" },
  });
});

test("each rule of the market is said in words", () => {
  const price = { title: "Price", kind: "price", isRequired: true };
  const told = (text) => fault(price, text, MARKET);
  assert.equal(told("100.05"), "");
  assert.equal(told(""), "Price is missing.");
  assert.equal(told("100.01"), "In steps of 0.05.");
  assert.equal(told("0.95"), "At least 1.");
  assert.equal(told("1000.05"), "At most 1000.");
  const [limit, market] = ORDER_TYPES;
  assert.deepEqual(combinedFault(limit, { price: "99.95", quantity: "0.1" }, MARKET), [
    "quantity", "Price times quantity must be at least 10.",
  ]);
  assert.equal(combinedFault(limit, { price: "100", quantity: "0.1" }, MARKET), null);
  assert.equal(combinedFault(market, { quantity: "1", quote_quantity: "5" }, LATER)[0], "quote_quantity");
});

function stored(entries = {}) {
  const map = new Map(Object.entries(entries));
  return { map, getItem: (k) => map.get(k) ?? null, setItem: (k, v) => map.set(k, v), removeItem: (k) => map.delete(k) };
}

/** Calls to nodes that answer `/v1/account` in turn: a body, or the code of a refusal. */
function asking(...answers) {
  const shown = [];
  const readAt = async (origin, path, headers) => {
    shown.push(headers);
    const answer = answers.shift();
    if (typeof answer === "string") throw new Refused({ code: answer, detail: answer });
    return answer;
  };
  return { shown, nodes: { all: ["http://a", "http://b"] }, readAt };
}

const KEYED = { account: "ann", scopes: ["read"] };

test("an exchange without keys is told the account, and no stored key", async () => {
  const storage = stored({ "raft-exchange-key": "old" });
  const access = new Access("bob", storage);
  await access.begin(asking({ account: "anonymous", scopes: null }));
  assert.deepEqual([access.isRequired, access.headers(), storage.map.size], [false, { "X-Account": "bob" }, 0]);
  assert.deepEqual(access.frame(), { op: "auth", account: "bob" });
  assert.ok(access.may("trade"));
});

test("an exchange that has no leader now, and no keys, is shown all the same", async () => {
  const access = new Access("new", stored());
  await access.begin(asking("no_leader"));
  assert.ok(access.may("trade"));
});

test("an exchange with keys shows nothing of one's own before one is entered", async () => {
  const access = new Access("bob", stored());
  await access.begin(asking("unauthenticated", "unauthenticated"));
  assert.deepEqual([access.isRequired, access.holder, access.frame(), access.reason], [true, null, null, ""]);
  assert.deepEqual(["read", "trade"].map((scope) => access.may(scope)), [false, false]);
});

test("a key is kept in the tab once any node knows it, and may do what its scopes say", async () => {
  const storage = stored();
  const access = new Access("", storage);
  await access.begin(asking("unauthenticated", "unauthenticated"));
  assert.equal(await access.enter(" ", asking()), SAID.missing);
  assert.equal(await access.enter("two words", asking()), SAID.malformed);
  assert.equal(await access.enter("k", asking("unauthenticated", "unauthenticated")), SAID.bad);
  assert.equal(storage.map.size, 0);
  const calls = asking("unauthenticated", KEYED); // the first node lags
  assert.equal(await access.enter(" k ", calls), "");
  assert.deepEqual(calls.shown.at(-1), { Authorization: "Bearer k" });
  assert.deepEqual(access.frame(), { op: "auth", key: "k" });
  const later = new Access("bob", storage);
  await later.begin(asking(KEYED));
  assert.deepEqual(later.frame(), { op: "auth", key: "k" });
  assert.deepEqual(later.headers(), { Authorization: "Bearer k" });
  assert.deepEqual(["read", "trade"].map((scope) => later.may(scope)), [true, false]);
});

test("a key that ended is forgotten, and the reason is told", async () => {
  const storage = stored({ "raft-exchange-key": "k" });
  const access = new Access("", storage);
  await access.begin(asking(KEYED));
  assert.equal(await access.isGood(asking("unauthenticated", KEYED)), true);
  assert.equal(await access.isGood(asking("unauthenticated", "unauthenticated")), false);
  access.forget(SAID.revoked);
  assert.deepEqual([storage.map.size, access.reason, access.holder], [0, SAID.revoked, null]);
  assert.equal(await access.enter("other", asking(KEYED)), "");
  assert.equal(access.reason, "");
});
