"use strict";
/* The map: codes as points on a plane, the prior's circles, decoded pictures behind them, and what is marked. */

const POINT = 1.7; // radius, in pixels
const MARGIN = 1.06; // of the plane beyond the outermost points that count

class LatentMap {
  /** events: move(x, y), leave(), pick(x, y), step(dx, dy) and key(name); coordinates are those of the plane. */
  constructor(canvas, legend, events) {
    Object.assign(this, { canvas, events, x: [], y: [], digits: [], hidden: new Set(), range: 3, tiles: null });
    this.marks = { code: [0, 0] }; // also ends: [[x, y] or null, ...], picture: {centre, covariance, draws}
    this.layer = document.createElement("canvas"); // everything but the marks, which move
    this.makeLegend(legend);
    canvas.addEventListener("pointermove", event => events.move(...this.place(event)));
    canvas.addEventListener("pointerdown", event => events.pick(...this.place(event)));
    canvas.addEventListener("pointerleave", () => events.leave());
    canvas.addEventListener("keydown", event => this.press(event));
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  makeLegend(legend) {
    for (const digit of DIGITS) {
      const spot = make("i");
      spot.style.background = COLOURS[digit];
      const button = make("button", { type: "button", "aria-pressed": "true" }, spot, String(digit));
      button.addEventListener("click", () => {
        this.hidden.has(digit) ? this.hidden.delete(digit) : this.hidden.add(digit);
        button.setAttribute("aria-pressed", String(!this.hidden.has(digit)));
        this.draw();
      });
      legend.append(button);
    }
  }

  press(event) {
    const size = (event.shiftKey ? 0.2 : 0.03) * this.range;
    const steps = { ArrowLeft: [-size, 0], ArrowRight: [size, 0], ArrowUp: [0, size], ArrowDown: [0, -size] };
    if (event.key in steps) {
      event.preventDefault();
      this.events.step(...steps[event.key]);
    } else if (!event.ctrlKey && !event.metaKey && !event.altKey) {
      this.events.key(event.key.toLowerCase());
    }
  }

  /** Return a pointer event's place on the plane. */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const share = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    return [(2 * share[0] - 1) * this.range, (1 - 2 * share[1]) * this.range];
  }

  /** Return a place on the plane in pixels of the canvas. */
  pixels(x, y) {
    const half = this.canvas.width / 2;
    return [half + (x / this.range) * half, half - (y / this.range) * half];
  }

  /** Show points; keepRange: the plane stays as wide as it is. All but a few outliers fit in, and the circles do. */
  setPoints(x, y, digits, keepRange = false) {
    Object.assign(this, { x, y, digits });
    const sizes = x.map((value, index) => Math.max(Math.abs(value), Math.abs(y[index]))).sort((a, b) => a - b);
    const outermost = sizes.length ? sizes[Math.floor(0.998 * (sizes.length - 1))] : 0;
    if (!keepRange) this.range = MARGIN * Math.max(2.2, outermost);
    this.draw();
  }

  /** Show a grid of pictures behind the points: count x count canvases by row from the top; null: none. */
  setTiles(tiles) {
    this.tiles = tiles;
    this.draw();
  }

  mark(marks) {
    Object.assign(this.marks, marks);
    this.paint();
  }

  resize() {
    const size = Math.round(this.canvas.clientWidth * (window.devicePixelRatio || 1));
    if (size === 0 || size === this.canvas.width) return;
    for (const canvas of [this.canvas, this.layer]) canvas.width = canvas.height = size;
    this.draw();
  }

  /** Draw the tiles, the circles and the points, then the marks. */
  draw() {
    this.colours = Object.fromEntries(["prior", "mark", "map"].map(name => [name, colour(`--${name}`)]));
    const context = this.layer.getContext("2d"), size = this.layer.width, unit = window.devicePixelRatio || 1;
    context.clearRect(0, 0, size, size);
    if (this.tiles) this.drawTiles(context, size);
    context.lineWidth = 1.5 * unit;
    context.strokeStyle = this.colours.prior;
    const [centreX, centreY] = this.pixels(0, 0);
    for (const radius of [1, 2]) {
      context.beginPath();
      context.arc(centreX, centreY, (radius / this.range) * (size / 2), 0, 2 * Math.PI);
      this.strokeTwice(context, unit);
    }
    context.globalAlpha = this.tiles ? 0.85 : 0.6;
    for (const digit of DIGITS) {
      if (this.hidden.has(digit)) continue;
      context.fillStyle = COLOURS[digit];
      context.beginPath();
      for (let index = 0; index < this.x.length; index++) {
        if (this.digits[index] !== digit) continue;
        const [px, py] = this.pixels(this.x[index], this.y[index]);
        context.moveTo(px + POINT * unit, py);
        context.arc(px, py, POINT * unit, 0, 2 * Math.PI);
      }
      context.fill();
    }
    context.globalAlpha = 1;
    this.paint();
  }

