// The channels of one page over a WebSocket, followed from node to node.
//
// Each channel stands at a sequence: that of its last message, or of the last heartbeat that came
// while it was subscribed, up to which nothing was missing. Subscribing at another node from there continues without a gap or a repeat;
// where that node has forgotten it says `resync`, and a snapshot follows. Messages name what came
// before them, so a hole is seen, and mended by beginning the channel anew.

const SILENCE_MS = 20_000; // heartbeats come every 15 s
const CONNECT_MS = 3_000;
const PAUSE_MS_MIN = 150;
const PAUSE_MS_MAX = 2_000;
const AUTH = "auth"; // names the answer to the first frame
const REVOKED = "key_revoked"; // why the exchange closes a socket whose key ended

export class Stream {
  #socket = null;
  #timer = 0;
  #retry = 0;
  #failures = 0;
  #channels = new Map(); // label -> {last: of the last message, upTo: nothing missing, isLive}

  /**
   * `handlers`: message(message) for what channels say, missing(label) for a channel that is refused,
   * state(name) with connecting | live | lost, refused() when a node does not take the key, after
   * which `next()` goes on. `greeting()` is the frame that says who reads, or null.
   */
  constructor(nodes, handlers, greeting) {
    this.nodes = nodes;
    this.handlers = handlers;
    this.greeting = greeting;
    this.origin = nodes.current;
    this.gaps = 0;
    this.repeats = 0;
    this.resyncs = 0;
  }

  /** Follow exactly these channels from now on; those that are new begin with a snapshot. */
  follow(labels) {
    const gone = [...this.#channels.keys()].filter((label) => !labels.includes(label));
    const added = labels.filter((label) => !this.#channels.has(label));
    for (const label of gone) this.#channels.delete(label);
    for (const label of added) this.#channels.set(label, newChannel());
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    if (gone.length) this.#send({ op: "unsubscribe", channels: gone });
    for (const label of added) this.#subscribe(label);
  }

  /** Begin a channel anew: what is shown of it is wrong. */
  restart(label) {
    this.#channels.set(label, newChannel());
    if (this.#socket?.readyState === WebSocket.OPEN) this.#subscribe(label);
  }

  open() {
    clearTimeout(this.#retry);
    const origin = this.nodes.current;
    this.origin = origin;
    const socket = new WebSocket(`${origin.replace(/^http/, "ws")}/v1/ws`);
    this.#socket = socket;
    this.handlers.state("connecting");
    this.#watch(CONNECT_MS);
    socket.onopen = () => {
      if (socket !== this.#socket) return;
      this.#watch(SILENCE_MS);
      const greeting = this.greeting();
      if (greeting) this.#send({ ...greeting, id: AUTH });
      for (const [label, channel] of this.#channels) {
        channel.isLive = false;
        this.#subscribe(label);
      }
    };
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#watch(SILENCE_MS);
      this.#take(JSON.parse(data));
    };
    socket.onclose = ({ reason }) => (reason === REVOKED ? this.#refused(socket) : this.#lost(socket));
  }

  /** Begin at the same node as somebody else; what is followed goes on where it stands. */
  reopen() {
    this.#end(this.#socket);
    this.open();
  }

  /** Go on at another node. */
  next() {
    this.nodes.leave(this.origin);
    this.#failures += 1;
    // The first round of the nodes is made at once; then pauses grow.
    const round = Math.floor(this.#failures / (this.nodes.all.length + 1));
    const ms = round ? Math.min(PAUSE_MS_MIN * 2 ** round, PAUSE_MS_MAX) : 0;
    this.#retry = setTimeout(() => this.open(), ms);
  }

  #watch(ms) {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#timer = setTimeout(() => this.#lost(socket), ms);
  }

  #lost(socket) {
    if (!this.#end(socket)) return;
    this.handlers.state("lost");
    this.next();
  }

  #refused(socket) {
    if (this.#end(socket)) this.handlers.refused();
  }

  /** Be done with a socket; false where that was so before. */
  #end(socket) {
    if (socket === null || socket !== this.#socket) return false;
    this.#socket = null;
    clearTimeout(this.#timer);
    socket.close();
    return true;
  }

  #send(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  #subscribe(label) {
    const { upTo } = this.#channels.get(label);
    const frame = { op: "subscribe", id: label, channels: [label] };
    if (upTo !== null) frame.from_sequence = upTo;
    this.#send(frame);
  }

  #take(message) {
    if ("status" in message) this.#answer(message);
    else if ("channel" in message) this.#event(message);
    else if (message.type === "heartbeat") this.#upTo(message.sequence);
    else if (message.type === "resync") this.#forget(message.channels);
    else if (message.type === "going_away" || message.type === "cut_off") {
      this.#lost(this.#socket);
    }
  }

  #answer({ id, status }) {
    if (id === AUTH) {
      if (status !== 200) this.#refused(this.#socket);
    } else if (status === 200) {
      const channel = this.#channels.get(id);
      if (channel) channel.isLive = true;
      this.#failures = 0;
      this.handlers.state("live");
    } else if (status < 500) {
      this.#channels.delete(id);
      this.handlers.missing(id);
    } else {
      this.#lost(this.#socket); // behind, or about to stop
    }
  }

  #upTo(sequence) {
    for (const channel of this.#channels.values()) {
      if (channel.isLive && channel.last !== null) channel.upTo = sequence;
    }
  }

  #forget(labels) {
    this.resyncs += 1;
    for (const label of labels) {
      const channel = this.#channels.get(label);
      if (channel) channel.last = channel.upTo = null;
    }
  }

  #event(message) {
    const { channel: label, type, sequence, previous_sequence: previous } = message;
    const channel = this.#channels.get(label);
    if (!channel) return; // left a moment ago
    const { last } = channel;
    if (type !== "snapshot" && type !== "ticker") {
      if (last === null) return; // its snapshot is on its way
      if (sequence <= last) {
        this.repeats += 1;
        return;
      }
      if (previous !== last) {
        this.gaps += 1;
        this.restart(label);
        return;
      }
    }
    channel.last = channel.upTo = sequence;
    this.handlers.message(message);
  }
}

function newChannel() {
  return { last: null, upTo: null, isLive: false };
}
