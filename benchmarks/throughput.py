"""How close a loop comes to the peak of a processor's multiply-adds, by llvm-mca's model, and what holds it back."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .assembly import Loop, mnemonic, multiplies
from .emitted import Processor

PROGRAMS = ("llvm-mca-19", "llvm-mca")
INSTALL = "llvm-mca is not installed: apt-get install llvm-19"
SIMULATED = 30_000  # instructions
NEAR = 0.93  # of the cycles: so much of them must a bound explain to be what limits a loop

_VECTOR_BITS = {"x": 128, "y": 256, "z": 512, "v": 128}
# In this order: a port that multiplies can do other work as well.
_X86 = {"multiply-adds": "vfmadd231ps %ymm0, %ymm1, %ymm2", "loads": "vmovups (%rax), %ymm0"}
_X86 |= {"stores": "vmovups %ymm0, (%rax)"}
_ARM = {"multiply-adds": "fmla v0.4s, v1.4s, v2.4s", "loads": "ldr q0, [x0]", "stores": "str q0, [x0]"}
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
    lines = _jumps_fused(loop.instructions) if processor.x86 else loop.instructions
    width = _dispatch(lines, processor)
    iterations = max(100, min(1000, SIMULATED // len(lines)))
    region = _region(_run(lines, processor, "-json", f"-iterations={iterations}", f"-dispatch={width}"))
    cycles = region["SummaryView"]["TotalCycles"] / iterations
    infos = region["InstructionInfoView"]["InstructionList"]
    needed = sum(_cost(line, processor, i["RThroughput"]) for line, i in zip(lines, infos) if multiplies(line))
    bounds = _bounds(lines, region, width, _ports(processor))
    if loop.chain:
        of_sum = next(line for line in lines if multiplies(line))
        bounds.append((loop.chain * _latency(of_sum, processor), "latency of sums"))
    bound, limit = max(bounds)
    if needed >= NEAR * cycles:
        limit = "multiply-adds"
    elif bound < NEAR * cycles:
        limit = _waits_for(_run(lines, processor, "-bottleneck-analysis", f"-dispatch={width}"))
    elif limit == "multiply-adds":
        limit = "multiply-adds on one port"  # as llvm-mca shares them out
    return Throughput(cycles, needed / cycles, limit)


def _run(lines: Sequence[str], processor: Processor, *options: str) -> str:
    path = program()
    if path is None:
        raise FileNotFoundError(INSTALL)
    more = [f"-mattr={','.join(f'+{name}' for name in processor.more)}"] if processor.more else []
    command = [path, f"-mtriple={processor.triple}", f"-mcpu={processor.model}", *more, *options, "-"]
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} refused a loop:\n{done.stderr[:1000]}")
    return done.stdout


def _region(text: str) -> dict[str, Any]:
    region: dict[str, Any]
    [region] = json.loads(text)["CodeRegions"]
    return region


def _cost(line: str, processor: Processor, modelled: float) -> float:
    """The least cycles that a multiply-add takes of a processor's whole."""
    if not re.match(r"vfn?m|fml", line):  # of pairs and whole numbers: as the model has it
        return modelled
    last = re.findall(r"%([xyz])mm|\b(v)\d+\.", line)[-1]
    bits = _VECTOR_BITS["".join(last)]
    return max(1.0, bits / processor.bits) / processor.ports


def _jumps_fused(lines: Sequence[str]) -> list[str]:
    """A loop without what a processor fuses with a jump: the comparison before it, or the jump after another result."""
    kept: list[str] = []
    for line, after in zip(lines, [*lines[1:], ""]):
        fuses = re.match(r"j(?!mp)", after)
        if fuses and re.match(r"(cmp|test)[bwlq]? ", line):
            continue
        if re.match(r"j(?!mp)", line) and kept and re.match(r"(add|sub|inc|dec|and)[bwlq]? ", kept[-1]):
            continue
        kept.append(line)
    return kept


def _dispatch(lines: Sequence[str], processor: Processor) -> int:
    """How many of the model's operations go to the ports in a cycle.

    A processor counts an operation and the load that it is fused with as one, the models of Intel's count two. Where an
    address has an index, Intel's take such a pair apart.
    """
    region = _region(_run(lines, processor, "-json", "-iterations=1"))
    width: int = region["SummaryView"]["DispatchWidth"]
    if not processor.x86:
        return width
    infos = region["InstructionInfoView"]["InstructionList"]
    pairs = sum(
        info["mayLoad"] and info["NumMicroOpcodes"] == 2 and not re.search(r"\([^)]*,", line)
        for line, info in zip(lines, infos)
    )
    whole = sum(info["NumMicroOpcodes"] for info in infos)
    return round(width * whole / (whole - pairs))


@functools.cache
def _ports(processor: Processor) -> dict[int, str]:
    """What the ports of a processor are for, where a multiply-add, a load or a store uses them."""
    found: dict[int, str] = {}
    for kind, probe in (_X86 if processor.x86 else _ARM).items():
        region = _region(_run([probe], processor, "-json", "-iterations=100"))
        for entry in region["ResourcePressureView"]["ResourcePressureInfo"]:
            found.setdefault(entry["ResourceIndex"], kind)
    return found


@functools.cache
def _latency(instruction: str, processor: Processor) -> float:
    """The cycles from one multiply-add of a sum to the next."""
    iterations = 100
    region = _region(_run([instruction], processor, "-json", f"-iterations={iterations}"))
    cycles: int = region["SummaryView"]["TotalCycles"]
    return cycles / iterations


def _bounds(lines: Sequence[str], region: dict[str, Any], width: int, ports: dict[int, str]) -> list[tuple[float, str]]:
    """The least cycles of a turn that the front end and each port allow, by what keeps it busy."""
    infos = region["InstructionInfoView"]["InstructionList"]
    operations = sum(info["NumMicroOpcodes"] for info in infos)
    bounds = [(operations / width, "front end")]
    used: dict[int, Counter[str]] = defaultdict(Counter)
    for entry in region["ResourcePressureView"]["ResourcePressureInfo"]:
        k = entry["InstructionIndex"]
        if k < len(lines):
            used[entry["ResourceIndex"]][_kind(lines[k])] += entry["ResourceUsage"]
    for port, kinds in used.items():
        name = ports.get(port)
        if name is None or name == "multiply-adds":
            others = [kind for kind, cycles in kinds.most_common() if kind != name and cycles > 0.05]
            name = " and ".join([name, *others[:1]] if name else others[:1])
        bounds.append((sum(kinds.values()), name))
    return bounds


def _kind(line: str) -> str:
    if multiplies(line):
        return "multiply-adds"
    return mnemonic(line) if re.search(r"%[xyz]mm|\b[vq]\d+\b", line) else "integers"


def _waits_for(text: str) -> str:
    """What a turn waits for by llvm-mca's own analysis of its bottlenecks."""
    critical = _CRITICAL.search(text)
    dependencies = re.search(r"Register Dependencies \[ ([\d.]+)%", text)
    resources = re.search(r"Resource Pressure +\[ ([\d.]+)%", text)
    if resources and dependencies and float(resources[1]) > float(dependencies[1]):
        names = re.findall(r"^  - (\S+) +\[ ([\d.]+)%", text, re.MULTILINE)
        return f"conflicts at {max(names, key=lambda pair: float(pair[1]))[0]}" if names else "conflicts at ports"
    if critical is None:
        return "front end"  # neither ports nor dependencies: operations do not fill the front end's groups
    return "latency of sums" if multiplies(critical[1]) else f"latency of {critical[1]}"