  drawTiles(context, size) {
    const count = this.tiles.length, edges = [...Array(count + 1).keys()].map(k => Math.round((k * size) / count));
    context.imageSmoothingEnabled = false;
    this.tiles.forEach((row, r) => row.forEach((tile, c) => context.drawImage(
      tile, edges[c], edges[r], edges[c + 1] - edges[c], edges[r + 1] - edges[r])));
  }

  /** Copy what stands still, and draw the marks over it. */
  paint() {
    const context = this.canvas.getContext("2d"), unit = window.devicePixelRatio || 1;
    if (this.canvas.width === 0 || !this.colours) return;
    context.clearRect(0, 0, this.canvas.width, this.canvas.width);
    context.drawImage(this.layer, 0, 0);
    context.lineWidth = 2 * unit;
    context.strokeStyle = context.fillStyle = this.colours.mark;
    context.font = `bold ${15 * unit}px system-ui, sans-serif`;
    this.paintEnds(context, unit);
    if (this.marks.picture) this.paintPicture(context, unit, this.marks.picture);
    const [x, y] = this.pixels(...this.marks.code), arm = 9 * unit;
    context.beginPath();
    context.moveTo(x - arm, y);
    context.lineTo(x + arm, y);
    context.moveTo(x, y - arm);
    context.lineTo(x, y + arm);
    this.strokeTwice(context, unit);
  }

  paintEnds(context, unit) {
    const ends = (this.marks.ends || []).map(end => end && this.pixels(...end));
    if (ends[0] && ends[1]) {
      context.beginPath();
      context.moveTo(...ends[0]);
      context.lineTo(...ends[1]);
      this.strokeTwice(context, unit);
    }
    ends.forEach((end, index) => {
      if (!end) return;
      context.beginPath();
      context.arc(...end, 4 * unit, 0, 2 * Math.PI);
      this.strokeTwice(context, unit);
      context.fill();
      const letter = ["AB"[index], end[0] + 7 * unit, end[1] - 7 * unit];
      Object.assign(context, { lineWidth: 4 * unit, lineJoin: "round", strokeStyle: this.colours.map });
      context.strokeText(...letter);
      context.fillText(...letter);
      Object.assign(context, { lineWidth: 2 * unit, strokeStyle: this.colours.mark });
    });
  }

  /** q(z|x) of a picture: ellipses of one and two standard deviations, and draws as rings. */
  paintPicture(context, unit, { centre, covariance, draws }) {
    const [[a, b], [, d]] = covariance;
    const middle = (a + d) / 2, offset = Math.hypot((a - d) / 2, b), angle = Math.atan2(2 * b, a - d) / 2;
    const scale = this.canvas.width / 2 / this.range, place = this.pixels(...centre);
    for (const deviations of [1, 2]) {
      const [long, short] = [middle + offset, middle - offset].map(v => deviations * scale * Math.sqrt(Math.max(v, 0)));
      context.beginPath();
      context.ellipse(...place, Math.max(long, unit), Math.max(short, unit), -angle, 0, 2 * Math.PI);
      this.strokeTwice(context, unit);
    }
    for (const one of draws) {
      context.beginPath();
      context.arc(...this.pixels(...one), 3.5 * unit, 0, 2 * Math.PI);
      this.strokeTwice(context, unit);
    }
  }

  /** Stroke a path so that it can be seen on points and pictures of any colour. */
  strokeTwice(context, unit) {
    context.save();
    context.lineWidth = 5 * unit;
    context.strokeStyle = this.colours.map;
    context.stroke();
    context.restore();
    context.stroke();
  }
}
