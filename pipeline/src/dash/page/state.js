// What is known, kept up to date by events of the server.

/** The server is taken to be lost if it says nothing for so long: it speaks every two seconds. */
const SILENCE_MS = 6000;
/** Windows kept of each rig, as the server does. */
const WINDOWS = 60;

/** Holds the state and tells `on` of each change: "snapshot", "rig", "window", "worker", "server", "preview", "gone", "lost". */
export class State {
  constructor(on) {
    this.on = on;
    this.rigs = new Map();
    this.workers = new Map();
    this.server = null;
    this.lost = false;
    /** With which status the server answers, if it does and gives no events. */
    this.refused = 0;
    /** What the server's clock is ahead of this one. */
    this.ahead = 0;
    this.heard = performance.now();
    this.listen();
    setInterval(() => this.watch(), 1000);
  }

  /** The server's time, milliseconds. */
  now() {
    return Date.now() + this.ahead;
  }

  listen() {
    this.source?.close();
    this.source = new EventSource("/events");
    const on = (kind, take) =>
      this.source.addEventListener(kind, (event) => {
        this.heard = performance.now();
        const data = JSON.parse(event.data);
        take(data);
        if (this.lost) {
          this.lost = false;
          this.refused = 0;
          this.on("server", this.server);
        }
        this.on(kind, data);
      });
    on("snapshot", (data) => {
      this.takeServer(data.server);
      this.rigs = new Map(data.rigs.map((rig) => [rig.rig, rig]));
      this.workers = new Map(data.workers.map((worker) => [worker.worker, worker]));
    });
    on("server", (data) => this.takeServer(data));
    on("rig", (data) => this.rigs.set(data.rig, { windows: this.rigs.get(data.rig)?.windows ?? [], ...data }));
    on("window", ({ rig, window }) => this.takeWindow(rig, window));
    on("worker", (data) => this.workers.set(data.worker, data));
    on("gone", (data) => {
      if (data.rig) this.rigs.delete(data.rig);
      if (data.worker) this.workers.delete(data.worker);
    });
    on("preview", () => {});
    this.source.addEventListener("error", () => this.lose());
  }

  takeServer(server) {
    this.server = server;
    this.ahead = server.now_ms - Date.now();
  }

  takeWindow(name, window) {
    let rig = this.rigs.get(name);
    if (!rig) {
      rig = { rig: name, windows: [], streams: [] };
      this.rigs.set(name, rig);
    }
    const place = rig.windows.findLastIndex((other) => other.id === window.id);
    if (place >= 0) {
      rig.windows[place] = window;
      return;
    }
    const before = rig.windows.findLastIndex((other) => other.end_ms <= window.end_ms);
    rig.windows.splice(before + 1, 0, window);
    if (rig.windows.length > WINDOWS) rig.windows.shift();
  }

  /** A browser tries again by itself only after some faults. */
  watch() {
    if (performance.now() - this.heard > SILENCE_MS) {
      this.heard = performance.now();
      this.lose();
      this.listen();
    }
  }

  async lose() {
    if (!this.lost) {
      this.lost = true;
      this.on("lost");
    }
    // The browser gave up: it was refused, and asks no more by itself.
    if (this.source.readyState === EventSource.CLOSED) {
      const status = await fetch("/icon.svg").then((answer) => answer.status, () => 0);
      if (this.lost && this.refused !== status) {
        this.refused = status;
        this.on("lost");
      }
    }
  }
}
