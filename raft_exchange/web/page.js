// The page: its parts, built and wired; no logic of its own.

import { Access, SAID } from "./access.js";
import { Account } from "./account.js";
import { Book } from "./book.js";
import { Calls } from "./calls.js";
import { Chart } from "./chart.js";
import { Cluster } from "./cluster.js";
import { KeyForm, tradingFault } from "./key_form.js";
import { Ladder } from "./ladder.js";
import { Nodes } from "./nodes.js";
import { OrderForm } from "./order_form.js";
import { OwnOrders } from "./own_orders.js";
import { Stream } from "./stream.js";
import { Tape, showTicker } from "./tape.js";
import { announce, byId, element, write } from "./elements.js";
import { listen } from "./keys.js";

const STATES = { connecting: "Connecting", live: "Live", lost: "Lost, trying another node" };
const STATUSES = { trading: "", halt: "Halted: no orders are taken.", cancel_only: "Only cancels are taken." };
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$/;
const RETRY_MS = 1_000;
const MARKETS_MS = 10_000;

const asked = new URLSearchParams(location.search).get("account") ?? "";
const account = NAME.test(asked) ? asked : "";
const nodes = new Nodes(location.origin);
const access = new Access(account);
const calls = new Calls(nodes, () => access.headers());
const stream = new Stream(nodes, { message: take, missing, state: showState, refused }, () => access.frame());
const tape = new Tape();
const own = new Account(calls, tape);
const orders = new OwnOrders(
  calls,
  (changed) => own.note(changed),
  (live) => ladder.mark(live),
);
const keyForm = new KeyForm(access, calls, becomeSomebodyElse);
const form = new OrderForm(
  calls,
  () => tradingFault(access),
  (answer) => (answer.orders ?? [answer.order]).forEach((order) => orders.put(order)),
);
const ladder = new Ladder((price) => form.setPrice(price));
const chart = new Chart(() => follow());
const cluster = new Cluster(calls, nodes, stream);

let markets = [];
let market = null;
let book = new Book();
let mismatches = 0;
let wasLost = false;

function take(message) {
  switch (message.channel.split(":")[0]) {
    case "book":
      takeBook(message);
      break;
    case "trades":
      tape.take(message);
      own.draw();
      break;
    case "ticker":
      showTicker(message.ticker, market);
      break;
    case "candles":
      chart.take(message);
      break;
    case "orders":
      orders.take(message);
      break;
    case "balances":
      own.note([]);
      break;
  }
}

function takeBook(message) {
  const isRight = book.take(message);
  if (!isRight) {
    mismatches += 1;
    stream.restart(message.channel);
  }
  byId("book-check").dataset.mismatches = String(mismatches);
  write(byId("book-check"), isRight ? "checksum ✓" : "checksum ✗, asking anew");
  ladder.draw();
}

function missing(label) {
  announce(`Not shown: ${label}`);
}

/** A node did not take the key: go on at one that does, or without it. */
async function refused() {
  if (await access.isGood(calls)) return stream.next();
  access.forget(SAID.revoked);
  becomeSomebodyElse();
}

/** Show nothing more of who the page acted for, and what is of who it acts for now. */
function becomeSomebodyElse() {
  orders.clear();
  own.clear();
  showAccess();
  follow();
  stream.reopen();
}

function showAccess() {
  keyForm.show();
  const text = access.holder ? "Not shown: this key may not read." : "Shown once a key is entered.";
  for (const id of ["no-orders", "no-fills"]) write(byId(id), access.may("read") ? "None." : text);
  if (access.may("read")) own.begin().catch(() => {}); // fills then begin with what happens from now on
}

function showState(state) {
  const before = byId("connection").dataset.state;
  byId("connection").dataset.state = state;
  write(byId("connection"), STATES[state]);
  write(byId("node"), new URL(stream.origin).host);
  const { gaps, repeats, resyncs, origin } = stream;
  Object.assign(byId("connection").dataset, { gaps, repeats, resyncs, origin });
  if (state === "lost" && before === "live") announce("The node is lost; trying another one");
  wasLost ||= state === "lost";
  if (state === "live" && before !== "live") {
    if (wasLost) announce(`Connected to ${new URL(stream.origin).host}`);
    wasLost = false;
    cluster.ask().catch(() => {}); // asked again soon in any case
  }
}

function follow() {
  const name = market.market;
  const mine = access.may("read") ? ["orders", "balances"] : [];
  stream.follow([`book:${name}`, `trades:${name}`, `ticker:${name}`, `candles:${name}:${chart.interval}`, ...mine]);
}

function choose(name) {
  market = markets.find((one) => one.market === name) ?? markets[0];
  document.title = `${market.market} · raft-exchange`;
  book = new Book();
  ladder.show(book, market);
  tape.show(market);
  chart.show(market);
  showRules();
  follow();
}

function listMarkets() {
  const chosen = byId("market").value;
  byId("market").replaceChildren(...markets.map((one) => element("option", { value: one.market }, one.market)));
  if (chosen) byId("market").value = chosen;
}

/** Learn of new markets, and of new rules of this one. */
async function refreshMarkets() {
  try {
    const found = (await calls.read("/v1/markets")).markets;
    if (JSON.stringify(found) !== JSON.stringify(markets)) {
      markets = found;
      market = markets.find((one) => one.market === market.market);
      listMarkets();
      showRules();
    }
  } catch {
    // The stream tells people when nodes are away.
  } finally {
    setTimeout(refreshMarkets, MARKETS_MS);
  }
}

function showRules() {
  write(byId("market-status"), STATUSES[market.status]);
  form.show(market);
  orders.show(market, markets);
}

async function begin() {
  try {
    ({ markets } = await calls.read("/v1/markets"));
    if (markets.length === 0) throw new Error("the exchange has no market yet");
    await cluster.ask();
    await access.begin(calls);
  } catch (error) {
    announce(`Waiting: ${error.message}`);
    setTimeout(begin, RETRY_MS);
    return;
  }
  byId("market").onchange = () => choose(byId("market").value);
  listMarkets();
  choose(markets[0].market);
  stream.open();
  cluster.watch();
  setTimeout(refreshMarkets, MARKETS_MS);
  showAccess();
}

byId("account").value = account;
byId("account-form").onsubmit = (event) => {
  event.preventDefault();
  const name = byId("account").value.trim();
  if (name && !NAME.test(name)) return announce("An account is 1 to 32 letters, digits, dots, dashes or underscores, beginning with a letter or digit");
  location.search = name ? new URLSearchParams({ account: name }) : "";
};
listen([
  ["b", "Buy: to the order form", () => form.begin("buy")],
  ["s", "Sell: to the order form", () => form.begin("sell")],
  ["l", "To the book", () => ladder.focus()],
  ["o", "To one's own orders", () => orders.focus()],
  ["m", "To the choice of market", () => byId("market").focus()],
  ["k", "To the key, or the account", () => keyForm.focus()],
  ["?", "These keys", () => byId("help").showModal()],
]);
begin();
