// Where the page's numbers come from: the server that serves it, or the file that it is.

/** A series of all units, as levels between the ends of its scale; the highest number stands for what is none. */
class Series {
  constructor(data, about, layer, node) {
    const scale = about.layers[layer].series.find((one) => one.node === node);
    this.data = data;
    this.steps = about.steps;
    this.rows = data.length / about.steps;
    this.low = scale.low;
    this.high = scale.high;
    this.missing = 2 ** (8 * data.BYTES_PER_ELEMENT) - 1;
    this.levels = this.missing - 1;
    this.grain = (this.high - this.low) / this.levels; // how far apart two values are that it can tell
  }

  value(unit, step) {
    const level = this.data[unit * this.steps + step];
    return level === this.missing ? NaN : this.low + level * this.grain;
  }

  /** A value as a level, which may lie between two. */
  level(value) {
    return ((value - this.low) / (this.high - this.low)) * this.levels;
  }
}

/** Asks the server. What it is asked for belongs to a view, which is given each time: others may have come since. */
export class Server {
  constructor() {
    this.page = crypto.randomUUID();
    this.kept = new WeakMap(); // series by view
  }

  async about() {
    return (await asked("api/view")).json();
  }

  /** The view of a text; the later the turn, the longer the server keeps it. */
  async type(text, turn) {
    const headers = { "Content-Type": "application/json" };
    const body = JSON.stringify({ text, page: this.page, turn });
    return (await asked("api/text", { method: "POST", headers, body })).json();
  }

  async series(about, layer, node) {
    if (!this.kept.has(about)) this.kept.set(about, new Map());
    const kept = this.kept.get(about);
    const key = `${layer}/${node}`;
    if (!kept.has(key)) {
      const data = await (await asked(`api/${about.number}/series?layer=${layer}&node=${node}`)).arrayBuffer();
      kept.set(key, new Series(new Uint8Array(data), about, layer, node));
    }
    return kept.get(key);
  }

  /** Every series of a unit, by node. */
  async unit(about, layer, unit) {
    const answer = await asked(`api/${about.number}/unit?layer=${layer}&unit=${unit}`);
    const data = new Float32Array(await answer.arrayBuffer());
    return new Map(
      about.layers[layer].series.map((one, k) => [one.node, data.subarray(k * about.steps, (k + 1) * about.steps)]),
    );
  }

  async horizon(about, step) {
    return (await asked(`api/${about.number}/horizon?step=${step}`)).json();
  }

  /** How far apart the numbers of a unit are that were rounded: they are exact. */
  grain() {
    return 0;
  }

  has() {
    return true;
  }
}

async function asked(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the program that serves this page has ended; start it again");
  }
  if (answer.ok) return answer;
  const said = await answer.text();
  let reason = said;
  try {
    reason = JSON.parse(said).error ?? said;
  } catch {
    // It is plain text.
  }
  throw new Error(reason.trim());
}

/** Reads what stands in the page itself. */
export class File {
  constructor(data) {
    this.data = data;
    this.kept = new Map();
    data.about.typed = false;
  }

  async about() {
    return this.data.about;
  }

  has(layer, node) {
    return `${layer}/${node}` in this.data.series;
  }

  async series(about, layer, node) {
    const key = `${layer}/${node}`;
    if (!this.kept.has(key)) {
      if (!this.has(layer, node)) throw new Error("this series is not in the file, which would have become too large");
      const bytes = Uint8Array.from(atob(this.data.series[key]), (letter) => letter.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
      const buffer = await new Response(stream).arrayBuffer();
      const data = this.data.bits === 16 ? new Uint16Array(buffer) : new Uint8Array(buffer);
      this.kept.set(key, new Series(data, about, layer, node));
    }
    return this.kept.get(key);
  }

  async unit(about, layer, unit) {
    const rows = new Map();
    for (const { node } of about.layers[layer].series) {
      if (!this.has(layer, node)) continue;
      const series = await this.series(about, layer, node);
      if (unit < series.rows) rows.set(node, Float32Array.from({ length: about.steps }, (_, t) => series.value(unit, t)));
    }
    return rows;
  }

  /** How far apart the numbers of a unit are, which come from its rounded series. */
  grain(about, layer, node) {
    const { low, high } = about.layers[layer].series.find((one) => one.node === node);
    return (high - low) / (2 ** this.data.bits - 2);
  }

  async horizon() {
    if (this.data.horizon.error) throw new Error(this.data.horizon.error);
    return this.data.horizon;
  }
}
