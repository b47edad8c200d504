// Which node this page talks to, and which ones it may move to.
//
// The list is the members' own URLs, where the page came from one of them. Behind a Service or a
// proxy it did not: then its own origin, which leads to any node, is all there is. Streams and calls
// share the choice, so that a node that fails one of them is left by both.

const LOOPBACK = /^(https?:\/\/)(?:localhost|\[::1\])(?=[:/]|$)/;

/** An origin in the form in which two of them are compared. */
export function canonical(origin) {
  return origin.toLowerCase().replace(LOOPBACK, "$1127.0.0.1").replace(/\/$/, "");
}

export class Nodes extends EventTarget {
  #origins;

  constructor(origin) {
    super();
    this.home = origin;
    this.current = origin;
    this.moves = 0;
    this.#origins = [origin];
  }

  get all() {
    return [...this.#origins];
  }

  /** Take the list of members from an answer of `/v1/cluster`. */
  learn(cluster) {
    const urls = cluster.members.map((member) => member.http_url);
    const own = canonical(this.home);
    if (!urls.some((url) => canonical(url) === own)) return;
    const scheme = this.home.split(":")[0];
    this.#origins = urls
      .map((url) => (canonical(url) === own ? this.home : url))
      .filter((url) => url.split(":")[0] === scheme);
  }

  /** Leave `failed` for the next node, unless somebody did already. */
  leave(failed) {
    if (failed !== this.current) return;
    const place = this.#origins.indexOf(failed);
    this.current = this.#origins[(place + 1) % this.#origins.length];
    if (this.current === failed) return;
    this.moves += 1;
    this.dispatchEvent(new Event("moved"));
  }
}
