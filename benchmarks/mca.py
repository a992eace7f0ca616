"""`python -m benchmarks.mca`: the CPU engine's compiled loops by a static model of several processors.

Each kernel is compiled for each processor, which need not be at hand. An innermost loop that multiplies and adds must
not access the stack: what does not fit the registers is written and read in every turn. llvm-mca models how close a
loop comes to the peak of the processor's multiply-adds, all loads from the first cache. Loops that are the same in
several kernels are one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.engines.llvm.machine import Target

from . import throughput
from .assembly import Loop, loops
from .emitted import DTYPES, KERNELS, PROCESSORS, Processor, assembly, exists
from .throughput import Throughput

COLUMNS = 100
ENOUGH = 0.9  # of the multiply-adds' peak


@dataclass
class Entry:
    """A loop, once for all kernels of a processor that have it.

    Attributes:
        loop: the loop.
        dtypes: those of the kernels that have it.
        kernels: their names.
        modelled: what llvm-mca says of it, if anything.
    """

    loop: Loop
    dtypes: set[str] = field(default_factory=set)
    kernels: set[str] = field(default_factory=set)
    modelled: Throughput | None = None

    @property
    def short(self) -> bool:
        """Whether it is known to stay below what is aimed at."""
        return self.modelled is not None and self.modelled.share < ENOUGH


def main(arguments: Sequence[str]) -> int:
    """Compile, model, print; the exit status is 1 if a product's loop accesses the stack."""
    options = _parser().parse_args(arguments)
    if throughput.program() is None:
        print(f"{throughput.INSTALL}. Without it, --stack counts the stack accesses alone.", file=sys.stderr)
        if not options.stack:
            return 2
    kernels = [k for k in KERNELS if not options.kernels or any(part in k for part in options.kernels)]
    processors = [PROCESSORS[name] for name in options.cpus]
    with ProcessPoolExecutor(options.processes) as pool:
        found = collected(processors, kernels, options.dtypes, pool)
        if not options.stack:
            modelled(found, pool, options.elementwise)
    for processor in processors:
        print(*table(processor, found[processor.name], options.elementwise), sep="\n")
    everything = [entry for entries in found.values() for entry in entries]
    print(*summary(everything), sep="\n")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({name: [_as_json(e) for e in found[name]] for name in found}, indent=1))
        print(f"written to {options.json}")
    return int(any(e.loop.stack and (e.loop.sums or options.elementwise) for e in everything))


def collected(
    processors: Iterable[Processor], kernels: Iterable[str], dtypes: Iterable[str], pool: ProcessPoolExecutor
) -> dict[str, list[Entry]]:
    """The loops of each processor."""
    processors = list(processors)
    work = {
        (processor.target, kernel, dtype): None
        for processor in processors
        for kernel in kernels
        for dtype in dtypes
        if exists(kernel, dtype, processor.target)
    }
    by_target: dict[Target, dict[tuple[str, str], Entry]] = {processor.target: {} for processor in processors}
    for (target, kernel, dtype), of_kernel in zip(work, pool.map(_loops, *zip(*work))) if work else ():
        for loop in of_kernel:
            entry = by_target[target].setdefault((loop.function, loop.same()), Entry(loop))
            entry.kernels.add(f"{kernel} {dtype}")
            entry.dtypes.add(dtype)
    return {
        processor.name: [Entry(e.loop, e.dtypes, e.kernels) for e in by_target[processor.target].values()]
        for processor in processors
    }


def modelled(found: dict[str, list[Entry]], pool: ProcessPoolExecutor, elementwise: bool) -> None:
    """Ask llvm-mca about each loop."""
    pairs = [
        (entry, PROCESSORS[name])
        for name, entries in found.items()
        for entry in entries
        if entry.loop.sums or elementwise
    ]
    results = pool.map(throughput.throughput, [e.loop for e, _ in pairs], [p for _, p in pairs], chunksize=8)
    for (entry, _), result in zip(pairs, results):
        entry.modelled = result


def table(processor: Processor, entries: Iterable[Entry], elementwise: bool) -> list[str]:
    """The loops of a processor as lines."""
    lines = [f"\n{processor.name}: {processor.ports} multiply-adds of {processor.bits} bits in a cycle"]
    lines += textwrap.wrap(f"({processor.note})", COLUMNS) if processor.note else []
    lines.append(f"{'loop':<20} {'dtype':<17} {'kernels':>7} {'FMAs':>4} {'stack':>5} {'peak':>5}  limit")
    for entry in sorted(entries, key=lambda e: (not e.loop.sums, e.loop.function, sorted(e.dtypes))):
        if not entry.loop.sums and not elementwise:
            continue
        found = entry.modelled
        share, limit = (f"{found.share:.0%}", found.limit) if found else ("-", "not modelled")
        name = entry.loop.function + ("" if entry.loop.sums else " elementwise")
        dtypes = " ".join(dtype for dtype in DTYPES if dtype in entry.dtypes)
        lines.append(
            f"{name:<20} {dtypes:<17} {len(entry.kernels):>7} {entry.loop.multiply_adds:>4} "
            f"{entry.loop.stack or '-':>5} {share:>5}  {limit}"
        )
    return lines


def summary(entries: Sequence[Entry]) -> list[str]:
    """How many loops there are, with stack accesses, and below what is aimed at."""
    lines = [""]
    for name, sums in (("loops of products", True), ("elementwise loops", False)):
        own = [entry for entry in entries if entry.loop.sums == sums]
        stack, short = sum(bool(e.loop.stack) for e in own), sum(e.short for e in own)
        lines.append(f"{name}: {len(own)} in all, {stack} with stack accesses, {short} below {ENOUGH:.0%} of the peak")
    return lines


def _loops(target: Target, kernel: str, dtype: str) -> list[Loop]:
    return loops(assembly(kernel, dtype, target))


def _as_json(entry: Entry) -> dict[str, Any]:
    found = entry.modelled
    return {
        "loop": entry.loop.function,
        "kind": "product" if entry.loop.sums else "elementwise",
        "dtypes": sorted(entry.dtypes),
        "kernels": sorted(entry.kernels),
        "multiply_adds": entry.loop.multiply_adds,
        "stack": entry.loop.stack,
        "cycles": found and found.cycles,
        "share": found and found.share,
        "limit": found and found.limit,
        "body": list(entry.loop.body),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mca", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = list(PROCESSORS)
    parser.add_argument("--cpus", nargs="+", choices=names, default=names, metavar="CPU", help=", ".join(names))
    parser.add_argument("--kernels", nargs="+", default=[], metavar="PART", help="those whose names have such a part")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="in place of all")
    parser.add_argument("--elementwise", action="store_true", help="show and judge loops that add nothing up, too")
    parser.add_argument("--stack", action="store_true", help="count stack accesses alone, without llvm-mca")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="at the same time (default all)")
    parser.add_argument("--json", type=Path, help="where the loops are written, too, with their bodies")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
