// The step that is looked at: the cell's diagram and equations with the numbers of the chosen unit in them.

import { count, find, layer, on, short, state, visible } from "look/state.js";
import { paletteOf, place } from "look/palette.js";

let numbers = []; // elements that show a value, with its node
let boxes = []; // rectangles that are coloured by one

export function startStep() {
  on(["about", "layer"], write);
  on(["about", "layer", "rows", "step"], fill);
  on(["about", "layer", "unit"], facts);
}

/** The equations and the diagram of the layer's cell, without numbers. */
function write() {
  const drawing = find("diagram");
  // It is made by the program that made this page, from the cell's definition.
  drawing.innerHTML = layer().diagram;
  numbers = [...drawing.querySelectorAll("text[data-node]")].map((element) => ({
    element,
    node: Number(element.dataset.node),
    empty: "",
  }));
  boxes = [...drawing.querySelectorAll("rect[data-node]")];
  find("equations").replaceChildren(...layer().equations.map(equation));
}

function equation(parts) {
  const box = document.createElement("div");
  box.className = "equation";
  const symbols = document.createElement("code");
  const filled = document.createElement("code");
  filled.className = "numbers";
  symbols.textContent = parts.map(([text]) => text).join("");
  for (const [text, node] of parts) {
    const element = document.createElement("span");
    element.textContent = text;
    filled.append(element);
    if (node !== null) numbers.push({ element, node, empty: text });
  }
  box.append(symbols, filled);
  return box;
}

function fill() {
  const { rows, step, about, source } = state;
  for (const { element, node, empty } of numbers) {
    const row = rows?.get(node);
    element.textContent = row ? short(row[step], source.grain(about, state.layer, node)) : empty;
  }
  for (const box of boxes) tint(box, rows?.get(Number(box.dataset.node)));
  const piece = about.pieces[step];
  const guesses = (about.guesses[step] ?? []).map(([text, p]) => `“${visible(text)}” ${(100 * p).toFixed(0)} %`);
  find("step-note").textContent =
    `Step ${count(step + 1)} of ${count(about.steps)}${piece === undefined ? "" : `, “${visible(piece)}”`}, ` +
    `unit ${state.unit} of ${layer().name || "the layer"} (${layer().cell}).` +
    (guesses.length ? ` What the model expects next: ${guesses.join(", ")}.` : "");
}

function tint(box, row) {
  const scale = layer().series.find((one) => one.node === Number(box.dataset.node));
  box.style.fill = row && scale && !Number.isNaN(row[state.step]) ? paletteOf(scale).css[place(row[state.step], scale)] : "";
  box.style.fillOpacity = 0.35;
}

function facts() {
  const { unit } = state;
  const about = layer();
  const parts = [];
  if (about.constants) {
    const steps = about.constants[unit];
    parts.push(`keeps its memory for ${steps === null ? "ever" : `${short(steps)} steps`} (−1 / ln ${about.keeping})`);
  }
  for (const [gate, [low, high]] of Object.entries(about.saturation)) {
    parts.push(`${gate} under 0.1 in ${percent(low[unit])} and over 0.9 in ${percent(high[unit])} of the steps`);
  }
  if (about.dead.includes(unit)) parts.push("its output hardly ever changes: it is dead");
  find("facts").textContent = parts.length ? `Unit ${unit} ${parts.join("; ")}.` : "";
}

const percent = (share) => `${Math.round(100 * share)} %`;
