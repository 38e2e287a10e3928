// A rig: how it is, its streams, what it says, and what it saved.

import { byStream, bytes, clock, duration, h, milliseconds, number, percent, replace, text, unseen } from "./dom.js";
import { decisions } from "./chart.js";
import { StreamCard } from "./streams.js";

/** An edge that says nothing for so long is silent: it speaks every second. */
const SILENT_MS = 3500;

/** What became of a window, in a word, and its sign. */
export function verdict({ draft, last }) {
  if (!last) return draft?.redrafted ? ["redraft", "○"] : ["draft", "○"];
  if (last.status === "draft") return ["kept", "■"];
  if (!draft && last.status === "corrected") return ["captioned", "+"];
  return [last.status, { confirmed: "✓", corrected: "±", retracted: "✕" }[last.status]];
}

/** The text of a window, with what its correction struck and added. */
export function words(window) {
  if (!window.diff) {
    const said = (window.last ?? window.draft).text;
    return [said || h("span", { class: "muted" }, "(no words)")];
  }
  return window.diff.flatMap(({ change, text: run }, place) => {
    const gap = place ? [" "] : [];
    if (change === "struck") return [...gap, h("del", {}, unseen("struck: "), run)];
    if (change === "added") return [...gap, h("ins", {}, unseen("added: "), run)];
    return [...gap, run];
  });
}

/** How long the words of a window took. */
function times({ draft, last }) {
  const parts = [];
  if (draft) parts.push(`draft ${milliseconds(draft.ms)}`);
  if (last) parts.push(`${draft ? "final" : verdict({ last })[0]} ${milliseconds(last.ms)}`);
  return parts.join(" → ");
}

export class RigView {
  constructor(name, open) {
    this.open = open;
    this.name = name;
    this.rows = new Map();
    this.cards = new Map();
    const id = `rig-${name}`;
    this.edge = h("span", { class: "state" });
    this.link = h("span", { class: "state" });
    this.streams = h("div", { class: "streams" });
    this.list = h("ol", { class: "captions", "aria-label": `Captions of ${name}, newest first` });
    this.none = h("p", { class: "muted" }, "No caption yet.");
    this.saved = h("div");
    this.decisions = h("div");
    this.verdicts = h("p");
    this.latency = h("div");
    const part = (title, ...content) => h("section", {}, h("h3", {}, title), content);
    this.element = h(
      "section",
      { class: "rig", "aria-labelledby": id },
      h("header", {}, h("h2", { id }, name), this.edge, this.link),
      (this.body = h(
        "div",
        { class: "body" },
        h("section", { class: "seen", "aria-label": "Streams" }, this.streams),
        h("section", { class: "said", "aria-label": "Captions" }, this.none, this.list),
        h(
          "div",
          { class: "figures" },
          part("Not sent", this.saved),
          part("Decisions", this.decisions),
          part("Latency after the window's end", this.latency),
          part("Verdicts", this.verdicts),
        ),
      )),
    );
  }

  /** Everything. */
  update(rig, now) {
    this.rig = rig;
    this.updateState(now);
    this.updateStreams(now);
    replace(this.saved, savedTable(rig));
    replace(this.decisions, decisions(rig.decisions ?? [], rig.edge?.decisions));
    replace(this.latency, latencyTable(rig));
    this.updateVerdicts();
  }

  /** The lines that change with time alone. */
  updateState(now) {
    const { edge, heard_ms: heard, link } = this.rig;
    const silent = heard != null && now - heard > SILENT_MS;
    this.edge.classList.toggle("bad", silent);
    if (!edge) text(this.edge, "Edge: no status heard");
    else if (silent) text(this.edge, `Edge: silent for ${duration(now - heard)}`);
    else {
      const busy = link ? `, ${Math.round(100 * link.busy)} % busy` : "";
      const queue = edge.pending ? `, ${number(edge.pending)} waiting` : "";
      const lost = edge.dropped ? `, ${number(edge.dropped)} dropped` : "";
      text(this.edge, `Edge: running on ${edge.provider}${busy}${queue}${lost}`);
    }
    const cut = Boolean(link) && (!link.contact || !link.cloud_available);
    this.link.classList.toggle("bad", cut);
    if (!link) text(this.link, "Link: not known");
    else if (!link.contact) text(this.link, `Link: no contact at ${clock(link.at_ms)}`);
    else {
      const away = link.cloud_available ? "" : ", cloud not heard";
      text(this.link, `Link: ${bytes(link.bandwidth)}/s, round trip ${milliseconds(link.rtt_ms)}${away}`);
    }
  }

  updateStreams(now) {
    const names = new Set(this.rig.streams.map((stream) => stream.stream));
    for (const [name, card] of this.cards) {
      if (!names.has(name)) {
        card.element.remove();
        this.cards.delete(name);
      }
    }
    for (const stream of this.rig.streams) this.card(stream.stream).update(stream, now);
    const cameras = this.rig.streams.filter((stream) => stream.modality === "video");
    this.body.classList.toggle("many", cameras.length > 1);
  }

