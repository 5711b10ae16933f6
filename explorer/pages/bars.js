"use strict";
/* What the code holds: the KL of each dimension, and its mean and standard deviation beside the prior's. */

const MOST_BARS = 40;
const CHART = { width: 520, height: 240, left: 44, right: 8, top: 12, bottom: 30 };

/** Return the indices of the dimensions by falling KL; two stay in their own order. */
function byKl(kl) {
  const order = kl.map((_, index) => index);
  return kl.length <= 2 ? order : order.sort((a, b) => kl[b] - kl[a]);
}

/** Fill the element with both charts and their numbers; dimensions: what describe_dimensions returns. */
function drawBars(element, text, dimensions) {
  const order = byKl(dimensions.kl), shown = order.slice(0, MOST_BARS);
  text.textContent = `${dimensions.text}.`
    + (shown.length < order.length ? ` The ${shown.length} with the largest KL are shown.` : "")
    + (dimensions.changed ? " This model changes what it samples from q(z|x) before it decodes it: the KL is that of"
      + " q(z|x), the right-hand chart shows what decode gets." : "");
  element.replaceChildren(
    make("div", {}, make("h3", {}, "KL of q(z|x) to the prior, nats per dimension"), klChart(dimensions, shown),
      help(`Blue: active, above ${dimensions.active} nats. Grey: unused; q(z|x) is the prior for every picture.`)),
    make("div", {}, make("h3", {}, "Codes per dimension: mean ± standard deviation"), codesChart(dimensions, shown),
      help("Shaded: the prior, 0 ± 1. Bars: the means mu of all pictures; where they are short, the dimension has"
        + " collapsed. Thin lines: draws from q(z|x); where they leave the shaded band, or do not fill it, codes"
        + " drawn from N(0, I) are not what the decoder has learned from.")),
    make("details", { class: "wide" }, make("summary", {}, "The numbers"), table(dimensions, order)));
}

const help = text => make("p", { class: "help" }, text);

/** Return an empty chart whose vertical axis goes from low to high, and its functions x(position) and y(value). */
function emptyChart(label, low, high, count) {
  const { width, height, left, right, top, bottom } = CHART;
  const y = value => top + ((high - value) / (high - low)) * (height - top - bottom);
  const step = (width - left - right) / count;
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  return { svg, step, y, x: position => left + (position + 0.5) * step };
}

function addAxis(chart, values, dimensions) {
  for (const value of values) {
    const y = chart.y(value);
    chart.svg.append(make("line", { class: "axis", x1: CHART.left, x2: CHART.width - CHART.right, y1: y, y2: y }),
      make("text", { x: CHART.left - 6, y: y + 4, "text-anchor": "end" }, String(value)));
  }
  const every = Math.ceil(dimensions.length / (innerWidth < 560 ? 10 : 20));
  dimensions.forEach((dimension, position) => {
    if (position % every) return;
    chart.svg.append(make("text", { x: chart.x(position), y: CHART.height - 12, "text-anchor": "middle" },
      String(dimension)));
  });
}

/** Return round values from low to high, about four steps. */
function ticks(low, high) {
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(size => size >= rough);
  const values = [];
  for (let value = Math.ceil(low / step); value * step <= high; value++) values.push(+(value * step).toPrecision(6));
  return values;
}

function klChart({ kl, active }, shown) {
  const high = Math.max(0.5, ...kl) * 1.05;
  const chart = emptyChart(`KL of ${shown.length} dimensions, from ${Math.max(...kl).toFixed(2)} nats down to `
    + `${kl[shown.at(-1)].toFixed(2)}`, 0, high, shown.length);
  addAxis(chart, ticks(0, high), shown);
  shown.forEach((dimension, position) => {
    const top = chart.y(Math.max(kl[dimension], high / 300));
    const bar = make("rect", { class: kl[dimension] > active ? "active" : "unused", x: chart.x(position)
      - 0.4 * chart.step, y: top, width: 0.8 * chart.step, height: chart.y(0) - top });
    bar.append(make("title", {}, `z[${dimension}]: ${kl[dimension].toFixed(3)} nats`));
    chart.svg.append(bar);
  });
  return chart.svg;
}

function codesChart({ mean, std, std_mean: stdMean }, shown) {
  const high = Math.max(2, ...shown.map(d => Math.abs(mean[d]) + Math.max(std[d], stdMean[d]))) * 1.05;
  const chart = emptyChart("mean and standard deviation of the codes in each dimension, beside the prior's 0 and 1",
    -high, high, shown.length);
  chart.svg.append(make("rect", { class: "band", x: CHART.left, y: chart.y(1), width: CHART.width - CHART.left
    - CHART.right, height: chart.y(-1) - chart.y(1) }));
  addAxis(chart, ticks(-high, high), shown);
  shown.forEach((dimension, position) => {
    const x = chart.x(position), width = Math.min(0.5 * chart.step, 24), tall = 2 * stdMean[dimension];
    const text = `z[${dimension}]: mean ${mean[dimension].toFixed(2)}, standard deviation of the means `
      + `${stdMean[dimension].toFixed(2)}, of draws ${std[dimension].toFixed(2)}`;
    chart.svg.append(
      make("line", { class: "draws", x1: x, x2: x, y1: chart.y(mean[dimension] + std[dimension]),
        y2: chart.y(mean[dimension] - std[dimension]) }),
      make("rect", { class: "codes", x: x - width / 2, width, y: chart.y(mean[dimension] + stdMean[dimension]),
        height: Math.max(chart.y(0) - chart.y(tall), 2) }, make("title", {}, text)),
      make("circle", { class: "mean", cx: x, cy: chart.y(mean[dimension]), r: Math.min(3, chart.step / 4) }));
  });
  return chart.svg;
}

/** Return the same as a table, which can be read aloud and copied. */
function table(dimensions, order) {
  const names = ["dimension", "KL", "mean", "std of the means", "std of draws"];
  const rows = order.map(d => [`z[${d}]`, ...[dimensions.kl, dimensions.mean, dimensions.std_mean, dimensions.std]
    .map(values => values[d].toFixed(3))]);
  return make("table", {},
    make("thead", {}, make("tr", {}, ...names.map(name => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows.map(([head, ...cells]) => make("tr", {}, make("th", { scope: "row" }, head),
      ...cells.map(cell => make("td", {}, cell))))));
}
