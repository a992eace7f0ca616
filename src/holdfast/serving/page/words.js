// The text, each piece coloured by the value of the chosen unit.

import { find, on, set, state, stepKeys, stepPointer } from "look/state.js";
import { paletteOf, place } from "look/palette.js";

const box = find("words");
let spans = [];
let marked = null;

export function startWords() {
  on(["about"], write);
  on(["about", "rows", "series"], colour);
  on(["about", "step", "brushing"], mark);
  on(["about", "brush", "brushing"], underline);
  stepPointer(box, (event) => {
    const under = document.elementFromPoint(event.clientX, event.clientY);
    return under?.parentElement === box ? Number(under.dataset.step) : null;
  });
  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const unit = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (unit === undefined ? stepKeys(event) : changeUnit(unit)) event.preventDefault();
  });
}

function changeUnit(by) {
  set({ unit: Math.max(0, Math.min(state.about.layers[state.layer].units - 1, state.unit + by)) });
  return true;
}

function write() {
  box.hidden = !state.about.pieces.length;
  const pieces = document.createDocumentFragment();
  spans = state.about.pieces.map((piece, step) => {
    const span = document.createElement("span");
    span.dataset.step = step;
    span.textContent = piece.replace(/\n/g, "⏎\n");
    pieces.append(span);
    return span;
  });
  box.replaceChildren(pieces);
}

function colour() {
  if (!spans.length) return;
  const row = state.series && state.rows?.get(state.node);
  const palette = row && paletteOf(state.series);
  spans.forEach((span, step) => {
    const isKnown = row && !Number.isNaN(row[step]);
    const at = isKnown ? place(row[step], state.series) : 0;
    span.style.backgroundColor = isKnown ? palette.css[at] : "transparent";
    span.style.color = isKnown ? palette.ink[at] : "inherit";
  });
}

// Text is much to draw: what changes in it during a brush is drawn at the end of that.

function mark() {
  if (state.brushing) return;
  marked?.classList.remove("now");
  marked = spans[state.step] ?? null;
  if (!marked) return;
  marked.classList.add("now");
  if (box.matches(":hover")) return; // what is under the pointer must not run away
  const top = marked.offsetTop;
  if (top < box.scrollTop || top + marked.offsetHeight > box.scrollTop + box.clientHeight) {
    box.scrollTop = top - box.clientHeight / 2;
  }
}

function underline() {
  if (state.brushing || !("highlights" in CSS)) return; // the heat map shows the selection too
  CSS.highlights.delete("brush");
  if (!state.brush || !spans.length) return;
  const range = new Range();
  range.setStartBefore(spans[state.brush[0]]);
  range.setEndAfter(spans[state.brush[1] - 1]);
  CSS.highlights.set("brush", new Highlight(range));
}
