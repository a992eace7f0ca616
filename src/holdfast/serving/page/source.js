// Where the page's numbers come from: the server that serves it, or the file that it is.

/** A series of all units, as levels between the ends of its scale. */
class Series {
  constructor(data, steps, scale, levels) {
    this.data = data;
    this.steps = steps;
    this.rows = data.length / steps;
    this.low = scale.low;
    this.high = scale.high;
    this.levels = levels;
  }

  value(unit, step) {
    return this.low + (this.data[unit * this.steps + step] * (this.high - this.low)) / this.levels;
  }

  /** A value as a level, which may lie between two. */
  level(value) {
    return ((value - this.low) / (this.high - this.low)) * this.levels;
  }
}

const scaleOf = (about, layer, node) => about.layers[layer].series.find((one) => one.node === node);

/** Asks the server. */
export class Server {
  async about() {
    return this.use(await (await asked("api/view")).json());
  }

  async type(text) {
    const headers = { "Content-Type": "application/json" };
    return this.use(await (await asked("api/text", { method: "POST", headers, body: JSON.stringify({ text }) })).json());
  }

  use(about) {
    this.known = about;
    this.kept = new Map();
    return about;
  }

  async series(layer, node) {
    const key = `${layer}/${node}`;
    const about = this.known;
    const kept = this.kept;
    if (!kept.has(key)) {
      const data = await (await asked(`api/${about.number}/series?layer=${layer}&node=${node}`)).arrayBuffer();
      kept.set(key, new Series(new Uint8Array(data), about.steps, scaleOf(about, layer, node), 255));
    }
    return kept.get(key);
  }

  /** Every series of a unit, by node. */
  async unit(layer, unit) {
    const about = this.known;
    const data = new Float32Array(
      await (await asked(`api/${about.number}/unit?layer=${layer}&unit=${unit}`)).arrayBuffer(),
    );
    const rows = new Map();
    about.layers[layer].series.forEach((one, k) => {
      rows.set(one.node, data.subarray(k * about.steps, (k + 1) * about.steps));
    });
    return rows;
  }

  async horizon(step) {
    return (await asked(`api/${this.known.number}/horizon?step=${step}`)).json();
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

  async series(layer, node) {
    const key = `${layer}/${node}`;
    if (!this.kept.has(key)) {
      if (!this.has(layer, node)) throw new Error("this series is not in the file, which would have become too large");
      const bytes = Uint8Array.from(atob(this.data.series[key]), (letter) => letter.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
      const buffer = await new Response(stream).arrayBuffer();
      const { about, bits } = this.data;
      const data = bits === 16 ? new Uint16Array(buffer) : new Uint8Array(buffer);
      this.kept.set(key, new Series(data, about.steps, scaleOf(about, layer, node), 2 ** bits - 1));
    }
    return this.kept.get(key);
  }

  async unit(layer, unit) {
    const { about } = this.data;
    const rows = new Map();
    for (const { node } of about.layers[layer].series) {
      if (!this.has(layer, node)) continue;
      const series = await this.series(layer, node);
      if (unit < series.rows) rows.set(node, Float32Array.from({ length: about.steps }, (_, t) => series.value(unit, t)));
    }
    return rows;
  }

  async horizon() {
    return this.data.horizon;
  }
}
