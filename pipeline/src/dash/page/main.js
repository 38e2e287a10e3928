// The page: events in, views out.

import { clock, duration, h, milliseconds, number, replace, text } from "./dom.js";
import { Detail } from "./detail.js";
import { RigView, verdict } from "./rig.js";
import { State } from "./state.js";
import { grid } from "./streams.js";

/** A worker that says nothing for so long is not available, as edges see it. */
const AWAY_MS = 3000;
/** New captions are read out at most so often. */
const ANNOUNCE_MS = 4000;
/** Most captions that are read out at a time. */
const ANNOUNCED = 3;

/** What to say when no events come, by the status with which the server answers, or 0. */
const LOST = {
  0: "msao dash does not answer. This page tries again by itself; what it shows is old.",
  200: "msao dash has as many viewers as it takes. This page tries again by itself; what it shows is old.",
  401: "msao dash was started again with another token: open the address that it printed.",
};

const find = (id) => document.getElementById(id);
const views = new Map();
const detail = new Detail();
/** The last caption of each rig that is not read out yet. */
const unannounced = new Map();
/** Since when, and how many captions came since then. */
let paused = null;

const state = new State((kind, data) => {
  if (kind === "lost" || kind === "server") showServer();
  if (paused) {
    if (kind === "window") paused.captions += 1;
    return showPaused();
  }
  switch (kind) {
    case "snapshot":
      return showAll();
    case "rig":
      return view(data.rig).update(state.rigs.get(data.rig), state.now());
    case "window":
      return showWindow(data.rig, data.window);
    case "preview":
      return showPreview(data);
    case "worker":
      return showWorkers();
    case "gone":
      return showAll();
  }
});

function view(name) {
  let rig = views.get(name);
  if (!rig) {
    const back = (id) => () => views.get(name)?.rows.get(id)?.firstElementChild;
    rig = new RigView(name, (id) => detail.open(id, back(id)));
    views.set(name, rig);
    const later = [...views.keys()].filter((other) => other > name).sort()[0];
    find("rigs").insertBefore(rig.element, later ? views.get(later).element : null);
    showCount();
  }
  return rig;
}

function showAll() {
  for (const [name, rig] of views) {
    if (!state.rigs.has(name)) {
      rig.element.remove();
      views.delete(name);
    }
  }
  for (const [name, rig] of state.rigs) {
    view(name).update(rig, state.now());
    view(name).setWindows(rig.windows);
  }
  showCount();
  showServer();
  showWorkers();
}

function showCount() {
  find("empty").hidden = views.size > 0;
  find("rigs").dataset.rigs = views.size;
  find("rigs").dataset.many = views.size > 2;
}

function showWindow(name, window) {
  const rig = view(name);
  rig.rig ??= state.rigs.get(name);
  rig.setWindow(window, state.rigs.get(name).windows);
  detail.changed(window.id);
  unannounced.set(name, window);
}

function showPreview(preview) {
  if (document.hidden) return;
  view(preview.rig).card(preview.stream).preview(preview);
}

function showWorkers() {
  const now = state.now();
  const workers = [...state.workers.values()].sort((a, b) => (a.worker < b.worker ? -1 : 1));
  const item = (worker) => {
    const silent = now - worker.heard_ms;
    const away = silent > AWAY_MS;
    const rate = worker.service_rate ? `${worker.service_rate.toFixed(1)} windows/s, last ${milliseconds(worker.last_ms)}` : "no window yet";
    const dead = worker.dead ? `, ${number(worker.dead)} dead letters` : "";
    const how = away
      ? `not heard for ${duration(silent)}`
      : `${number(worker.queue)} waiting, ${rate}, ${number(worker.captioned)} captioned (${number(worker.confirmed)} confirmed)${dead}`;
    return h("li", {}, h("b", {}, worker.worker), ` ${worker.model} on ${worker.provider}: `, h("span", { class: away ? "state bad" : "state" }, how));
  };
  replace(find("workers"), workers.length ? workers.map(item) : h("li", { class: "muted" }, "No worker has been heard: drafts stay drafts."));
}

function showServer() {
  const { server } = state;
  const streams = [...state.rigs.values()].reduce((sum, rig) => sum + rig.streams.length, 0);
  const unreadable = server?.unreadable ? `, ${number(server.unreadable)} unreadable messages` : "";
  const where = server ? ` · NATS ${server.connected ? "connected" : "lost"}: ${server.url}${unreadable}` : "";
  text(find("summary"), `${number(state.rigs.size)} ${state.rigs.size === 1 ? "rig" : "rigs"}, ${number(streams)} streams${where}`);
  const fault = faultNow();
  find("banner").hidden = !fault;
  text(find("banner"), fault ?? "");
}

/** What keeps the page from being up to date, if anything. */
function faultNow() {
  const { server } = state;
  if (state.lost) return LOST[state.refused] ?? LOST[0];
  if (server && !server.connected) return `NATS at ${server.url} is not connected. msao dash tries again by itself; what is shown is old.`;
  return server?.problem;
}

function announce() {
  const fresh = [...unannounced].slice(-ANNOUNCED);
  unannounced.clear();
  if (!fresh.length || paused) return;
  const line = ([name, window]) => `${name}, ${verdict(window)[0]}: ${(window.last ?? window.draft).text}.`;
  text(find("announcer"), fresh.map(line).join(" "));
}

function tick() {
  if (!paused) {
    for (const [name, rig] of views) {
      if (!rig.rig) continue;
      rig.updateState(state.now());
      rig.updateStreams(state.now());
      rig.rig = state.rigs.get(name) ?? rig.rig;
    }
    showWorkers();
  }
}

function pause(on) {
  paused = on ? { at: state.now(), captions: 0 } : null;
  showPaused();
  if (!on) showAll();
}

function showPaused() {
  text(find("pause"), paused ? `Go on (paused at ${clock(paused.at)}, ${number(paused.captions)} new)` : "Pause");
}

function showGrid(on) {
  grid.shown = on;
  find("grid").setAttribute("aria-pressed", on);
  for (const rig of views.values()) for (const card of rig.cards.values()) card.draw();
}

const THEMES = ["auto", "light", "dark"];

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  text(find("theme"), `Theme: ${theme}`);
  try {
    localStorage.setItem("msao-theme", theme);
  } catch {
    // A browser that stores nothing: the choice holds for this visit.
  }
}

function storedTheme() {
  try {
    const stored = localStorage.getItem("msao-theme");
    return THEMES.includes(stored) ? stored : "auto";
  } catch {
    return "auto";
  }
}

find("pause").addEventListener("click", () => pause(!paused));
find("grid").addEventListener("click", () => showGrid(!grid.shown));
find("theme").addEventListener("click", () => {
  const now = THEMES.indexOf(document.documentElement.dataset.theme);
  showTheme(THEMES[(now + 1) % THEMES.length]);
});
showTheme(storedTheme());
setInterval(tick, 1000);
setInterval(announce, ANNOUNCE_MS);
