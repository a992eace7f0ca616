"""How close a loop comes to the peak of a processor's multiply-adds, by llvm-mca's model of it, and what holds it back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from .assembly import Loop, mnemonic, multiplies
from .emitted import Processor

PROGRAMS = ("llvm-mca-19", "llvm-mca")
INSTALL = "llvm-mca is not installed: apt-get install llvm-19"
SIMULATED = 30_000  # instructions
NEAR = 0.93  # of the cycles: so much of them must a bound explain to be what limits a loop

_VECTOR_BITS = {"x": 128, "y": 256, "z": 512, "v": 128}
_FUSES = re.compile(r"^(cmp|test|add|sub|inc|dec|and)[bwlq]? ")
_CRITICAL = re.compile(r"\+-+> \d+\.\s+(\S+).*REGISTER dependency")


@dataclass(frozen=True)
class Throughput:
    """What llvm-mca says of a loop.

    Attributes:
        cycles: of one turn.
        share: of the multiply-adds' peak.
        limit: what holds it there.
    """

    cycles: float
    share: float
    limit: str


def program() -> str | None:
    """The path of llvm-mca; None where there is none."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def throughput(loop: Loop, processor: Processor) -> Throughput | None:
    """What llvm-mca says of a loop; None where it knows too little of the processor or the instructions."""
    if not processor.model or any(mnemonic(line).startswith("tdp") for line in loop.instructions):
        return None  # AMX's instructions have no latencies in LLVM's models
    iterations = max(100, min(1000, SIMULATED // len(loop.instructions)))
    first = _region(_run(loop, processor, "-json", "-iterations=1"))
    width = _dispatch(loop, processor, first)
    region = _region(_run(loop, processor, "-json", f"-iterations={iterations}", f"-dispatch={width}"))
    cycles = region["SummaryView"]["TotalCycles"] / iterations
    needed = sum(
        _cost(line, processor, info["RThroughput"])
        for line, info in zip(loop.instructions, region["InstructionInfoView"]["InstructionList"])
        if multiplies(line)
    )
    bound, limit = max(_bounds(loop, region, width))
    if needed / cycles >= NEAR:
        limit = "multiply-adds"
    elif bound < NEAR * cycles:
        limit = _waits_for(_run(loop, processor, "-bottleneck-analysis", f"-dispatch={width}"))
    return Throughput(cycles, needed / cycles, limit)


def _run(loop: Loop, processor: Processor, *options: str) -> str:
    path = program()
    if path is None:
        raise FileNotFoundError(INSTALL)
    more = [f"-mattr={','.join(f'+{name}' for name in processor.more)}"] if processor.more else []
    command = [path, f"-mtriple={processor.triple}", f"-mcpu={processor.model}", *more, *options, "-"]
    text = "\n".join(loop.body) + "\n"
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} refused {loop.function}:\n{done.stderr[:1000]}")
    return done.stdout


def _region(text: str) -> dict[str, Any]:
    [region] = json.loads(text)["CodeRegions"]
    return region | {"resources": json.loads(text)["TargetInfo"]["Resources"]}


def _cost(line: str, processor: Processor, modelled: float) -> float:
    """The least cycles that a multiply-add takes of a processor's whole."""
    if not re.match(r"vfn?m|fml", line):  # of pairs and whole numbers: as the model has it
        return modelled
    last = re.findall(r"%([xyz])mm|\b(v)\d+\.", line)[-1]
    bits = _VECTOR_BITS["".join(last)]
    return max(1.0, bits / processor.bits) / processor.ports


def _dispatch(loop: Loop, processor: Processor, region: dict[str, Any]) -> int:
    """How many of the model's operations go to the ports in a cycle.

    A processor counts an operation and the load that it is fused with as one, and so a comparison and its jump; the
    models count two. (Where an address has an index, Intel's take such a pair apart.)
    """
    width: int = region["SummaryView"]["DispatchWidth"]
    if not processor.triple.startswith("x86_64"):
        return width
    lines = loop.instructions
    whole = fused = sum(info["NumMicroOpcodes"] for info in region["InstructionInfoView"]["InstructionList"])
    for line, after, info in zip(lines, [*lines[1:], ""], region["InstructionInfoView"]["InstructionList"]):
        loads = info["mayLoad"] and info["NumMicroOpcodes"] == 2 and not re.search(r"\([^)]*,", line)
        jumps = _FUSES.match(line) and re.match(r"j(?!mp)", after)
        fused -= bool(loads) + bool(jumps)
    return width * whole // fused


def _bounds(loop: Loop, region: dict[str, Any], width: int) -> list[tuple[float, str]]:
    """The least cycles of a turn that the front end and each port allow, by what keeps it busy."""
    lines, infos = loop.instructions, region["InstructionInfoView"]["InstructionList"]
    operations = sum(info["NumMicroOpcodes"] for info in infos)
    used: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for entry in region["ResourcePressureView"]["ResourcePressureInfo"]:
        k = entry["InstructionIndex"]
        if k < len(lines):
            used[entry["ResourceIndex"]][_kind(lines[k], infos[k])] += entry["ResourceUsage"]
    bounds = [(operations / width, "front end")]
    for port in used.values():
        # A multiply-add with a memory operand is at a port of loads too; who else is there says which it is.
        alone = {kind: cycles for kind, cycles in port.items() if kind != "multiply-adds of memory"}
        names = sorted(alone, key=lambda kind: -alone[kind]) or ["multiply-adds"]
        name = names[0] if names[0] != "multiply-adds" else " and ".join(names[:2])
        bounds.append((sum(port.values()), name))
    return bounds


def _kind(line: str, info: dict[str, Any]) -> str:
    if multiplies(line):
        return "multiply-adds of memory" if info["mayLoad"] else "multiply-adds"
    if info["mayLoad"]:
        return "loads"
    if info["mayStore"]:
        return "stores"
    if re.search(r"%[xyz]mm|\b[vq]\d+\b", line):
        return mnemonic(line)
    return "integers"


def _waits_for(text: str) -> str:
    """What a turn waits for by llvm-mca's own analysis of its bottlenecks."""
    critical = _CRITICAL.search(text)
    dependencies = re.search(r"Register Dependencies \[ ([\d.]+)%", text)
    resources = re.search(r"Resource Pressure +\[ ([\d.]+)%", text)
    if resources and dependencies and float(resources[1]) > float(dependencies[1]):
        names = re.findall(r"^  - (\S+) +\[ ([\d.]+)%", text, re.MULTILINE)
        return f"conflicts at {max(names, key=lambda pair: float(pair[1]))[0]}" if names else "conflicts at ports"
    if critical is None:
        return "nothing that llvm-mca names"
    return "latency of sums" if multiplies(critical[1]) else f"latency of {critical[1]}"
