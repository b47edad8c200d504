// What the node of this page says of the cluster; lags are known to the leader, and asked of it.

import { byId, element, write } from "./elements.js";

const POLL_MS = 2_000;

export class Cluster {
  constructor(calls, nodes, stream) {
    this.calls = calls;
    this.nodes = nodes;
    this.stream = stream;
  }

  /** Ask now and from then on. */
  async watch() {
    try {
      if (!document.hidden) await this.ask();
    } catch {
      write(byId("cluster-facts"), "The node does not say.");
    } finally {
      setTimeout(() => this.watch(), POLL_MS);
    }
  }

  async ask() {
    const view = await this.calls.readAt(this.stream.origin, "/v1/cluster");
    this.nodes.learn(view);
    const lags = await this.#lags(view);
    const leader = view.leader ? name(view.leader) : "none";
    write(
      byId("cluster-facts"),
      `${view.cluster}: this node is ${name(view.node)}, ${view.role}; leader ${leader}, term ${view.term}; sequence ${view.sequence}`,
    );
    const rows = view.members.map((member) => {
      const role = member.id === view.leader ? "leader" : member.votes ? "follower" : "catching up";
      const own = member.id === view.node ? " (this page)" : "";
      const cells = [role, member.fenced ? "fenced" : member.reachable ? "yes" : "no", lags.get(member.id) ?? "–"];
      const head = element("th", { scope: "row" }, `${name(member.id)}${own}`, element("small", {}, member.http_url));
      return element("tr", {}, head, ...cells.map((text) => element("td", {}, String(text))));
    });
    byId("member-rows").replaceChildren(...rows);
  }

  async #lags(view) {
    const leader = view.members.find(({ id }) => id === view.leader);
    const origin = this.nodes.all.find((url) => url === leader?.http_url);
    try {
      const told = view.role === "leader" || !origin ? view : await this.calls.readAt(origin, "/v1/cluster");
      return new Map(told.members.map(({ id, match_lag: lag }) => [id, lag]));
    } catch {
      return new Map();
    }
  }
}

/** An id as people can tell it from others. */
const name = (id) => id.slice(0, 8);
