// Starts the page: where the numbers come from, the choices at the top, and typing.

import { count, find, layer, on, set, state } from "look/state.js";
import { setPalettes } from "look/palette.js";
import { File, Server } from "look/source.js";
import { startHeat } from "look/heat.js";
import { startPlaces } from "look/places.js";
import { startPlots } from "look/plot.js";
import { startStep } from "look/step.js";
import { startWords } from "look/words.js";

const TYPING = 400; // milliseconds without a key after which text is read

const embedded = find("data");
const source = embedded ? new File(JSON.parse(embedded.textContent)) : new Server();

async function start() {
  startWords();
  startPlots();
  startHeat();
  startStep();
  startPlaces();
  startChoices();
  startTyping();
  on(["about", "layer", "node"], () => loaded("series", source.series(state.about, state.layer, state.node)));
  on(["about", "layer", "unit"], () => loaded("rows", source.unit(state.about, state.layer, state.unit)));
  const again = () => set({ theme: state.theme + 1 });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  window.addEventListener("resize", again);
  try {
    show(await source.about());
  } catch (error) {
    trouble("about", error.message);
  }
}

/** Puts what comes later in its place, unless something else has been chosen meanwhile. */
async function loaded(key, coming) {
  const { about, layer: wanted, node, unit } = state;
  try {
    const value = await coming;
    const isStill = about === state.about && wanted === state.layer && (key === "series" ? node === state.node : unit === state.unit);
    if (!isStill) return;
    set({ [key]: value });
    trouble(key, "");
  } catch (error) {
    if (about === state.about) trouble(key, error.message);
  }
}

const troubles = new Map(); // by what could not be loaded

function trouble(key, text) {
  troubles.set(key, text);
  find("trouble").textContent = [...new Set(troubles.values())].filter(Boolean).join("; ");
}

/** Shows a view; what was chosen stays chosen where it can. */
function show(about) {
  setPalettes(about.palettes);
  troubles.clear();
  const number = Math.min(state.layer, about.layers.length - 1);
  const known = about.layers[number];
  const first = known.series.find((one) => source.has(number, one.node)) ?? known.series[0];
  const is = state.about !== null && known.series.some((one) => one.node === state.node && source.has(number, one.node));
  const last = about.steps - 1;
  find("title").textContent = about.title;
  find("live").hidden = !about.typed;
  set({
    about,
    source,
    layer: number,
    node: is ? state.node : first.node,
    order: state.order in known.orders ? state.order : "number",
    unit: Math.min(state.unit, known.units - 1),
    step: last,
    pinned: last,
    brush: null,
    brushing: false,
    from: 0,
    to: about.steps,
    found: [],
  });
}

function startChoices() {
  on(["about"], () => options("layer", state.about.layers.map((one, k) => [k, `${one.name || "the layer"} (${one.cell}, ${count(one.units)} units)`]), state.layer));
  on(["about", "layer"], () => {
    options("series", layer().series.map((one) => [one.node, one.name, !source.has(state.layer, one.node)]), state.node);
    options("order", Object.keys(layer().orders).map((name) => [name, name]), state.order);
    find("unit").max = layer().units - 1;
  });
  on(["unit"], () => (find("unit").value = state.unit));
  find("choices").addEventListener("submit", (event) => event.preventDefault());
  find("layer").addEventListener("change", (event) => chooseLayer(Number(event.target.value)));
  find("series").addEventListener("change", (event) => set({ node: Number(event.target.value) }));
  find("order").addEventListener("change", (event) => set({ order: event.target.value }));
  find("unit").addEventListener("change", (event) => {
    const unit = Math.round(Number(event.target.value));
    set({ unit: Math.max(0, Math.min(layer().units - 1, unit || 0)) });
    event.target.value = state.unit;
  });
}

function chooseLayer(number) {
  const known = state.about.layers[number];
  const name = layer().series.find((one) => one.node === state.node)?.name;
  const there = known.series.filter((one) => source.has(number, one.node));
  const same = there.find((one) => one.name === name) ?? there[0] ?? known.series[0];
  set({
    layer: number,
    node: same.node,
    order: state.order in known.orders ? state.order : "number",
    unit: Math.min(state.unit, known.units - 1),
  });
}

function options(id, entries, chosen) {
  find(id).replaceChildren(
    ...entries.map(([value, text, disabled = false]) => {
      const option = document.createElement("option");
      Object.assign(option, { value, textContent: disabled ? `${text} (not in this file)` : text, disabled });
      option.selected = value === chosen;
      return option;
    }),
  );
}

function startTyping() {
  let waiting = 0;
  let newest = 0; // answers may come in another order than they were asked for
  const note = find("live-note");
  find("live").addEventListener("submit", (event) => event.preventDefault());
  find("typed").addEventListener("input", (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => read(event.target.value), TYPING);
  });

  async function read(text) {
    newest += 1;
    const own = newest;
    note.textContent = text ? "The model is reading …" : "";
    try {
      const about = await (text ? source.type(text, own) : source.about()); // without a text the page's first one
      if (own !== newest) return;
      show(about);
      note.textContent = text ? [`${count(about.steps)} steps.`, about.note].filter(Boolean).join(" ") : "";
    } catch (error) {
      if (own === newest) note.textContent = error.message;
    }
  }
}

start();
