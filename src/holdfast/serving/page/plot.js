// Lines over the steps: the input where it is numbers, and the course of the chosen unit.

import { find, layer, on, short, state, stepKeys, stepPointer, stepUnder } from "look/state.js";
import { fitted } from "look/heat.js";
import { paletteOf, place, styled } from "look/palette.js";

const plot = find("plot");
const course = find("course");
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]; // Okabe and Ito 2008
const DASHES = [6, 5]; // of the lines that have to use a colour again

export function startPlots() {
  on(["about", "rows", "series", "from", "to", "brush", "theme"], drawInput);
  on(["rows", "node", "from", "to", "theme"], drawCourse);
  stepPointer(plot, (event) => stepUnder(plot, event));
  plot.addEventListener("keydown", (event) => {
    if (stepKeys(event)) event.preventDefault();
  });
}

function drawInput() {
  const { values, columns } = state.about;
  find("plot-box").hidden = !values;
  if (!values) {
    find("input-note").textContent = state.about.note;
    return;
  }
  const { context, wide, high } = fitted(plot);
  context.clearRect(0, 0, wide, high);
  const row = state.rows?.get(state.node);
  if (row && state.series) strip(context, row, wide, high);
  const known = values.flat().filter((value) => value !== null);
  const [low, top] = ends(known);
  values.forEach((line, k) => {
    context.setLineDash(k < COLOURS.length ? [] : DASHES);
    draw(context, line, low, top, wide, high, COLOURS[k % COLOURS.length]);
  });
  context.setLineDash([]);
  const [least, greatest] = range(known);
  find("input-note").replaceChildren(
    ...columns.flatMap((name, k) => [k ? ", " : "", legend(name, k)]),
    `; from ${short(least)} to ${short(greatest)}, behind it the value of the chosen unit. ${state.about.note}`,
  );
}

/** The name of a line in its colour, with a sample of it. */
function legend(name, k) {
  const element = document.createElement("span");
  element.className = "legend";
  element.textContent = name;
  element.style.textDecorationColor = COLOURS[k % COLOURS.length];
  element.style.textDecorationStyle = k < COLOURS.length ? "solid" : "dashed";
  return element;
}

/** The value of the unit as a colour behind each step. */
function strip(context, row, wide, high) {
  const palette = paletteOf(state.series);
  const each = wide / (state.to - state.from);
  context.globalAlpha = 0.45;
  for (let step = state.from; step < state.to; step += 1) {
    if (Number.isNaN(row[step])) continue;
    context.fillStyle = palette.css[place(row[step], state.series)];
    const left = Math.round((step - state.from) * each); // whole points: where two overlapped there would be a stripe
    context.fillRect(left, 0, Math.round((step - state.from + 1) * each) - left, high);
  }
  context.globalAlpha = 1;
  if (state.brush) {
    context.fillStyle = styled("--accent");
    context.globalAlpha = 0.3;
    context.fillRect((state.brush[0] - state.from) * each, 0, (state.brush[1] - state.brush[0]) * each, high);
    context.globalAlpha = 1;
  }
}

function drawCourse() {
  const row = state.rows?.get(state.node);
  const name = layer().series.find((one) => one.node === state.node)?.name ?? "";
  find("course-heading").textContent = `Unit ${state.unit}: ${name} over the steps in sight`;
  const { context, wide, high } = fitted(course);
  context.clearRect(0, 0, wide, high);
  if (!row) return;
  const [low, top] = ends(row.subarray(state.from, state.to));
  context.strokeStyle = styled("--rule");
  context.lineWidth = 1;
  if (low < 0 && top > 0) {
    const zero = high - ((0 - low) / (top - low)) * high;
    context.strokeRect(0, zero, wide, 0);
  }
  draw(context, row, low, top, wide, high, styled("--ink"));
}

function range(values) {
  let [low, top] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > top) top = value;
  }
  return [low, top];
}

/** The ends of a scale for some numbers, with a little room. */
function ends(values) {
  let [low, top] = range(values);
  if (low > top) return [0, 1]; // there is no number
  if (low === top) [low, top] = [low - 0.5, low + 0.5];
  const room = (top - low) * 0.06;
  return [low - room, top + room];
}

function draw(context, line, low, top, wide, high, colour) {
  const each = wide / (state.to - state.from);
  context.strokeStyle = colour;
  context.lineWidth = 1.5 * (window.devicePixelRatio || 1);
  context.lineJoin = "round";
  context.beginPath();
  const down = (value) => high - ((value - low) / (top - low)) * high;
  const at = (step) => (step - state.from + 0.5) * each;
  if (each >= 0.5) {
    for (let step = state.from; step < state.to; step += 1) {
      if (Number.isFinite(line[step])) context.lineTo(at(step), down(line[step]));
    }
  } else {
    // Many steps to a point: from the least to the greatest of them.
    const some = Math.ceil(1 / each);
    for (let step = state.from; step < state.to; step += some) {
      const [least, greatest] = range(line.slice(step, Math.min(step + some, state.to)));
      if (least > greatest) continue; // there is no number among them
      context.lineTo(at(step), down(least));
      context.lineTo(at(step), down(greatest));
    }
  }
  context.stroke();
}
