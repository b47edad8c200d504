// Whom this page acts for: the account it names where the exchange has no keys, else the holder of
// the key that somebody entered.
//
// A key is kept in this tab's session storage, which the browser forgets with the tab, and is sent to
// this page's nodes only: as a header, and in the first frame of the socket.

const STORED = "raft-exchange-key";
const KEY = /^[\x21-\x7e]{1,256}$/;

export class Access {
  /** Whether the exchange asks for keys. */
  isRequired = false;
  /** Whom the key speaks for, and what it may do (`scopes`); null without a good one. */
  holder = null;
  /** Why there is no holder, where somebody might think there is one. */
  reason = "";

  #key;

  constructor(account, storage = sessionStorage) {
    this.account = account;
    this.storage = storage;
    this.#key = storage.getItem(STORED);
  }

  /** What a request says of who sends it. */
  headers() {
    if (this.#key !== null) return { Authorization: `Bearer ${this.#key}` };
    return this.account ? { "X-Account": this.account } : {};
  }

  /** What the socket's first frame says of it; null for nothing. */
  frame() {
    if (this.holder) return { op: "auth", key: this.#key };
    return this.isRequired || !this.account ? null : { op: "auth", account: this.account };
  }

  may(scope) {
    if (!this.isRequired) return true;
    return Boolean(this.holder) && [scope, "admin"].some((one) => this.holder.scopes.includes(one));
  }

  /** Learn whether keys are asked for, and what the stored one may do. */
  async begin(calls) {
    try {
      const told = await ask(calls, this.headers());
      this.isRequired = told.isRequired;
      this.holder = told.holder;
      if (!this.isRequired) this.#drop();
    } catch (error) {
      if (error.problem?.code !== "unauthenticated") throw error;
      this.isRequired = true;
      if (this.#key !== null) this.reason = SAID.bad;
      this.#drop();
    }
  }

  /** Keep a key if the exchange knows it; what is wrong with it, "" for nothing. */
  async enter(text, calls) {
    const key = text.trim();
    if (key === "") return SAID.missing;
    if (!KEY.test(key)) return SAID.malformed;
    try {
      ({ holder: this.holder } = await ask(calls, { Authorization: `Bearer ${key}` }));
    } catch (error) {
      return error.problem?.code === "unauthenticated" ? SAID.bad : `Not checked: ${error.message}.`;
    }
    this.#key = key;
    this.reason = "";
    this.storage.setItem(STORED, key);
    return "";
  }

  /** Whether any node still knows the key; a node may have missed its making, or its end. */
  async isGood(calls) {
    try {
      await ask(calls, this.headers());
      return true;
    } catch (error) {
      return error.problem?.code !== "unauthenticated";
    }
  }

  /** Forget the key, for a reason that is said next to the field. */
  forget(reason = "") {
    this.#drop();
    this.reason = reason;
  }

  #drop() {
    this.#key = null;
    this.holder = null;
    this.storage.removeItem(STORED);
  }
}

export const SAID = {
  missing: "Enter a key.",
  toTrade: "Trading takes a key: enter one above.",
  malformed: "A key is 1 to 256 characters without spaces.",
  bad: "The exchange does not know this key, or it was revoked.",
  revoked: "The key was revoked. What it showed is gone from this page.",
};

/** Whom these headers stand for: the first answer of a node that does not refuse them. */
async function ask(calls, headers) {
  let refused;
  for (const origin of calls.nodes.all) {
    try {
      const { account, scopes } = await calls.readAt(origin, "/v1/account", headers);
      if (scopes === null || !headers.Authorization) return { isRequired: false, holder: null };
      // A release before this one does not tell the scopes; it refuses by them all the same.
      return { isRequired: true, holder: { account, scopes: scopes ?? ["read", "trade"] } };
    } catch (error) {
      const code = error.problem?.code;
      // A key that may trade and not read is told nothing but that.
      if (code === "forbidden") return { isRequired: true, holder: { account: "", scopes: ["trade"] } };
      // Keys are asked for before anything else: who has none and is told of another trouble needs none.
      if (!headers.Authorization && code && code !== "unauthenticated") return { isRequired: false, holder: null };
      if (!refused?.problem) refused = error;
    }
  }
  throw refused;
}
