"""`python -m benchmarks`: speed and memory as ratios to named peers, and whether they are what they must be.

Every row is checked before it is timed. Calls are timed in turns, in one process; a figure is the ratio of the medians,
and its spread is the distance between the quartiles of the ratios of single rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from . import compare, lowered, machine, report
from .measure import Surroundings, matrix_product_peak
from .settings import Settings
from .shapes import GRID, Shape, drawn
from .tables import TABLES

CELLS = ("LSTM", "GRU", "RNN")
SETTINGS = ("engine", "seconds", "seed", "vectors", "input_gradient")  # written beside the figures


def main(arguments: list[str]) -> None:
    """Measure, print, write."""
    options = _parser().parse_args(arguments)
    if options.vectors is not None:
        lowered.restarted(options.vectors, arguments)
    torch.set_num_threads(options.threads)
    peak = matrix_product_peak()
    found = machine.describe(options.threads, peak)
    print(f"{found['cpu']} ({found['vectors']}, {found['cores']} cores), {found['date']}")
    print(
        f"holdfast {found['revision'] or found['holdfast']}, torch {found['torch']}, {options.threads} threads, "
        f"matrix products at {peak / 1e9:.0f} GFLOP/s"
    )
    settings = Settings(
        options.engine,
        options.threads,
        options.seconds,
        options.input_gradient,
        (*options.shapes, *(drawn(options.seed) if options.seed is not None else ())),
        tuple(options.cells),
        peak,
    )
    surroundings = Surroundings()
    tables = [table(settings) for name, table in TABLES.items() if name in options.only]
    report.summary(tables)
    found |= {"others": surroundings.busy(), "peak_at_the_end": matrix_product_peak()}
    if found["others"] is not None:
        print(f"other processes kept {found['others']:.1f} cores busy meanwhile", end="; ")
    print(f"matrix products at {found['peak_at_the_end'] / 1e9:.0f} GFLOP/s at the end")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    written = {
        "machine": found,
        "settings": {
            name: getattr(options, name) for name in ("engine", "seconds", "seed", "vectors", "input_gradient")
        },
        "tables": {table.name: table.as_json() for table in tables},
    }
    options.json.write_text(json.dumps(written, indent=1))
    print(f"written to {options.json}")
    if options.compare is not None:
        print(f"\nmeasuring {options.compare} …", flush=True)
        compare.show(tables, compare.measure(options.compare, _same(options)), options.compare)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", default="auto", help="the engine to measure (default auto, what users get)")
    parser.add_argument("--threads", type=int, default=2, help="PyTorch's threads (default 2)")
    parser.add_argument("--seconds", type=float, default=2.0, help="about how long a row is timed (default 2)")
    parser.add_argument(
        "--only", nargs="+", choices=list(TABLES), default=list(TABLES), metavar="TABLE", help=", ".join(TABLES)
    )
    parser.add_argument(
        "--shapes",
        nargs="+",
        type=Shape.parse,
        default=list(GRID),
        metavar="T,B,I,H",
        help="in place of the whole grid",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="measure 12 more shapes, drawn from this seed")
    parser.add_argument(
        "--vectors", choices=list(lowered.ENVIRONMENTS), help="hold both sides to the vectors of a lesser processor"
    )
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), help="in place of all three")
    parser.add_argument(
        "--input-gradient",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether a training step yields the gradient of x too, as in every layer but the first (default yes)",
    )
    parser.add_argument(
        "--json", type=Path, default=Path("build/benchmarks.json"), help="where the figures are written"
    )
    parser.add_argument("--compare", metavar="GIT_REF", help="measure that revision of the package too")
    return parser


def _same(options: argparse.Namespace) -> list[str]:
    """The command line that measures the same."""
    return [
        *("--engine", options.engine, "--threads", str(options.threads), "--seconds", str(options.seconds)),
        *("--only", *options.only, "--shapes", *(",".join(map(str, shape)) for shape in options.shapes)),
        *(("--seed", str(options.seed)) if options.seed is not None else ()),
        *("--cells", *options.cells, "--input-gradient" if options.input_gradient else "--no-input-gradient"),
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
