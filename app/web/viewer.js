// The film on screen: zoom, pan, window and heat map, by mouse, touch and keyboard.
//
// The film and its heat map lie on a sheet of the film's own size, which is moved and scaled as a whole: a film's
// pixel (u, v) is seen at (x + scale * u, y + scale * v). The window is a linear SVG filter on the film alone.

import { at } from "./dom.js";

const MOST_ZOOM = 8; // pixels of the screen for one of the film, or times the fitted size
const STEP = 1.25;
const STRIDE = 48; // pixels that an arrow key moves by

export const NEUTRAL = { level: 128, width: 256, inverted: false };
const LEVELS = [0, 256];
const WIDTHS = [16, 512];

const within = (value, [low, high]) => Math.min(high, Math.max(low, value));

export class Viewer {
  #frame = at("frame");
  #sheet = at("sheet");
  #film = at("film");
  #overlay = at("overlay");
  #size = null; // of the film in its own pixels; null while there is none
  #scale = 1;
  #x = 0;
  #y = 0;
  #fitted = true;
  #window = NEUTRAL;
  #pointers = new Map();
  #url = "";
  #changed;

  /** `changed()` is called after zoom or window have changed. */
  constructor(changed) {
    this.#changed = changed;
    this.#listen();
    new ResizeObserver(() => this.#resize()).observe(this.#frame);
  }

  /** Shows a blob, fitted and in a neutral window. False where the browser cannot show it, or another came since. */
  async show(blob, description) {
    this.clear();
    const url = (this.#url = URL.createObjectURL(blob));
    this.#film.alt = description;
    this.#film.src = url;
    try {
      await this.#film.decode();
    } catch {
      return false;
    }
    if (url !== this.#url) return false;
    this.#size = { width: this.#film.naturalWidth, height: this.#film.naturalHeight };
    this.#sheet.style.width = `${this.#size.width}px`;
    this.#sheet.style.height = `${this.#size.height}px`;
    this.#sheet.hidden = false;
    this.fit();
    this.window = NEUTRAL;
    return true;
  }

  /** Shows nothing. */
  clear() {
    URL.revokeObjectURL(this.#url);
    this.#url = "";
    this.#size = null;
    this.#sheet.hidden = true;
    this.#film.removeAttribute("src");
    this.heatMap(null);
  }

  /** Lays a heat map over the film (a data URI), or none (null). */
  heatMap(source) {
    this.#overlay.hidden = !source;
    if (source) this.#overlay.src = source;
    else this.#overlay.removeAttribute("src");
  }

  /** How much of the heat map is seen, from 0 to 1. */
  set opacity(share) {
    this.#overlay.style.opacity = share;
  }

  /** Pixels of the screen for one of the film. */
  get scale() {
    return this.#scale;
  }

  get window() {
    return this.#window;
  }

  /** The window in grey levels: those around `level`, `width` of them, are spread from black to white. */
  set window(given) {
    const level = within(given.level, LEVELS);
    const width = within(given.width, WIDTHS);
    this.#window = { level, width, inverted: given.inverted };
    const slope = 256 / width;
    const intercept = (128 - level * slope) / 255;
    for (const channel of at("grey-window").querySelectorAll("[type=linear]")) {
      channel.setAttribute("slope", given.inverted ? -slope : slope);
      channel.setAttribute("intercept", given.inverted ? 1 - intercept : intercept);
    }
    const neutral = level === NEUTRAL.level && width === NEUTRAL.width && !given.inverted;
    this.#film.style.filter = neutral ? "" : "url(#grey-window)";
    this.#changed();
  }

  fit() {
    if (this.#size) this.#move(this.#fit);
  }

  /** One pixel of the film for one of the screen. */
  fullSize() {
    this.zoom(1 / this.#scale);
  }

  /** Zooms by `factor` about a point of the frame, by default its centre. */
  zoom(factor, [px, py] = this.#centre) {
    if (!this.#size) return;
    const fitted = this.#fit.scale;
    const scale = within(this.#scale * factor, [Math.min(fitted, 1), Math.max(MOST_ZOOM, MOST_ZOOM * fitted)]);
    const real = scale / this.#scale;
    this.#move({ scale, x: px - (px - this.#x) * real, y: py - (py - this.#y) * real });
  }

  pan(dx, dy) {
    if (this.#size) this.#move({ x: this.#x + dx, y: this.#y + dy });
  }

  get #centre() {
    return [this.#frame.clientWidth / 2, this.#frame.clientHeight / 2];
  }

  get #fit() {
    const { width, height } = this.#size;
    return { scale: Math.min(this.#frame.clientWidth / width, this.#frame.clientHeight / height), x: 0, y: 0 };
  }

  #resize() {
    if (!this.#size || !this.#frame.clientWidth || !this.#frame.clientHeight) return; // out of sight
    this.#move(this.#fitted ? this.#fit : {});
  }

  #move({ scale = this.#scale, x = this.#x, y = this.#y }) {
    // What is smaller than the frame lies in its middle; what is larger leaves no gap.
    const place = (wished, frame, film) => (film <= frame ? (frame - film) / 2 : within(wished, [frame - film, 0]));
    this.#scale = scale;
    this.#x = place(x, this.#frame.clientWidth, this.#size.width * scale);
    this.#y = place(y, this.#frame.clientHeight, this.#size.height * scale);
    this.#fitted = Math.abs(scale / this.#fit.scale - 1) < 0.001;
    this.#frame.classList.toggle("zoomed", scale > this.#fit.scale && !this.#fitted);
    this.#sheet.style.transform = `translate(${this.#x}px, ${this.#y}px) scale(${scale})`;
    this.#changed();
  }

  #listen() {
    const frame = this.#frame;
    const listen = (name, handle, options) => frame.addEventListener(name, handle.bind(this), options);
    listen("wheel", this.#onWheel, { passive: false });
    listen("dblclick", (event) => (this.#fitted ? this.zoom(1 / this.#scale, this.#point(event)) : this.fit()));
    listen("pointerdown", (event) => {
      if (event.button !== 0) return;
      frame.setPointerCapture(event.pointerId);
      this.#pointers.set(event.pointerId, this.#point(event));
    });
    listen("pointermove", this.#onMove);
    for (const end of ["pointerup", "pointercancel"]) {
      listen(end, (event) => this.#pointers.delete(event.pointerId));
    }
    at("viewer").addEventListener("keydown", this.#onKey.bind(this)); // its buttons may have the focus
  }

  #point({ clientX, clientY }) {
    const box = this.#frame.getBoundingClientRect();
    return [clientX - box.left, clientY - box.top];
  }

  #onWheel(event) {
    if (!this.#size) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
    const speed = event.ctrlKey ? 0.01 : 0.002; // a pinch on a touch pad comes as small steps with ctrl
    this.zoom(Math.exp(-within(event.deltaY * lines, [-200, 200]) * speed), this.#point(event));
  }

  #onMove(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = this.#point(event);
    this.#pointers.set(event.pointerId, now);
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    if (this.#pointers.size === 2) {
      const [other] = [...this.#pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
      const apart = (point) => Math.max(8, Math.hypot(point[0] - other[0], point[1] - other[1]));
      this.zoom(apart(now) / apart(before), [(before[0] + other[0]) / 2, (before[1] + other[1]) / 2]);
      this.pan(dx / 2, dy / 2);
    } else if (event.shiftKey) {
      this.#windowBy({ level: dy, width: dx });
    } else {
      this.pan(dx, dy);
    }
  }

  #windowBy({ level = 0, width = 0 }) {
    this.window = { ...this.#window, level: this.#window.level + level, width: this.#window.width + width };
  }

  #onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = {
      "+": () => this.zoom(STEP),
      "=": () => this.zoom(STEP),
      "-": () => this.zoom(1 / STEP),
      "0": () => this.fit(),
      "1": () => this.fullSize(),
      "i": () => (this.window = { ...this.#window, inverted: !this.#window.inverted }),
      "r": () => (this.window = NEUTRAL),
      "ArrowLeft": () => (event.shiftKey ? this.#windowBy({ width: -8 }) : this.pan(STRIDE, 0)),
      "ArrowRight": () => (event.shiftKey ? this.#windowBy({ width: 8 }) : this.pan(-STRIDE, 0)),
      "ArrowUp": () => (event.shiftKey ? this.#windowBy({ level: -4 }) : this.pan(0, STRIDE)),
      "ArrowDown": () => (event.shiftKey ? this.#windowBy({ level: 4 }) : this.pan(0, -STRIDE)),
    };
    const move = moves[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!move || !this.#size) return;
    event.preventDefault();
    move();
  }
}
