// A rig's streams: the picture of a camera with the MAS of its positions, and the figures of every stream.

import { baseName, decoded, h, number, percent, replace, text } from "./dom.js";
import { line } from "./chart.js";

/** From this importance (s·u, of 255) on a position is outlined. */
const OUTLINED = 128;
/** How dark a position gets that need not be sent at all. */
const DARKEST = 0.5;
/** A picture that is older is said to be. */
const OLD_MS = 5000;

/** Whether grids are drawn; one for the page. */
export const grid = { shown: true };

/** The card of one stream. */
export class StreamCard {
  constructor(name) {
    this.canvas = h("canvas", { role: "img", width: 320, height: 180 });
    this.none = h("p", { class: "none" });
    this.picture = h("div", { class: "picture" }, this.canvas, this.none);
    this.title = h("span", { class: "name" }, name);
    this.source = h("span", { class: "muted source" });
    this.mas = h("span", { class: "figure" });
    this.line = h("span", { class: "history" });
    this.kept = h("span", { class: "muted" });
    this.problem = h("p", { class: "problem", hidden: true });
    this.element = h(
      "figure",
      { class: "stream" },
      this.picture,
      h(
        "figcaption",
        {},
        h("div", { class: "row" }, this.title, this.source),
        h("div", { class: "row" }, this.mas, this.line),
        h("div", { class: "row" }, this.kept),
        this.problem,
      ),
    );
    this.name = name;
  }

  update(stream, now) {
    const isCamera = stream.modality ? stream.modality === "video" : stream.stream.startsWith("video");
    this.picture.hidden = !isCamera;
    this.canvas.hidden = !this.time;
    this.none.hidden = Boolean(this.time) && now - this.time < OLD_MS;
    this.none.className = this.time ? "none old" : "none";
    const age = this.time && Math.round((now - this.time) / 1000);
    text(this.none, this.time ? `Picture from ${age} s ago` : "No preview from this edge");
    text(this.source, stream.source ? baseName(stream.source) : "");
    this.source.title = stream.source ?? "";
    const mas = stream.mas.at(-1);
    text(this.mas, mas == null ? "MAS –" : `MAS ${mas.toFixed(2)}`);
    if (stream.mas.length > 1) {
      const lowest = Math.min(...stream.mas).toFixed(2);
      const highest = Math.max(...stream.mas).toFixed(2);
      replace(this.line, line(stream.mas, `MAS of the last ${stream.mas.length} windows, from ${lowest} to ${highest}`));
    }
    const counts = stream.beta == null ? "" : `β ${stream.beta.toFixed(2)}`;
    // A hop of sound is made of many buffers: of these the share that is kept tells nothing.
    const share = isCamera ? `${percent(stream.kept, stream.measured)} of ${number(stream.measured ?? 0)} frames kept` : `${number(stream.measured ?? 0)} hops`;
    const kept = stream.measured == null ? "" : share;
    text(this.kept, [counts, kept].filter(Boolean).join(" · "));
    this.problem.hidden = !stream.problem;
    text(this.problem, stream.problem ? `Problem: ${stream.problem}` : "");
  }

  /** Takes in a preview, and draws it if nothing newer came while it was decoded. */
  async preview(preview) {
    this.time = preview.time_ms;
    this.last = preview;
    let picture;
    try {
      picture = await createImageBitmap(new Blob([decoded(preview.jpeg)], { type: "image/jpeg" }));
    } catch {
      this.canvas.hidden = true;
      this.none.hidden = false;
      text(this.none, "A preview came that is no picture");
      return;
    }
    if (this.last !== preview) {
      picture.close();
      return;
    }
    this.bitmap?.close();
    this.bitmap = picture;
    this.draw();
  }

  draw() {
    const { bitmap, canvas, last } = this;
    if (!bitmap) return;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    }
    canvas.hidden = false;
    this.none.hidden = true;
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const importance = decoded(last.importance);
    if (grid.shown) drawGrid(context, last.rows, last.columns, importance);
    const outlined = importance.filter((value) => value >= OUTLINED).length;
    canvas.setAttribute(
      "aria-label",
      `Camera ${this.name}: MAS ${last.mas.toFixed(2)}, ${outlined} of ${importance.length} positions worth sending`,
    );
  }
}

/** What need not be sent is darkened, what is worth sending has an outline. */
function drawGrid(context, rows, columns, importance) {
  const { width, height } = context.canvas;
  const x = (column) => Math.round((column * width) / columns);
  const y = (row) => Math.round((row * height) / rows);
  const at = (row, column) => row >= 0 && column >= 0 && row < rows && column < columns && importance[row * columns + column] >= OUTLINED;
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const value = importance[row * columns + column] / 255;
      context.fillStyle = `rgb(8 12 18 / ${(DARKEST * (1 - value)).toFixed(3)})`;
      context.fillRect(x(column), y(row), x(column + 1) - x(column), y(row + 1) - y(row));
    }
  }
  const edges = new Path2D();
  for (let row = 0; row <= rows; row += 1) {
    for (let column = 0; column <= columns; column += 1) {
      if (at(row, column) !== at(row - 1, column)) {
        edges.moveTo(x(column), y(row));
        edges.lineTo(x(column + 1), y(row));
      }
      if (at(row, column) !== at(row, column - 1)) {
        edges.moveTo(x(column), y(row));
        edges.lineTo(x(column), y(row + 1));
      }
    }
  }
  // Dark under light, so that it is seen on any picture.
  const unit = Math.max(1, width / 320);
  context.lineCap = "square";
  context.lineWidth = 3 * unit;
  context.strokeStyle = "rgb(0 0 0 / 0.7)";
  context.stroke(edges);
  context.lineWidth = 1.5 * unit;
  context.strokeStyle = "#ffd54a";
  context.stroke(edges);
}
