"use strict";
/* The page: one code z, what is done to it, and what is shown of it. The server decodes and encodes. */

const TILES = 16; // on a side of the grid behind the points
const SLIDERS = 8;
const LINE = 9; // pictures from A to B

const requests = {
  picture: new Newest("decode", ({ pictures }) => {
    showPicture(byId("picture"), unpack(pictures));
    state.decoded = (state.decoded || 0) + 1;
  }),
  ten: new Newest("decode", ({ pictures }) =>
    showRow(byId("ten"), unpack(pictures), DIGITS.map(digit => `this code as a ${digit}`), DIGITS.map(String))),
  line: new Newest("decode", ({ pictures }) => showRow(byId("line-pictures"), unpack(pictures),
    [...Array(LINE).keys()].map(k => `${Math.round((100 * k) / (LINE - 1))} % of the way from A to B`))),
  styles: new Newest("decode", ({ pictures }) =>
    showRow(byId("styles"), unpack(pictures), DIGITS.map(digit => `its style as a ${digit}`), DIGITS.map(String))),
  encode: new Newest("encode", showEncoded),
  map: new Newest("map", showPoints),
  open: new Newest("open", showCheckpoint),
};
let tilesWanted = 0; // the number of the newest grid

const map = new LatentMap(byId("map"), byId("legend"), {
  move: (x, y) => hover(moved(x, y)),
  leave: () => hover(null),
  pick: (x, y) => setCode(moved(x, y)),
  step: (dx, dy) => setCode(moved(...place(state.z).map((value, axis) => value + [dx, dy][axis]))),
  key: name => ({ a: () => pin(0), b: () => pin(1) })[name]?.(),
});
const pad = new Pad(byId("pad"), later(150, () => encode({ drawing: pad.pack() })));

// ---- directions: each is a unit vector in the space of the codes

function directions() {
  if (byId("kind").value === "pc") return state.info.directions;
  return dimensions().map(index => state.z.map((_, other) => Number(other === index)));
}

const dimensions = () => byKl(state.info.dimensions.kl.slice(0, state.info.latent_dim));
const nameOf = index => byId("kind").value === "pc" ? `component ${index + 1}` : `z[${dimensions()[index]}]`;
const isLine = () => state.info.latent_dim === 1;

/** Return the plane's two directions; with one dimension there is no second. */
function plane() {
  const all = directions(), zero = state.z.map(() => 0);
  return [all[byId("axis-x").value], isLine() ? zero : all[byId("axis-y").value]];
}

const place = z => plane().map(direction => dot(z, direction));

/** Return the pinned code moved to a place on the plane; its other coordinates keep their value. */
function moved(x, y) {
  const [u, v] = plane(), [oldX, oldY] = place(state.z);
  return state.z.map((value, index) => value + (x - oldX) * u[index] + (y - oldY) * v[index]);
}

// ---- the code

function setCode(z) {
  state.z = z;
  state.hover = null;
  show();
  showLater();
}

function hover(z) {
  if (!state.info) return;
  state.hover = z;
  show();
  tenLater();
}

/** Show the code under the pointer, or else the pinned one. */
function show() {
  const z = state.hover || state.z, labels = [state.label], at = place(z);
  requests.picture.send({ z: [z], labels });
  map.mark({ code: at, ends: state.ends.map(end => end && place(end)) });
  const axes = isLine() ? ["axis-x"] : ["axis-x", "axis-y"];
  const parts = axes.map((axis, index) => `${nameOf(Number(byId(axis).value))} = ${at[index].toFixed(2)}`);
  const length = Math.hypot(...z), usual = Math.sqrt(z.length);
  byId("position").textContent = `${state.hover ? "under the pointer" : "pinned"}: ${parts.join(", ")}; |z| = `
    + `${length.toFixed(2)} (about ${usual.toFixed(1)} for draws from N(0, I))`;
  const all = directions();
  document.querySelectorAll("#sliders input").forEach((slider, index) => setSlider(slider, dot(z, all[index])));
}

