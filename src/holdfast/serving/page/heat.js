// The heat map of units by steps, and what is marked on it.

import { count, find, layer, on, set, short, state, stepKeys, stepPointer, stepUnder, visible, zoom } from "look/state.js";
import { paletteOf } from "look/palette.js";

const heat = find("heat");
const marks = find("marks");
let rows = []; // the units from top to bottom

/** Makes a canvas as fine as the screen, and says how large it is there. */
export function fitted(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { width, height } = canvas.getBoundingClientRect();
  const [wide, high] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  return { context: canvas.getContext("2d"), wide, high, ratio };
}

export function startHeat() {
  on(["series", "order", "from", "to", "theme"], drawHeat);
  on(["series", "order", "from", "to", "theme", "brush", "unit", "found"], drawMarks);
  on(["about", "step"], moveNow);
  on(["step", "unit", "series", "rows"], say);
  stepPointer(marks, stepAt, (event) => ({ unit: unitAt(event) }));
  marks.addEventListener("pointermove", (event) => sayPointed(event));
  marks.addEventListener("keydown", (event) => {
    if (keys(event)) event.preventDefault();
  });
  marks.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 0.8 : 1.25);
    },
    { passive: false },
  );
  find("closer").addEventListener("click", () => zoom(0.5));
  find("wider").addEventListener("click", () => zoom(2));
  find("whole").addEventListener("click", () => set({ from: 0, to: state.about.steps }));
}

function keys(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return false;
  const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (by === undefined) return stepKeys(event);
  const row = Math.max(0, Math.min(rows.length - 1, rows.indexOf(state.unit) + by));
  set({ unit: rows[row] });
  return true;
}

function stepAt(event) {
  return stepUnder(marks, event);
}

function unitAt(event) {
  const box = marks.getBoundingClientRect();
  const row = Math.floor(((event.clientY - box.top) / box.height) * rows.length);
  return rows[Math.max(0, Math.min(rows.length - 1, row))] ?? 0;
}

function clear() {
  const { context, wide, high } = fitted(heat);
  context.clearRect(0, 0, wide, high);
  find("said").textContent = "";
}

function drawHeat() {
  const { series } = state;
  if (!series) return clear();
  // Projected outputs are not the units that the orders are of.
  const isProjected = series.rows !== layer().units;
  rows = isProjected ? Array.from({ length: series.rows }, (_, k) => k) : layer().orders[state.order];
  const { context, wide, high } = fitted(heat);
  const columns = Math.min(wide, state.to - state.from);
  const lines = Math.min(high, rows.length);
  const image = new ImageData(columns, lines);
  paint(image, means(series, columns, lines), paletteOf(series), series.levels);
  const small = new OffscreenCanvas(columns, lines);
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, wide, high);
  const per = [(state.to - state.from) / columns, rows.length / lines].map((n) => Math.max(1, n));
  const note = per.some((n) => n > 1)
    ? ` Each point is the mean of about ${per[0].toFixed(1)} steps × ${per[1].toFixed(1)} units.`
    : "";
  find("heat-note").textContent =
    `${count(rows.length)} ${isProjected ? "outputs" : "units"} from top to bottom, ` +
    `by ${isProjected ? "number" : state.order}; ` +
    `steps ${count(state.from + 1)} to ${count(state.to)} of ${count(state.about.steps)}.${note}`;
  drawScale(series);
}

/** The mean level of the units and steps that fall on each point. */
function means(series, columns, lines) {
  const { data, steps, missing } = series;
  const { from, to } = state;
  const sums = new Float32Array(columns * lines);
  const counts = new Uint32Array(columns * lines);
  const begins = Uint32Array.from({ length: columns + 1 }, (_, k) => from + Math.round((k * (to - from)) / columns));
  rows.forEach((unit, row) => {
    const line = Math.floor((row * lines) / rows.length) * columns;
    const first = unit * steps;
    for (let column = 0; column < columns; column += 1) {
      const end = begins[column + 1];
      let sum = 0;
      let known = 0;
      for (let step = begins[column]; step < end; step += 1) {
        const level = data[first + step];
        if (level !== missing) {
          sum += level;
          known += 1;
        }
      }
      sums[line + column] += sum;
      counts[line + column] += known;
    }
  });
  for (let k = 0; k < sums.length; k += 1) sums[k] /= counts[k]; // NaN where nothing is known
  return sums;
}

function paint(image, levels, palette, highest) {
  const pixels = image.data;
  for (let k = 0; k < levels.length; k += 1) {
    if (Number.isNaN(levels[k])) continue; // it stays transparent
    const at = 3 * Math.round((levels[k] / highest) * 255);
    pixels[4 * k] = palette.bytes[at];
    pixels[4 * k + 1] = palette.bytes[at + 1];
    pixels[4 * k + 2] = palette.bytes[at + 2];
    pixels[4 * k + 3] = 255;
  }
}

function drawScale(series) {
  const ramp = find("ramp");
  const image = new ImageData(256, 1);
  paint(image, Float32Array.from({ length: 256 }, (_, k) => k), paletteOf(series), 255);
  ramp.getContext("2d").putImageData(image, 0, 0);
  find("low").textContent = short(series.low);
  find("high").textContent = short(series.high);
}

/** Lines and bars that lie over the heat map: elements that move, for which nothing is drawn anew. */
function drawMarks() {
  const { from, to, brush, found } = state;
  const share = (step) => (step - from) / (to - from);
  moveNow();
  const bar = find("brush");
  bar.hidden = !brush;
  const wide = marks.clientWidth;
  if (brush) {
    const [a, b] = brush.map((step) => share(step) * wide);
    bar.style.transform = `translateX(${a}px) scaleX(${Math.max(1, b - a)})`;
  }
  const row = rows.indexOf(state.unit);
  find("row").hidden = row < 0;
  find("row").style.transform = `translateY(${((row + 0.5) / rows.length) * marks.clientHeight}px)`;
  find("ticks").replaceChildren(
    ...found.map(({ start, stop }) => {
      const tick = document.createElement("div");
      tick.style.left = `${100 * share(start)}%`;
      tick.style.width = `${100 * (share(stop) - share(start))}%`;
      return tick;
    }),
  );
}

function moveNow() {
  const at = (state.step + 0.5 - state.from) / (state.to - state.from);
  for (const line of document.querySelectorAll(".over .now, #marks .now")) {
    line.style.transform = `translateX(${at * line.parentElement.clientWidth}px)`;
  }
}

function said(unit, step) {
  const piece = state.about.pieces[step];
  const at = piece === undefined ? "" : ` “${visible(piece)}”`;
  const name = layer().series.find((one) => one.node === state.node)?.name ?? "";
  // Of the chosen unit the equations' own number; of others what the colours tell.
  const row = unit === state.unit ? state.rows?.get(state.node) : undefined;
  const [number, grain] = row
    ? [row[step], state.source.grain(state.about, state.layer, state.node)]
    : [state.series.value(unit, step), state.series.grain];
  const value = unit < state.series.rows ? short(number, grain) : "–";
  return `step ${count(step + 1)}${at}, unit ${unit}: ${name} ${grain > 0 ? "≈" : "="} ${value}`;
}

function say() {
  if (state.series && !state.brushing) find("said").textContent = said(state.unit, state.step);
}

function sayPointed(event) {
  if (!state.series || state.brushing) return;
  // After what the change of the step says, which is said once a frame.
  const [unit, step] = [unitAt(event), stepAt(event)];
  requestAnimationFrame(() => requestAnimationFrame(() => state.series && (find("said").textContent = said(unit, step))));
}
