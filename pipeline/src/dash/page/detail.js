// All that is known of one window, in a dialog.

import { byStream, clock, h, milliseconds, replace, text } from "./dom.js";
import { share } from "./chart.js";
import { verdict, words } from "./rig.js";

export class Detail {
  constructor() {
    this.dialog = document.getElementById("detail");
    this.title = document.getElementById("detail-title");
    this.body = document.getElementById("detail-body");
    document.getElementById("detail-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => this.closed());
    // Outside of it.
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
  }

  /** Opens it for a window; `back` finds what has the focus after it. */
  async open(id, back) {
    this.id = id;
    this.back = back;
    const [rig, , seq] = id.split("/");
    text(this.title, `${rig}, window ${seq}`);
    replace(this.body, h("p", { class: "muted" }, "Loading …"));
    if (!this.dialog.open) this.dialog.showModal();
    this.title.focus();
    await this.load();
  }

  /** A window changed. */
  changed(id) {
    if (this.dialog.open && this.id === id) this.load();
  }

  closed() {
    this.id = null;
    this.back?.()?.focus();
  }

  async load() {
    const { id } = this;
    try {
      const answer = await fetch(`/window?id=${encodeURIComponent(id)}`);
      const content = answer.ok ? body(await answer.json()) : h("p", {}, await answer.text());
      if (this.id === id) replace(this.body, content);
    } catch {
      if (this.id === id) replace(this.body, h("p", {}, "msao dash does not answer: is it running?"));
    }
  }
}

function body(window) {
  const [word, sign] = verdict(window);
  const part = (title, ...content) => h("section", {}, h("h3", {}, title), content);
  return [
    h("p", { class: "lead" }, h("span", { class: `verdict ${word}` }, `${sign} ${word}`), ` Ends at ${clock(window.end_ms)}; media time ${window.start_running_s.toFixed(1)} to ${window.end_running_s.toFixed(1)} s`),
    window.question && part("Question", h("p", {}, window.question)),
    part("What was said", said("Draft", window.draft), window.last && said("Final", window.last, window), accepted(window)),
    part("Where the time went", times(window)),
    part("MAS by stream", masTable(window.mas)),
    part("Decision", decision(window)),
    part("Identity", h("p", {}, h("code", {}, window.id))),
  ];
}

/** A table that may be wider than the dialog, and is then scrolled, by keyboard, too. */
const wide = (label, table) => h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, table);

function said(name, one, window) {
  if (!one) return h("p", { class: "muted" }, "No draft: the cloud captioned the window.");
  const notes = [`${one.tokens} tokens`, `confidence ${one.confidence.toFixed(2)}`, milliseconds(one.ms), one.model];
  if (one.redrafted) notes.push("from the cloud's correction of a window like it");
  return h("div", { class: "said-one" }, h("p", {}, h("b", {}, `${name}: `), window ? words(window) : one.text || "(no words)"), h("p", { class: "muted" }, notes.join(" · ")));
}

function accepted({ draft, last }) {
  if (!draft || !last || last.status === "draft") return null;
  if (last.accepted == null) return h("p", {}, "The cloud captioned the window without looking at the draft.");
  return h("p", {}, `The cloud accepted ${last.accepted} of ${draft.tokens} tokens of the draft. `, share(draft.tokens ? last.accepted / draft.tokens : 0));
}

function times(window) {
  const stages = [
    ["Edge: from the window's end to the draft", window.edge_ms],
    ["Uplink: until the broker had the features", window.uplink_ms],
    ["Queue: until a worker took them up", window.queue_ms],
    ["Cloud: until the caption", window.cloud_ms],
  ].filter(([, ms]) => ms != null);
  const all = Math.max(1e-9, stages.reduce((sum, [, ms]) => sum + ms, 0));
  const rows = stages.map(([name, ms]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "figure" }, milliseconds(ms)), h("td", {}, share(ms / all))));
  return wide("Times", h("table", {}, h("tbody", {}, rows)));
}

function masTable(reports) {
  if (!reports.length) return h("p", { class: "muted" }, "Nothing was measured.");
  const columns = { ρ: "rho", γ: "gamma", β: "beta", MAS: "mas" };
  const sorted = [...reports].sort((a, b) => byStream(a.stream, b.stream));
  const row = (report) =>
    h("tr", {}, h("th", { scope: "row" }, report.stream, h("span", { class: "muted" }, ` ${report.modality}`)), Object.values(columns).map((key) => h("td", { class: "figure" }, h("span", { class: "with-share" }, report[key].toFixed(2), share(report[key])))));
  const heads = Object.keys(columns).map((name) => h("th", { scope: "col", class: "figure" }, name));
  return [
    wide("MAS by stream", h("table", { class: "mas" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Stream"), heads)), h("tbody", {}, sorted.map(row)))),
    h("p", { class: "muted note" }, "ρ spatial sparsity, γ temporal redundancy, β contribution to the output, MAS the share that need not be sent."),
  ];
}

function decision({ decision: made, draft, last }) {
  if (!made) {
    const why = draft
      ? "No decision came with this caption: the edge runs without a planner, or decided again later."
      : "The decision is stored with the window's features, which this page does not read.";
    return h("p", { class: "muted" }, `${why} msao explain may tell it.`);
  }
  const seconds = (value) => `${value.toFixed(3)} s`;
  const row = (option) =>
    h(
      "tr",
      { class: option.chosen ? "chosen" : null },
      h("th", { scope: "row" }, option.chosen ? `▸ ${option.action} (chosen)` : option.action),
      [option.cost, option.latency, option.link, option.cloud].map((value) => h("td", { class: "figure" }, seconds(value))),
      h("td", { class: "figure" }, option.risk.toFixed(3)),
      h("td", {}, option.refused ?? ""),
    );
  return [
    h("ul", { class: "plain" }, made.words.map((statement) => h("li", {}, `${statement}.`))),
    wide(
      "What was weighed",
      h(
        "table",
        { class: "weighed" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Action"), ["Cost", "Latency", "Link", "Cloud", "Risk"].map((name) => h("th", { scope: "col", class: "figure" }, name)), h("th", { scope: "col" }, "Not possible because"))),
        h("tbody", {}, made.weighed.map(row)),
      ),
    ),
  ];
}