  updateVerdicts() {
    const { verdicts } = this.rig;
    if (!verdicts) return;
    const counts = ["confirmed", "corrected", "captioned", "kept", "retracted", "open"].filter((kind) => verdicts[kind]);
    const of = counts.map((kind) => `${verdicts[kind]} ${kind}`).join(", ");
    const accepted = verdicts.judged ? ` ${percent(verdicts.accepted, verdicts.judged)} of the drafts' tokens accepted.` : "";
    text(this.verdicts, of ? `Of the windows shown: ${of}.${accepted}` : "No window yet.");
  }

  card(name) {
    let card = this.cards.get(name);
    if (!card) {
      card = new StreamCard(name);
      this.cards.set(name, card);
      const later = [...this.cards.keys()].filter((other) => byStream(other, name) > 0).sort(byStream)[0];
      this.streams.insertBefore(card.element, later ? this.cards.get(later).element : null);
    }
    return card;
  }

  /** All windows anew. */
  setWindows(windows) {
    this.rows.clear();
    const rows = windows.map((window) => this.row(window));
    replace(this.list, rows.reverse());
    this.none.hidden = windows.length > 0;
  }

  /** One window, which `windows`, oldest first, holds. */
  setWindow(window, windows) {
    const before = this.rows.get(window.id);
    const held = before?.contains(document.activeElement);
    const row = this.row(window);
    if (before) before.replaceWith(row);
    else {
      const place = windows.findIndex((other) => other.id === window.id);
      const older = windows.slice(0, place).findLast((other) => this.rows.has(other.id));
      this.list.insertBefore(row, older ? this.rows.get(older.id) : null);
    }
    if (held) row.firstElementChild.focus();
    const ids = new Set(windows.map((other) => other.id));
    for (const [id, old] of this.rows) {
      if (!ids.has(id)) {
        old.remove();
        this.rows.delete(id);
      }
    }
    this.none.hidden = true;
  }

  row(window) {
    const [word, sign] = verdict(window);
    const { last, draft } = window;
    const byCloud = draft && last && last.status !== "draft";
    const accepted = byCloud && (last.accepted == null ? ", captioned without the draft" : `, ${last.accepted} of ${draft.tokens} tokens accepted`);
    const button = h(
      "button",
      { type: "button", onclick: () => this.open(window.id) },
      h("span", { class: "meta" }, h("time", { datetime: new Date(window.end_ms).toISOString() }, clock(window.end_ms)), h("span", { class: `verdict ${word}` }, h("span", { "aria-hidden": "true" }, sign), ` ${word}`)),
      window.question && h("span", { class: "question" }, `Asked: ${window.question}`),
      h("span", { class: "words" }, words(window)),
      h("span", { class: "times muted" }, times(window) + (accepted || "")),
    );
    const row = h("li", { "data-id": window.id }, button);
    this.rows.set(window.id, row);
    return row;
  }
}

/** Shares that were not sent, now and since the edge began. */
function savedTable({ saved, token_bytes: tokenBytes, edge }) {
  if (!edge || !saved) return h("p", { class: "muted" }, "Known when the edge's status is heard.");
  const spans = [saved.now, saved.total];
  const row = (name, cell) => h("tr", {}, h("th", { scope: "row" }, name), spans.map((counts) => h("td", {}, cell(counts))));
  const share = (kept, of, detail) => [h("strong", {}, of ? percent(Math.max(0, of - kept), of) : "–"), h("span", { class: "muted" }, detail)];
  const all = (counts) => counts.tokens * tokenBytes;
  return h(
    "table",
    { class: "saved" },
    h("thead", {}, h("tr", {}, h("td"), h("th", { scope: "col" }, saved.now_s > 0 ? `Last ${Math.round(saved.now_s)} s` : "Now"), h("th", { scope: "col" }, "Since start"))),
    h(
      "tbody",
      {},
      row("Frames", (counts) => share(counts.frames_kept, counts.frames, `${number(counts.frames_kept)} of ${number(counts.frames)} kept`)),
      row("Tokens", (counts) => share(counts.tokens_kept, counts.tokens, `${number(counts.tokens_kept)} of ${number(counts.tokens)} kept`)),
      row("Bytes", (counts) =>
        tokenBytes
          ? share(counts.bytes, all(counts), `${bytes(counts.bytes)} sent; all tokens ${bytes(all(counts))}`)
          : [h("strong", {}, "–"), h("span", { class: "muted" }, `${bytes(counts.bytes)} sent`)],
      ),
    ),
  );
}

function latencyTable({ first, last }) {
  const row = (name, values) =>
    h("tr", {}, h("th", { scope: "row" }, name), ["p50", "p95", "p99"].map((key) => h("td", { class: "figure" }, values ? milliseconds(values[key]) : "–")), h("td", { class: "figure muted" }, values ? number(values.count) : "0"));
  return h(
    "table",
    { class: "latency" },
    h("thead", {}, h("tr", {}, h("td"), ["p50", "p95", "p99", "of"].map((name) => h("th", { scope: "col", class: "figure" }, name)))),
    h("tbody", {}, row("First caption", first), row("Final caption", last)),
  );
}
