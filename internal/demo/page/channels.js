// The page's calls, on one client Channel for each choice of transport.

const SERVICE = "/pollbridge.demo.v1.Demo/";
const UNAVAILABLE = 14;

/** What a person can choose, and the `transports` option that it stands for. */
const CHOICES = { auto: undefined, ws: ["ws"], longpoll: ["longpoll"] };

/**
 * Channels keeps the Channel that new RPCs go to. Another choice of transport
 * makes another Channel; the one before it stays until its RPCs have ended.
 *
 * Events: `statechange` when the state shown may have changed, `traffic` when a
 * counter has, `choose` when another Channel has taken over, `break` when a person
 * has broken something, `mend` when it is whole again; both with detail saying what.
 */
export class Channels extends EventTarget {
  #Channel;
  #url;
  #network;
  #choice = "";
  #current;
  #owner; // the bridge of the last RPC's session
  #calls = new Map(); // Channel → number of its open RPCs
  counters = { sent: 0, sentBytes: 0, received: 0, receivedBytes: 0, cuts: 0, open: 0, lost: 0 };

  /** Channel is the client's class, url the bridge's prefix, network a Network. */
  constructor(Channel, url, network) {
    super();
    this.#Channel = Channel;
    this.#url = url;
    this.#network = network;
  }

  get state() {
    return this.#current.state;
  }

  get transport() {
    return this.#current.transport;
  }

  get rtt() {
    return this.#current.rtt;
  }

  get lastError() {
    return this.#current.lastError;
  }

  /** The session's own bridge and the one where the last poll landed, if there are several; each may be undefined. */
  get bridges() {
    return { owner: this.#owner, landed: this.transport === "longpoll" ? this.#network.landed : undefined };
  }

  /** choose makes new RPCs go over "auto", "ws" or "longpoll"; anything else is taken for "auto". */
  choose(choice) {
    const known = Object.hasOwn(CHOICES, choice) ? choice : "auto";
    if (known === this.#choice) return known;
    const before = this.#current;
    const transports = CHOICES[known];
    this.#choice = known;
    const { fetch, WebSocket } = this.#network;
    this.#current = new this.#Channel(this.#url, { transports, fetch, WebSocket });
    this.#calls.set(this.#current, 0);
    this.#current.addEventListener("statechange", () => this.#tell("statechange"));
    if (before) this.#closeIfDone(before);
    this.#tell("statechange");
    if (before) this.#tell("choose");
    return known;
  }

  /** cut drops every link of every session, as a failing network would. */
  cut() {
    this.#broke("Cut");
    for (const channel of this.#calls.keys()) channel.disrupt();
  }

  /** killSocket closes the WebSockets, and leaves long-polling alone. */
  killSocket() {
    if (this.#network.killSockets()) this.#broke("WebSocket killed");
  }

  /** For how many milliseconds the page stays offline; 0 while it is not. */
  get offlineFor() {
    return this.#network.offlineFor;
  }

  /** goOffline takes the network away for so many milliseconds. */
  async goOffline(ms) {
    const back = this.#network.goOffline(ms);
    this.#broke("Offline");
    await back;
    this.#tell("mend", "Online again");
  }

  #broke(what) {
    this.counters.cuts++;
    this.#tell("traffic");
    this.#tell("break", what);
  }

  /** open starts an RPC of the demo service; its messages are counted. */
  open(method, options) {
    const channel = this.#current;
    const call = channel.open(SERVICE + method, options);
    const { counters } = this;
    const count = (name, bytes) => {
      counters[name]++;
      counters[`${name}Bytes`] += bytes.length;
      this.#tell("traffic");
    };
    this.#opened(channel);
    call.headers.then((headers) => (this.#owner = headers.find(([key]) => key === "demo-bridge")?.[1] ?? this.#owner));
    call.status.then((status) => this.#ended(channel, status));
    return {
      status: call.status,
      get transport() {
        return channel.transport;
      },
      async send(bytes) {
        await call.send(bytes);
        count("sent", bytes);
      },
      closeSend: () => call.closeSend(),
      cancel: () => call.cancel(),
      async *messages() {
        for await (const bytes of call.messages) {
          count("received", bytes);
          yield bytes;
        }
      },
    };
  }

  /** close ends everything, as when the page goes away. */
  close() {
    for (const channel of this.#calls.keys()) channel.close();
  }

  #opened(channel) {
    this.#calls.set(channel, this.#calls.get(channel) + 1);
    this.counters.open++;
    this.#tell("traffic");
  }

  #ended(channel, status) {
    this.#calls.set(channel, this.#calls.get(channel) - 1);
    this.counters.open--;
    if (status.code === UNAVAILABLE) this.counters.lost++;
    this.#closeIfDone(channel);
    this.#tell("traffic");
  }

  #closeIfDone(channel) {
    if (channel === this.#current || this.#calls.get(channel) > 0) return;
    this.#calls.delete(channel);
    channel.close();
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