const tenLater = later(100, () => {
  if (state.info.conditional) requests.ten.send({ z: [state.hover || state.z], labels: DIGITS });
});
const tilesLater = later(250, showTiles);

function showLater() {
  tenLater();
  tilesLater();
}

function setSlider(slider, value) {
  const most = String(Math.max(4, Math.ceil(Math.abs(value))));
  if (slider.max !== most) Object.assign(slider, { min: `-${most}`, max: most });
  slider.value = value;
  slider.previousElementSibling.textContent = value.toFixed(2);
}

function makeSliders() {
  byId("sliders").replaceChildren(...directions().slice(0, SLIDERS).map((direction, index) => {
    const slider = make("input", { type: "range", step: 0.01, min: -4, max: 4 });
    slider.addEventListener("input", () => {
      const change = slider.value - dot(state.z, direction);
      setCode(state.z.map((value, dimension) => value + change * direction[dimension]));
    });
    return make("label", {}, `${nameOf(index)}: `, make("output"), slider);
  }));
}

function drawPrior() {
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  setCode(state.z.map(normal));
}

// ---- the map

function showAxes() {
  const count = directions().length;
  for (const [axis, chosen] of [["axis-x", 0], ["axis-y", Math.min(1, count - 1)]]) {
    const options = [...Array(count).keys()].map(index => make("option", { value: index }, nameOf(index)));
    byId(axis).replaceChildren(...options);
    byId(axis).value = chosen;
  }
  makeSliders();
  changePlane();
}

/** Two axes are never the same: the other one gets what this one had. */
function changePlane(changed, before) {
  const other = changed === "axis-x" ? "axis-y" : "axis-x";
  if (changed && byId(changed).value === byId(other).value) byId(other).value = before;
  const [u, v] = plane();
  requests.map.send({ u, v });
  if (state.source) encode(state.source);
  show();
  showLater();
}

function showPoints({ x, y }, keepRange) {
  const rows = isLine() ? state.info.digits.map(digit => (digit - 4.5) / 2.5) : y; // one row per digit
  map.setPoints(x, rows, state.info.digits, keepRange);
  tilesLater();
}

/** Decode a grid on the plane, row by row, so that the pointer's picture need not wait; a newer grid ends this one. */
async function showTiles() {
  const number = ++tilesWanted, count = TILES, centre = k => ((2 * k + 1) / count - 1) * map.range;
  if (!byId("tiles").checked) return map.setTiles(null);
  const tiles = [];
  for (let row = 0; row < count; row++) {
    const z = [...Array(count).keys()].map(column => moved(centre(column), -centre(row)));
    const answer = await ask("decode", { z, labels: z.map(() => state.label) });
    if (!answer || number !== tilesWanted) return;
    const greys = unpack(answer.pictures);
    tiles.push(z.map((_, column) => {
      const tile = makePicture("");
      showPicture(tile, greys, column * SIZE * SIZE);
      return tile;
    }));
  }
  map.setTiles(tiles);
}

// ---- from A to B

function pin(end) {
  state.ends[end] = [...(state.hover || state.z)];
  show();
  const [a, b] = state.ends;
  byId("line").hidden = !(a && b);
  if (a && b) showLine();
}

const between = share => state.ends[0].map((value, index) => (1 - share) * value + share * state.ends[1][index]);

function showLine() {
  if (!state.ends[0] || !state.ends[1]) return;
  const z = [...Array(LINE).keys()].map(k => between(k / (LINE - 1)));
  requests.line.send({ z, labels: z.map(() => state.label) });
}

// ---- checkpoints

