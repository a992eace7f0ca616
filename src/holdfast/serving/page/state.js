// What the page shows now. Each part of the page says what it depends on, and is drawn at most once a frame.

export const state = {
  about: null, // all but the series
  source: null, // where series come from
  layer: 0, // its number
  node: 0, // the series that is shown
  order: "similarity", // of the units
  unit: 0,
  pinned: 0, // the step that was chosen
  step: 0, // the step that is looked at: the one under the pointer, else the chosen one
  brush: null, // the steps that are selected, [from, to)
  brushing: false,
  from: 0, // the steps that are in sight
  to: 1,
  threshold: 0,
  series: null, // the numbers of all units; null while they are on their way
  rows: null, // every series of the chosen unit, by node; likewise
  bounded: true, // whether units must be off just outside the selection
  found: [], // similar places
  theme: 0, // counts changes between light and dark, and of the window's width
};

// What was loaded for a choice goes with it: no number of one unit may stand under the name of another.
const loadedFor = { series: ["about", "layer", "node"], rows: ["about", "layer", "unit"] };

const parts = [];
let changed = new Set();
let waiting = false;

/** Draws a part again when one of some entries has changed. */
export function on(keys, draw) {
  parts.push({ keys, draw });
}

export function set(changes) {
  for (const [key, value] of Object.entries(changes)) {
    if (state[key] !== value) {
      state[key] = value;
      changed.add(key);
      for (const [loaded, choices] of Object.entries(loadedFor)) {
        if (choices.includes(key) && !(loaded in changes)) {
          state[loaded] = null;
          changed.add(loaded);
        }
      }
    }
  }
  if (changed.size && !waiting) {
    waiting = true;
    requestAnimationFrame(redraw);
  }
}

function redraw() {
  waiting = false;
  const now = changed;
  changed = new Set();
  for (const part of parts) {
    if (!state.about || !part.keys.some((key) => now.has(key))) continue;
    try {
      part.draw();
    } catch (error) {
      reportError(error); // the other parts are drawn all the same
    }
  }
}

export const layer = () => state.about.layers[state.layer];
export const find = (id) => document.getElementById(id);

/** Whole numbers with their thousands apart. */
export const count = (number) => number.toLocaleString("en");

/**
 * A number as a reader wants it: three digits, or as many as are known, and a true minus.
 * `grain` is how far apart the numbers are that it was rounded to; 0: it is exact.
 */
export function short(number, grain = 0) {
  if (number === null || number === undefined || Number.isNaN(number)) return "–";
  const known = grain > 0 ? Math.max(0, Math.floor(-Math.log10(grain))) : Infinity; // digits after the point
  const size = Math.abs(number);
  if (size === 0 || size < 0.5 * 10 ** -known) return "0";
  let text = size.toPrecision(3);
  if (2 - Math.floor(Math.log10(size)) > known) text = size.toFixed(known);
  else if (size < 0.001 || size >= 10000) text = size.toExponential(1);
  else if (size >= 1000) text = size.toFixed(0);
  return (number < 0 ? "−" : "") + text;
}

/** A piece of text as it can be shown in a line. */
export const visible = (piece) => piece.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/ /g, "␣");

/** Moves to a step, by keys or a click: within the sequence, and into sight. */
export function goTo(step, more = {}) {
  const last = state.about.steps - 1;
  const at = Math.max(0, Math.min(last, step));
  const wide = state.to - state.from;
  let from = state.from;
  if (at < from) from = at;
  if (at >= from + wide) from = at - wide + 1;
  set({ step: at, pinned: at, from, to: from + wide, ...more });
}

/** Shows fewer steps or more, around the one that is looked at. */
export function zoom(factor) {
  const all = state.about.steps;
  const wide = Math.round(Math.max(Math.min(10, all), Math.min(all, (state.to - state.from) * factor)));
  const share = (state.step - state.from) / Math.max(1, state.to - state.from);
  const from = Math.max(0, Math.min(all - wide, Math.round(state.step - Math.max(0, Math.min(1, share)) * wide)));
  set({ from, to: from + wide });
}

/** What keys do wherever steps are shown: true if they did something. */
export function stepKeys(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return false; // the browser's own
  const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 }[event.key];
  const end = { Home: 0, End: state.about.steps - 1 }[event.key];
  if (by === undefined && end === undefined) return otherKeys(event);
  const before = state.step;
  const to = Math.max(0, Math.min(state.about.steps - 1, end ?? before + by));
  if (event.shiftKey) {
    // The end that is moved is the one where the step is.
    const [a, b] = state.brush ?? [before, before + 1];
    const other = before === a ? b - 1 : a;
    goTo(to, { brush: [Math.min(other, to), Math.max(other, to) + 1] });
  } else {
    goTo(to);
  }
  return true;
}

function otherKeys(event) {
  if (event.key === "Escape") set({ brush: null });
  else if (event.key === "+" || event.key === "=") zoom(0.5);
  else if (event.key === "-") zoom(2);
  else return false;
  return true;
}

/** The step under a pointer, where the steps in sight lie side by side in an element. */
export function stepUnder(element, event) {
  const box = element.getBoundingClientRect();
  const at = state.from + Math.floor(((event.clientX - box.left) / box.width) * (state.to - state.from));
  return Math.max(state.from, Math.min(state.to - 1, at));
}

/** Lets a pointer look at steps, choose one, and select several. `stepAt` finds the step under it, or null. */
export function stepPointer(element, stepAt, chosen = () => ({})) {
  let begun = null;
  // A selection that was begun in another text has nothing to select in this one.
  const begin = () => (begun?.about === state.about ? begun.step : null);
  element.addEventListener("pointerdown", (event) => {
    const step = stepAt(event);
    if (event.button !== 0 || step === null) return;
    begun = { step, about: state.about };
    if (event.pointerType === "mouse") element.setPointerCapture(event.pointerId);
    set({ step, pinned: step, ...chosen(event) });
  });
  element.addEventListener("pointermove", (event) => {
    const step = stepAt(event);
    if (step === null) return;
    const first = begin();
    if (first === null) set({ step });
    else if (step !== first || state.brushing) {
      set({ step, brushing: true, brush: [Math.min(first, step), Math.max(first, step) + 1] });
    }
  });
  const end = (event) => {
    const first = begin();
    begun = null;
    if (first === null) return;
    const step = stepAt(event);
    if (!state.brushing) set({ brush: null });
    else if (step !== null) set({ pinned: step });
    set({ brushing: false });
  };
  element.addEventListener("pointerup", end);
  element.addEventListener("pointercancel", end);
  element.addEventListener("pointerleave", () => begin() === null && set({ step: state.pinned }));
}
