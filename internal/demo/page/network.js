// The network between the page and the bridge, which a person can take away.

/**
 * Network hands out a fetch and a WebSocket class to make a Channel with. While it
 * is offline, requests fail, and so do WebSockets, those that are open among them.
 */
export class Network {
  #sockets = new Set();
  #down = new AbortController(); // aborts what is under way when the network goes
  /** The bridge where the last request landed, if there are several; undefined else. */
  landed;
  #back; // when it is back, by performance.now(); undefined while there is one

  fetch = async (input, init = {}) => {
    const signals = [init.signal, this.#down.signal].filter(Boolean);
    const response = await fetch(input, { ...init, signal: AbortSignal.any(signals) });
    this.landed = response.headers.get("demo-bridge") ?? undefined;
    return response;
  };

  /** The class; a getter's, since it has to know its network. */
  get WebSocket() {
    const sockets = this.#sockets;
    const down = () => this.offlineFor > 0;
    return class extends WebSocket {
      constructor(url, protocols) {
        super(url, protocols);
        if (down()) this.close(); // before it is open: an error
        sockets.add(this);
        this.addEventListener("close", () => sockets.delete(this));
      }

      send(data) {
        if (this.readyState === WebSocket.OPEN) super.send(data); // or it is lost, as on any network
      }
    };
  }

  /** For how many milliseconds it stays offline; 0 while it is not. */
  get offlineFor() {
    return this.#back === undefined ? 0 : Math.max(1, this.#back - performance.now());
  }

  /** killSockets closes the WebSockets, and reports whether there were any. */
  killSockets() {
    for (const socket of this.#sockets) socket.close();
    return this.#sockets.size > 0;
  }

  /** goOffline takes the network away, and resolves when it is back, so many milliseconds later. */
  async goOffline(ms) {
    this.#back = performance.now() + ms;
    this.#down.abort(new TypeError("this page has taken its network away"));
    this.killSockets();
    await new Promise((resolve) => setTimeout(resolve, ms));
    this.#back = undefined;
    this.#down = new AbortController();
    dispatchEvent(new Event("online")); // as a browser tells it
  }
}
