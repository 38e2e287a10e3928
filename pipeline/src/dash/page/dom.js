// Elements and figures. Text from the wire only ever becomes text: nothing here reads markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element of HTML. Properties are attributes; `class`, and `on...` with a function. Children are nodes or text. */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** An element of SVG. */
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/** Sets the text of an element, only if it changes: what a person has selected stays selected. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Replaces the children of an element. */
export function replace(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child != null && child !== false));
}

/** Text for screen readers alone. */
export const unseen = (value) => h("span", { class: "unseen" }, value);

const whole = new Intl.NumberFormat("en");
const clockFormat = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

export const number = (value) => whole.format(value);
export const clock = (unixMs) => clockFormat.format(unixMs);

/** A share in percent, with one digit where that tells something. */
export function percent(part, of) {
  if (!(of > 0)) return "–";
  const value = (100 * part) / of;
  const digits = value > 0 && value < 10 ? 1 : value > 99 && value < 100 ? 1 : 0;
  return `${value.toFixed(digits)}\u00a0%`;
}

export function milliseconds(ms) {
  if (ms == null) return "–";
  if (ms < 10) return `${Number(ms.toFixed(1))} ms`;
  if (ms < 10_000) return `${whole.format(Math.round(ms))} ms`;
  return duration(ms);
}

/** A length of time in seconds, minutes or hours. */
export function duration(ms) {
  const s = Math.round(ms / 1000);
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} days`;
}

export function bytes(count) {
  let value = count;
  for (const unit of ["B", "KB", "MB", "GB"]) {
    if (value < 1000) return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} TB`;
}

/** The last part of a path or address. */
export const baseName = (source) => source.split("/").filter(Boolean).pop() ?? source;

/** Compares names of streams: cameras first, then microphones and sensors. */
export function byStream(a, b) {
  const place = (name) => ["video", "audio", "sensor"].findIndex((kind) => name.startsWith(kind));
  return place(a) - place(b) || (a < b ? -1 : a > b ? 1 : 0);
}

/** The bytes of base64. */
export function decoded(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}