/** Show a checkpoint: the directions stay those that the page was loaded with, so that maps can be compared. */
function showCheckpoint(answer, isFirst) {
  state.checkpoint = answer.checkpoint;
  const { valid_loss: loss, epoch } = answer;
  byId("names").textContent = `${answer.checkpoint_path}${epoch === null ? "" : `, epoch ${epoch}`}`
    + `${loss === null ? "" : `, validation loss ${loss.toFixed(2)}`}; latent_dim ${answer.latent_dim}; the code is that `
    + `of ${answer.submission}`;
  drawBars(byId("bars"), byId("bars-text"), answer.dimensions);
  showEpochs(answer);
  if (isFirst) return showFirst(answer);
  const [u, v] = plane();
  requests.map.send({ u, v }, true);
  if (state.source) encode(state.source);
  showLine();
  show();
  showLater();
}

function showFirst(answer) {
  state.info = answer;
  byId("parts").inert = false;
  state.z = Array(answer.latent_dim).fill(0);
  document.title = `Latent space of ${answer.model}`;
  byId("model").textContent = `your ${answer.model}`;
  for (const id of ["ten-section", "styles-part", "drawn-label-line"]) byId(id).hidden = !answer.conditional;
  if (answer.conditional) {
    makeDigitSelector(byId("labels"), digit => {
      state.label = digit;
      show();
      showLine();
      tilesLater();
    });
    byId("drawn-label").append(...DIGITS.map(digit => make("option", { value: digit }, String(digit))));
  }
  if (answer.latent_dim <= 2) {
    byId("kind").value = "dim";
    byId("kind-label").hidden = true;
    byId("axis-y-label").hidden = isLine();
  }
  showAxes();
}

/** Let the slider have one step for each checkpoint that is kept: the epochs in order, then the one of the address. */
function showEpochs({ checkpoints, checkpoint }) {
  const epochOf = name => Number(name.match(/^epoch_(\d+)$/)?.[1] ?? Infinity);
  state.checkpoints = [...checkpoints].sort((a, b) => epochOf(a) - epochOf(b));
  Object.assign(byId("epoch"), { max: checkpoints.length - 1, value: state.checkpoints.indexOf(checkpoint) });
  byId("epoch").setAttribute("aria-valuetext", checkpoint);
  byId("epoch-name").textContent = `${checkpoint} is shown`;
  byId("epoch-line").hidden = checkpoints.length < 2;
  byId("epochs-help").textContent = checkpoints.length < 2 ? "The folder of this checkpoint keeps no other epochs."
    : `Kept are ${state.checkpoints.join(", ")}. The directions of the map stay the same, so that one sees it form; `
      + "while a training runs, the button loads the epoch that was last saved.";
}

// ---- what the controls do

const on = (id, event, action) => byId(id).addEventListener(event, action);
on("kind", "change", showAxes);
for (const axis of ["axis-x", "axis-y"]) {
  let before = axis === "axis-x" ? "0" : "1";
  on(axis, "focus", () => { before = byId(axis).value; });
  on(axis, "change", () => {
    changePlane(axis, before);
    before = byId(axis).value;
  });
}
on("tiles", "change", showTiles);
on("draw-prior", "click", drawPrior);
on("to-zero", "click", () => setCode(state.z.map(() => 0)));
on("clear", "click", () => {
  pad.clear();
  Object.assign(state, { source: null, encoded: null });
  byId("encoded").hidden = true;
  map.mark({ picture: null });
});
on("random", "click", () => {
  byId("drawn-label").value = "";
  encode({ index: Math.floor(Math.random() * state.info.pictures) });
});
on("again", "click", () => {
  state.seed = (state.seed || 0) + 1;
  encode(state.source);
});
on("go", "click", () => setCode(state.encoded.code));
on("drawn-label", "change", () => { if (state.source) encode(state.source); });
on("pin-a", "click", () => pin(0));
on("pin-b", "click", () => pin(1));
on("share", "input", () => setCode(between(Number(byId("share").value))));
on("epoch", "input", () => requests.open.send({ checkpoint: state.checkpoints[byId("epoch").value] }));
on("newest", "click", () => requests.open.send({ newest: true }));
requests.open.send({}, true);
