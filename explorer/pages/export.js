"use strict";
/* The exported page: the map, a grid of decoded pictures for each digit, and the bars; there is no model to ask. */

const data = JSON.parse(byId("data").textContent);
const state = { label: 0, pinned: [0, 0], tiles: [] };
const map = new LatentMap(byId("map"), byId("legend"), {
  move: (x, y) => show([x, y], "under the pointer"),
  leave: () => show(state.pinned, "kept"),
  pick: (x, y) => keep(x, y),
  step: (dx, dy) => keep(state.pinned[0] + dx, state.pinned[1] + dy),
  key: () => {},
});

/** Return an integer from 0 to count - 1: the row or column of the grid where a coordinate from -1 to 1 lies. */
const cellOf = share => Math.min(Math.max(Math.floor(((share + 1) / 2) * data.count), 0), data.count - 1);

function keep(x, y) {
  state.pinned = [x, y].map(value => Math.min(Math.max(value, -map.range), map.range));
  show(state.pinned, "kept");
}

function show([x, y], what) {
  const tile = state.tiles[cellOf(-y / map.range)]?.[cellOf(x / map.range)];
  if (tile) byId("picture").getContext("2d").drawImage(tile, 0, 0);
  map.mark({ code: [x, y] });
  byId("position").textContent = `${what}: ${data.axes[0]} = ${x.toFixed(2)}`
    + (data.axes[1] ? `, ${data.axes[1]} = ${y.toFixed(2)}` : "");
}

/** Cut the sheet of a digit into its pictures. */
async function showDigit(digit) {
  state.label = digit;
  const sheet = new Image();
  sheet.src = data.sheets[digit];
  await sheet.decode();
  const numbers = [...Array(data.count).keys()];
  state.tiles = numbers.map(row => numbers.map(column => {
    const tile = makePicture("");
    tile.getContext("2d").drawImage(sheet, -column * SIZE, -row * SIZE);
    return tile;
  }));
  map.setTiles(byId("tiles").checked ? state.tiles : null);
  show(state.pinned, "kept");
}

byId("model").textContent = data.model;
byId("names").textContent = data.names;
byId("axes").textContent = data.axes[1] ? `across: ${data.axes[0]}; up: ${data.axes[1]}` : `across: ${data.axes[0]}`;
byId("grid-help").textContent = `The nearest of ${data.count} × ${data.count} decoded pictures`
  + (data.sheets.length > 1 ? " for each digit." : ".")
  + (data.dimensions.kl.length > 2 ? " The code's other coordinates are 0." : "");
drawBars(byId("bars"), byId("bars-text"), data.dimensions);
byId("tiles").addEventListener("change", () => map.setTiles(byId("tiles").checked ? state.tiles : null));
if (data.sheets.length > 1) makeDigitSelector(byId("labels"), showDigit);
map.setPoints(data.x, data.y, data.digits);
map.range = data.range; // that of the grid
map.draw();
showDigit(0);
