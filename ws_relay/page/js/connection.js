// The socket to the relay: opens it, opens it again with a growing wait, and notices when nobody is at the other end.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const PING_EVERY_MS = 10_000;
const SILENCE_MS = 10_000; // after a ping: a peer that is there answers at once
const LAG_SAMPLES = 9;

/** Milliseconds to wait before the try after `failures` failed ones; `random` in [0, 1) spreads the viewers. */
export function waitBefore(failures, random) {
  return Math.round(Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures) * (0.5 + random / 2));
}

/** The address of the relay's socket, beside the page's own. */
export function socketUrl(page) {
  const url = new URL("ws", page);
  url.protocol = page.startsWith("https:") ? "wss:" : "ws:";
  url.hash = url.search = "";
  return url.href;
}

/**
 * What to offer as subprotocols: the token goes as one, for addresses end up in logs; the relay answers with the
 * other.
 */
export function subprotocols(token) {
  const escaped = encodeURIComponent(token).replace(/[()]/g, (each) => `%${each.charCodeAt(0).toString(16)}`);
  return token ? ["hive.telemetry", `bearer.${escaped}`] : [];
}

/**
 * Stays connected. `hello()` gives the first message of each connection, `isAllowed()` resolves to false when the relay
 * asks for a token, `onMessage(message)` gets what came, `onState({state, retryAt})` each change of: connecting, live,
 * waiting, token.
 */
export class Connection {
  constructor({ url, token, hello, isAllowed, onMessage, onState }) {
    Object.assign(this, { url, token, hello, isAllowed, onMessage, onState });
    this.failures = 0;
    this.offsetMs = 0; // the relay's clock less ours
    this.lags = [];
    this.state = "connecting";
  }

  /** Connect now, whatever was waited for. */
  open() {
    clearTimeout(this.timer);
    this.#drop();
    this.#tell("connecting");
    const socket = new WebSocket(this.url, subprotocols(this.token()));
    this.socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = (event) => this.#heard(event.data);
    socket.onclose = () => socket === this.socket && this.#closed();
  }

  /** Try at once if it waits. */
  hurry() {
    if (this.state === "waiting") this.open();
  }

  send(message) {
    if (this.socket?.readyState === 1) this.socket.send(JSON.stringify(message));
  }

  /** Milliseconds that events have been behind lately, by the relay's clock; null before the first one. */
  get behindMs() {
    if (!this.lags.length) return null;
    const middle = [...this.lags].sort((a, b) => a - b)[this.lags.length >> 1];
    return Math.max(0, Math.round(middle));
  }

  /** Note when an event was written that has arrived just now. */
  noteLag(writtenMs) {
    this.lags.push(Date.now() + this.offsetMs - writtenMs);
    if (this.lags.length > LAG_SAMPLES) this.lags.shift();
  }

  #opened() {
    this.send(this.hello());
    this.lags = [];
    this.#ping();
    this.pinger = setInterval(() => this.#ping(), PING_EVERY_MS);
  }

  #ping() {
    this.pingedAt = Date.now();
    this.send({ action: "ping" });
    this.silence ??= setTimeout(() => this.#closed(), SILENCE_MS); // an unanswered ping is not forgotten for the next
  }

  #heard(text) {
    this.#hush();
    const message = JSON.parse(text);
    if (message.type === "pong") this.#ponged(message.timestamp);
    if (message.type === "subscribed") {
      this.failures = 0;
      this.#tell("live");
    }
    this.onMessage(message);
  }

  #ponged(timestamp) {
    const now = Date.now();
    if (Number.isFinite(timestamp)) this.offsetMs = Math.round(timestamp - (now + this.pingedAt) / 2);
    // Our clock and the relay's agree to half a round trip; within that they are the same machine's.
    if (Math.abs(this.offsetMs) <= now - this.pingedAt + 1) this.offsetMs = 0;
  }

  async #closed() {
    const wasLive = this.state === "live";
    this.#drop();
    const waitMs = waitBefore(this.failures++, Math.random());
    this.#tell("waiting", Date.now() + waitMs);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), waitMs);
    if (wasLive || (await this.isAllowed())) return;
    clearTimeout(this.timer);
    this.#tell("token");
  }

  #hush() {
    clearTimeout(this.silence);
    this.silence = null;
  }

  #drop() {
    clearInterval(this.pinger);
    this.#hush();
    const socket = this.socket;
    this.socket = null;
    if (socket) {
      socket.onclose = socket.onmessage = socket.onopen = null;
      socket.close();
    }
  }

  #tell(state, retryAt = null) {
    this.state = state;
    this.retryAt = retryAt;
    this.onState({ state, retryAt });
  }
}
