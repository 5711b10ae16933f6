"use strict";
/* What the page of the server and the exported page share: small helpers and the words for directions. */

const SIZE = 28; // pixels on a side of a picture
const DIGITS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const COLOURS = ["#3f78e0", "#f08a24", "#2f9e48", "#dc3f3f", "#9467d6", "#a2664a", "#e05fb5", "#8a8f98", "#b3a100",
  "#17adc0"];

const byId = id => document.getElementById(id);
const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Return an element with attributes and children; SVG's elements have a namespace of their own. */
function make(tag, attributes = {}, ...children) {
  const isSvg = ["svg", "rect", "line", "circle", "text", "title"].includes(tag);
  const element = isSvg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Return the bytes of a text in base64. */
function unpack(text) {
  return Uint8Array.from(atob(text), character => character.charCodeAt(0));
}

/** Show the picture that begins at a byte of grey pixels on a canvas of 28 x 28. */
function showPicture(canvas, greys, start = 0) {
  const image = new ImageData(SIZE, SIZE);
  for (let byte = 0; byte < image.data.length; byte++) {
    image.data[byte] = byte % 4 === 3 ? 255 : greys[start + (byte >> 2)];
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Return a canvas for a picture, with what a screen reader says. */
function makePicture(label) {
  return make("canvas", { class: "picture", width: SIZE, height: SIZE, role: "img", "aria-label": label });
}

/** Fill a row with pictures, making its canvases the first time; captions: one text for each, or none. */
function showRow(row, greys, labels, captions = []) {
  if (row.children.length !== labels.length) {
    row.replaceChildren(...labels.map((label, index) =>
      make("figure", {}, makePicture(label), ...(captions[index] ? [make("figcaption", {}, captions[index])] : []))));
  }
  [...row.querySelectorAll("canvas")].forEach((canvas, index) => showPicture(canvas, greys, index * SIZE * SIZE));
}

/** Fill a <fieldset> with one radio button per digit; choose(digit) is called on a change. */
function makeDigitSelector(fieldset, choose) {
  for (const digit of DIGITS) {
    const input = make("input", { type: "radio", name: "digit", value: digit });
    input.checked = digit === 0;
    input.addEventListener("change", () => choose(digit));
    fieldset.append(make("label", {}, input, make("span", {}, String(digit))));
  }
  fieldset.hidden = false;
}
