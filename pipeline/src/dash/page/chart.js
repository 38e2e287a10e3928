// Small charts. None needs colour to be read: each has its label and its figures beside it.

import { h, number, svg, unseen } from "./dom.js";

const KINDS = ["skip", "keep", "verify", "offload", "defer"];
const WIDTH = 180;
const HEIGHT = 14;
/** Seconds of one bar, as the server counts. */
const BAR_S = 2;

/** Decisions of the last minute, a row of bars for each kind, beside how many there were since the edge began. */
export function decisions(bins, totals) {
  const most = Math.max(1, ...bins.flat());
  const step = WIDTH / Math.max(1, bins.length);
  const rows = KINDS.map((kind, index) => {
    const bars = bins.map((bin, place) => {
      const height = bin[index] ? Math.max(2, (bin[index] / most) * HEIGHT) : 0;
      return height && svg("rect", { x: (place * step + 0.5).toFixed(1), y: (HEIGHT - height).toFixed(1), width: (step - 1).toFixed(1), height: height.toFixed(1) });
    });
    const lately = bins.reduce((sum, bin) => sum + bin[index], 0);
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, kind),
      h(
        "td",
        {},
        svg(
          "svg",
          { class: `bars ${kind}`, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
          bars.filter(Boolean),
        ),
        unseen(`${number(lately)} in the last minute`),
      ),
      h("td", { class: "figure" }, totals ? number(totals[kind]) : "–"),
    );
  });
  return h(
    "table",
    { class: "decisions" },
    h(
      "thead",
      {},
      h("tr", {}, h("th", { scope: "col" }, unseen("Decision")), h("th", { scope: "col" }, `Last minute, by ${BAR_S} s`), h("th", { scope: "col", class: "figure" }, "Since start")),
    ),
    h("tbody", {}, rows),
  );
}

/** Values from 0 to 1 as a line, oldest first. */
export function line(values, label) {
  const [width, height] = [120, 22];
  const step = width / Math.max(1, values.length - 1);
  const y = (value) => (height - 1 - value * (height - 2)).toFixed(1);
  const points = values.map((value, place) => `${(place * step).toFixed(1)},${y(value)}`);
  return svg(
    "svg",
    { class: "line", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    svg("line", { x1: 0, x2: width, y1: y(0), y2: y(0) }),
    points.length > 1 && svg("polyline", { points: points.join(" ") }),
  );
}

/** A share from 0 to 1 as a bar. */
export function share(value) {
  const filled = Math.max(0, Math.min(1, value)) * 60;
  return svg(
    "svg",
    { class: "share", viewBox: "0 0 60 8", "aria-hidden": "true" },
    svg("rect", { class: "all", width: 60, height: 8, rx: 2 }),
    svg("rect", { class: "part", width: filled.toFixed(1), height: 8, rx: 2 }),
  );
}
