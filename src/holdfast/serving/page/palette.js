// Colours of numbers. The palettes are those of the figures, and come with the page's data.

let palettes = {};

export function setPalettes(packed) {
  palettes = Object.fromEntries(
    Object.entries(packed).map(([name, text]) => {
      const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      const css = [];
      const ink = [];
      for (let k = 0; k < 256; k += 1) {
        const [red, green, blue] = bytes.subarray(3 * k, 3 * k + 3);
        css.push(`rgb(${red},${green},${blue})`);
        ink.push(0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#000" : "#fff");
      }
      return [name, { bytes, css, ink }];
    }),
  );
}

/** The palette for a scale: that of signed numbers where it goes below 0. */
export const paletteOf = (series) => palettes[series.low < 0 ? "diverging" : "sequential"];

/** Where a number lies on a palette, 0 to 255. */
export function place(value, series) {
  return Math.max(0, Math.min(255, Math.round(((value - series.low) / (series.high - series.low)) * 255)));
}

/** A colour of the page's style. */
export const styled = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
