"""What single units of a character model keep track of: quotes, the place in the line, capitals.

Run it on a run of `holdfast fit text`: it reads the validation text, which the model has not been trained on, chooses
of each gate and state the unit that tracks a signal best on the first half, and scores it on the second, beside the
best unit of an untrained model.

    python examples/probe_text.py RUN --picture quotes.svg
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from torch import Tensor, nn

import holdfast
from holdfast import microscope

PART = 2000  # characters that are recorded together
SHOWN = 700  # characters of the picture
COLUMNS = ["signal", "series", "unit", "sign", "measure", "chosen", "score", "untrained"]


def inside_quotes(text: str) -> Tensor:
    """Whether a quote has begun and not ended: by ”, or with the paragraph."""
    inside = torch.zeros(len(text), dtype=torch.bool)
    for quote in re.finditer(r"“((?:(?!\n\n)[^”])*)", text):
        inside[slice(*quote.span())] = True
    return inside


def position_in_line(text: str) -> Tensor:
    """How many characters of the line have been read."""
    starts = np.cumsum([0, *(len(line) for line in text.splitlines(keepends=True))])
    steps = np.arange(len(text))
    position = steps - starts[np.searchsorted(starts, steps, side="right") - 1] + 1
    position[[letter == "\n" for letter in text]] = 0
    return torch.from_numpy(position)


def in_capitalised_word(text: str) -> Tensor:
    """Whether the character is part of a word that begins with a capital."""
    inside = torch.zeros(len(text), dtype=torch.bool)
    for word in re.finditer(r"\b[^\W\d_a-z]\w+", text):
        if word[0][0].isupper():
            inside[slice(*word.span())] = True
    return inside


SIGNALS: dict[str, Callable[[str], Tensor]] = {
    "inside quotes": inside_quotes,
    "position in the line": position_in_line,
    "in a capitalised word": in_capitalised_word,
}


def recordings(model: nn.Module, ids: Tensor) -> Iterator[microscope.Recording]:
    """What the layers did on a text, part by part, each from the state at the end of the one before."""
    state = None
    for part in ids.split(PART):
        seen = microscope.record(model, part[:, None], state)
        state = seen.output.state
        yield seen


def traced(model: nn.Module, ids: Tensor, folder: Path) -> microscope.Traces:
    """All gates and states on the disk."""
    layer = next(iter(microscope.record(model, ids[:1, None]).layers.values()))
    return microscope.write_traces(folder, recordings(model, ids), len(ids), [*layer.gates, *layer.states])


def compared(trained: microscope.Traces, untrained: microscope.Traces, text: str) -> pandas.DataFrame:
    """The best unit of each gate and state for each signal, beside the best of the untrained model."""
    tables = []
    for name, signal in SIGNALS.items():
        table, other = (microscope.probe_table(traces, signal(text)) for traces in (trained, untrained))
        table["signal"] = name
        table["untrained"] = table.series.map(other.set_index("series").score)
        tables.append(table[COLUMNS])
    return pandas.concat(tables, ignore_index=True)


def picture(traces: microscope.Traces, best: Any, text: str) -> str:
    """A stretch of the half that was scored: the first paragraphs of which about a half is inside the signal."""
    signal = SIGNALS[best.signal](text).float()
    signal = signal / signal.max()
    starts = [found.end() for found in re.finditer(r"\n\n", text) if len(text) // 2 <= found.end() < len(text) - SHOWN]
    start = next((s for s in starts if 0.4 < signal[s : s + SHOWN].mean() < 0.6), len(text) // 2)
    stretch = slice(start, start + SHOWN)
    values = traces.values(best.series, [best.unit], start, start + SHOWN)[0]
    return microscope.coloured_text(
        text[stretch], values, title=f"Unit {best.unit} of {best.series}: {best.signal}", signal=signal[stretch]
    )


def main() -> None:
    """Read, probe, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the folder of a run on characters")
    parser.add_argument("--steps", type=int, default=200_000, help="characters of the validation text")
    parser.add_argument("--picture", type=Path, help="where to draw what the best unit for quotes does, as SVG")
    given = parser.parse_args()

    run: Any = holdfast.load(given.run)
    if run.encoding.level != "char":
        parser.error(
            f"the run must be one on characters; {given.run} is one on tokens of the level {run.encoding.level}"
        )
    ids = torch.from_numpy(np.asarray(run.data().valid.ids[: given.steps]).astype(np.int64))
    text = run.encoding.decode(ids.tolist())
    torch.manual_seed(0)
    fresh = run.task.build(run.facts, run.options)
    with tempfile.TemporaryDirectory() as folder:
        trained, untrained = traced(run.model, ids, Path(folder, "trained")), traced(fresh, ids, Path(folder, "fresh"))
        table = compared(trained, untrained, text)
        print(table.round(4).to_string(index=False))
        if given.picture:
            best = next(table[table.signal == "inside quotes"].itertuples())
            given.picture.write_text(picture(trained, best, text), encoding="utf-8")


if __name__ == "__main__":
    main()
