// Other places where the units that are on in the selected steps are on too, and the memory horizon.

import { count, find, goTo, layer, on, set, short, state, visible } from "look/state.js";

const MOST = 12;
const HALF = 0.5; // of the units: a place where fewer are on is not similar
const SLICE = 6; // milliseconds of a frame that a search may take
let search = 0; // the number of the newest one

export function startPlaces() {
  on(["series"], rescale);
  on(["series", "brush", "brushing", "threshold", "bounded"], look);
  on(["about", "pinned", "brushing"], askHorizon);
  find("threshold").addEventListener("input", (event) => set({ threshold: Number(event.target.value) }));
  find("bounded").addEventListener("change", (event) => set({ bounded: event.target.checked }));
  find("search").addEventListener("submit", (event) => event.preventDefault());
}

function rescale() {
  if (!state.series) return;
  const { low, high } = state.series;
  const slider = find("threshold");
  slider.min = Math.max(low, 0);
  slider.max = high;
  const threshold = low < 0 ? 0.3 * high : 0.5;
  slider.value = threshold;
  set({ threshold });
}

async function look() {
  if (state.brushing) return;
  search += 1;
  const own = search;
  find("threshold-value").textContent = short(state.threshold);
  if (!state.brush || !state.series) {
    set({ found: [] });
    show("Drag across some steps, or hold shift and press the arrow keys.", []);
    return;
  }
  const [start, stop] = state.brush;
  const throughout = unitsOn(start, stop);
  const units = state.bounded ? throughout.filter((unit) => isOffOutside(unit, start, stop)) : throughout;
  const name = layer().series.find((one) => one.node === state.node)?.name ?? "";
  const where = `steps ${count(start + 1)} to ${count(stop)}`;
  const bounds = state.bounded ? " and not just before or after" : "";
  if (!units.length) {
    set({ found: [] });
    const longer = throughout.length ? `; ${count(throughout.length)} are, but also before or after` : "";
    const way = longer ? "Select other steps, or let them be on outside" : "Lower the threshold";
    show(`No unit's ${name} is above ${short(state.threshold)} all through ${where}${bounds}${longer}. ${way}.`, []);
    return;
  }
  const found = await similar(units, start, stop, () => own !== search);
  if (!found) return;
  set({ found });
  const many = units.length === 1 ? `1 unit's ${name} is` : `${count(units.length)} units' ${name} are`;
  const rest = found.length ? "Half of them or more are, too, in" : "Nowhere else are half of them.";
  show(`${many} above ${short(state.threshold)} all through ${where}${bounds}. ${rest}`, found);
}

/** The units that are on at every selected step. */
function unitsOn(start, stop) {
  const { data, steps, rows, missing } = state.series;
  const level = state.series.level(state.threshold);
  const found = [];
  for (let unit = 0; unit < rows; unit += 1) {
    let step = unit * steps + start;
    const end = unit * steps + stop;
    while (step < end && data[step] > level && data[step] !== missing) step += 1;
    if (step === end) found.push(unit);
  }
  return found;
}

/** Whether a unit is off at the steps next to some: one that is always on says nothing of them (as in LSTMVis). */
function isOffOutside(unit, start, stop) {
  const { data, steps, missing } = state.series;
  const level = state.series.level(state.threshold);
  const isOn = (step) => data[unit * steps + step] > level && data[unit * steps + step] !== missing;
  return !(start > 0 && isOn(start - 1)) && !(stop < steps && isOn(stop));
}

/** The places of the same length where most of some units are on, the best first; null if it is no longer wanted. */
async function similar(units, start, stop, isOver) {
  const { data, steps, missing } = state.series;
  const level = state.series.level(state.threshold);
  const counts = new Uint16Array(steps);
  let until = performance.now() + SLICE;
  for (const unit of units) {
    const first = unit * steps;
    for (let step = 0; step < steps; step += 1) {
      const at = data[first + step];
      if (at > level && at !== missing) counts[step] += 1;
    }
    if (performance.now() > until) {
      await new Promise((resolve) => setTimeout(resolve));
      if (isOver()) return null;
      until = performance.now() + SLICE;
    }
  }
  return best(counts, stop - start, units.length, start);
}

function best(counts, wide, units, own) {
  const scores = new Float32Array(Math.max(0, counts.length - wide + 1));
  let sum = 0;
  for (let step = 0; step < counts.length; step += 1) {
    sum += counts[step] - (step >= wide ? counts[step - wide] : 0);
    if (step >= wide - 1) scores[step - wide + 1] = sum / (wide * units);
  }
  scores.fill(0, Math.max(0, own - wide + 1), own + wide);
  const found = [];
  while (found.length < MOST) {
    let at = 0;
    for (let k = 1; k < scores.length; k += 1) if (scores[k] > scores[at]) at = k;
    if (!(scores[at] >= HALF)) break;
    found.push({ start: at, stop: at + wide, score: scores[at] });
    scores.fill(0, Math.max(0, at - wide + 1), at + wide);
  }
  return found;
}

function show(note, found) {
  find("places-note").textContent = note;
  find("places").replaceChildren(
    ...found.map((one) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      const { pieces } = state.about;
      const text = (a, b) => pieces.slice(Math.max(0, a), b).map(visible).join("");
      const within = document.createElement("b");
      within.textContent = text(one.start, one.stop);
      button.append(
        `${Math.round(100 * one.score)} %, step ${count(one.start + 1)}${pieces.length ? ": " : ""}${text(one.start - 12, one.start)}`,
        within,
        text(one.stop, one.stop + 16),
      );
      button.addEventListener("click", () => goTo(one.start));
      item.append(button);
      return item;
    }),
  );
}

let asking = 0;

function askHorizon() {
  find("horizon-section").hidden = !state.about.horizon;
  if (!state.about.horizon || state.brushing) return;
  clearTimeout(asking);
  asking = setTimeout(showHorizon, 350);
}

async function showHorizon() {
  const { about, pinned } = state;
  const note = find("horizon-note");
  try {
    const found = await state.source.horizon(about, pinned);
    if (about !== state.about || pinned !== state.pinned) return;
    note.textContent =
      `How much what is expected after step ${count(found.step + 1)} depends on the states of earlier steps.` +
      (found.step === pinned ? "" : " (This file holds the horizon of the last step only.)");
    // It is made by the program that made this page.
    find("horizon").innerHTML = found.figure + table(found.lags);
  } catch (error) {
    if (about !== state.about || pinned !== state.pinned) return;
    note.textContent = error.message;
    find("horizon").replaceChildren();
  }
}

function table(lags) {
  const places = Object.keys(lags);
  const shares = Object.keys(lags[places[0]]);
  const head = shares.map((share) => `<th scope="col">${share} gone</th>`).join("");
  const lines = places.map((place) => {
    const cells = shares.map((share) => `<td>${lags[place][share] ?? "farther"}</td>`).join("");
    const name = document.createElement("span");
    name.textContent = place || "the layer";
    return `<tr><th scope="row">${name.innerHTML}</th>${cells}</tr>`;
  });
  return `<table><thead><tr><td></td>${head}</tr></thead><tbody>${lines.join("")}</tbody></table><p class="quiet">Steps back after which so much of the gradient is gone for good; “farther” than was looked.</p>`;
}
