// Calls to the exchange: one node at a time, another one when it fails, the same key each time.
//
// A write goes out under one Idempotency-Key however often it is sent, with a deadline inside the
// time for which the exchange remembers the key; so sending it again is always safe. When patience
// ends and any attempt may have reached the log, the outcome is unknown, and said to be.

const PATIENCE_MS = 12_000;
const ATTEMPT_MS = 3_000;
const PAUSE_MS = 100;
const DEADLINE_MS = 300_000;
const TRANSIENT = new Set([429, 500, 502, 503, 504]);
const NOTHING_HAPPENED = new Set([
  "no_leader", "overloaded", "read_only", "draining", "behind", "rate_limited",
]);

/** The exchange said no, and why: `problem` is its answer. */
export class Refused extends Error {
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

/** No node could be asked; nothing happened. */
export class Unavailable extends Error {}

/** It may have taken effect. `again()` sends the same thing under the same key. */
export class OutcomeUnknown extends Error {
  constructor(again) {
    super("nobody knows yet whether it took effect");
    this.again = again;
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Calls {
  constructor(nodes, identity) {
    this.nodes = nodes;
    this.identity = identity;
  }

  /** The body of a GET, from whichever node answers. */
  read(path) {
    return this.#send("GET", path, { headers: this.identity() });
  }

  /** The body of a GET at one node and no other. */
  async readAt(origin, path, headers = this.identity()) {
    const answer = await attempt(origin + path, { headers });
    if (answer === null) throw new Unavailable("this node does not answer");
    if (!answer.ok) throw new Refused(answer.body);
    return answer.body;
  }

  /** Send a write until there is an answer: its body. */
  write(method, path, body) {
    const headers = {
      ...this.identity(),
      "Idempotency-Key": crypto.randomUUID?.() ?? randomKey(),
      "X-Deadline": new Date(Date.now() + DEADLINE_MS).toISOString(),
    };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    return this.#send(method, path, { headers, body: body && JSON.stringify(body) });
  }

  async #send(method, path, request) {
    const until = performance.now() + PATIENCE_MS;
    const isWrite = method !== "GET";
    let mayHaveHappened = false;
    for (let tries = 1; ; tries++) {
      const origin = this.nodes.current;
      const answer = await attempt(origin + path, { method, ...request });
      if (answer !== null && !TRANSIENT.has(answer.status)) {
        if (answer.ok) return answer.body;
        throw new Refused(answer.body);
      }
      if (answer === null || !NOTHING_HAPPENED.has(answer.body?.code)) mayHaveHappened = true;
      if (performance.now() > until) {
        if (!isWrite || !mayHaveHappened) {
          throw new Unavailable(answer?.body?.detail ?? "no node answers");
        }
        throw new OutcomeUnknown(() => this.#send(method, path, request));
      }
      if (answer?.status === 429) {
        await pause(Math.min(answer.retryAfterMs, PATIENCE_MS)); // the node is well: we ask too much
        continue;
      }
      this.nodes.leave(origin);
      if (tries % this.nodes.all.length === 0) await pause(PAUSE_MS * Math.min(tries, 10));
    }
  }
}

/** One request: status, body and how long to wait, or null where no whole answer came. */
async function attempt(url, request) {
  try {
    const signal = AbortSignal.timeout(ATTEMPT_MS);
    const response = await fetch(url, { cache: "no-store", credentials: "omit", signal, ...request });
    const retryAfterMs = 1_000 * Number(response.headers.get("Retry-After") ?? 1);
    return { ok: response.ok, status: response.status, retryAfterMs, body: await response.json() };
  } catch {
    return null;
  }
}

/** A key where the page is not from a secure origin, and has no `randomUUID`. */
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
