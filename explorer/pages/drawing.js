"use strict";
/* The area to draw a digit on: mouse, finger, pen and keys. */

const PEN = 22; // its width, in pixels of the canvas
const KEY_STEP = 10;

class Pad {
  /** changed() is called after each stroke, and while one is being drawn. */
  constructor(canvas, changed) {
    Object.assign(this, { canvas, changed, context: canvas.getContext("2d", { willReadFrequently: true }) });
    this.last = null; // where the pen of a pointer is, null if it is up
    this.pen = { x: canvas.width / 2, y: canvas.height / 4, down: false }; // the one that keys move
    canvas.addEventListener("pointerdown", event => this.start(event));
    canvas.addEventListener("pointermove", event => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { this.last = null; });
    canvas.addEventListener("keydown", event => this.press(event));
    canvas.addEventListener("blur", () => { this.pen.down = false; });
    this.clear();
  }

  clear() {
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.empty = true;
  }

  start(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.last = this.place(event);
    this.stroke(...this.last, ...this.last);
  }

  move(event) {
    if (this.last === null) return;
    const next = this.place(event);
    this.stroke(...this.last, ...next);
    this.last = next;
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect(), scale = this.canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  press(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === " ") {
      this.pen.down = !this.pen.down;
      if (this.pen.down) this.stroke(this.pen.x, this.pen.y, this.pen.x, this.pen.y);
    } else if (event.key in steps) {
      const inside = value => Math.min(Math.max(value, PEN / 2), this.canvas.width - PEN / 2);
      const [x, y] = [this.pen.x, this.pen.y], [dx, dy] = steps[event.key];
      this.pen.x = inside(x + dx * KEY_STEP);
      this.pen.y = inside(y + dy * KEY_STEP);
      if (this.pen.down) this.stroke(x, y, this.pen.x, this.pen.y);
    } else {
      return;
    }
    event.preventDefault();
  }

  stroke(x0, y0, x1, y1) {
    Object.assign(this.context, { strokeStyle: "#fff", lineWidth: PEN, lineCap: "round" });
    this.context.beginPath();
    this.context.moveTo(x0, y0);
    this.context.lineTo(x1, y1 + 0.01); // a line without length is not drawn everywhere
    this.context.stroke();
    this.empty = false;
    this.changed();
  }

  /** Return the grey pixels in base64. */
  pack() {
    const { data } = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    let text = "";
    for (let byte = 0; byte < data.length; byte += 4) text += String.fromCharCode(data[byte]);
    return btoa(text);
  }
}

// ---- what is shown of a drawing, or of a picture of the validation split

function encode(source) {
  if (!state.info) return;
  const [u, v] = plane(), chosen = byId("drawn-label").value;
  state.source = source;
  requests.encode.send({ ...source, u, v, seed: state.seed || 0, label: chosen === "" ? null : Number(chosen) });
}

function showEncoded(answer) {
  state.encoded = answer;
  byId("encoded").hidden = false;
  showPicture(byId("seen"), unpack(answer.picture));
  const greys = unpack(answer.pictures);
  showPicture(byId("reconstruction"), greys);
  showRow(byId("draws"), greys.subarray(SIZE * SIZE), answer.draws.map((_, k) => `draw ${k + 1} from q(z|x), decoded`));
  const [[varX], [, varY]] = answer.covariance, at = place(answer.code);
  map.mark({ picture: { centre: at, covariance: answer.covariance, draws: answer.draws.map(place) } });
  byId("encoded-text").textContent = (state.info.conditional ? `Encoded as a ${answer.label}. ` : "")
    + `On the map q(z|x) has mean (${at.map(value => value.toFixed(2)).join(", ")}) and standard deviations `
    + `${Math.sqrt(varX).toFixed(2)} and ${Math.sqrt(varY).toFixed(2)}; the ellipses are one and two of them, the rings `
    + "are the draws.";
  if (state.info.conditional) requests.styles.send({ z: [answer.code], labels: DIGITS });
}
