"""The CPU engine's kernels as assembly, for processors that need not be at hand."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import llvmlite.binding as llvm
import torch

import holdfast
from holdfast import cells
from holdfast.engines.llvm import machine
from holdfast.engines.llvm.emit import emit
from holdfast.engines.llvm.matmul import Matmul
from holdfast.engines.llvm.precision import DOUBLE, HALF, INT8, SINGLE, Precision
from holdfast.engines.llvm.tile_matmul import TileMatmul
from holdfast.engines.steps import lowering
from holdfast.layers.recurrent import Recurrent

DTYPES: Mapping[str, Precision] = {"float32": SINGLE, "float64": DOUBLE, "bfloat16": HALF, "int8": INT8}

_AVX2 = ("avx2", "fma")
_AVX512 = (*_AVX2, "avx512f", "avx512vl", "avx512dq", "avx512bw", "avx512bf16")


@dataclass(frozen=True)
class Processor:
    """A processor, and what multiplies there.

    Attributes:
        name: LLVM's.
        triple: LLVM's name of a platform that has it.
        features: those by which the engine chooses its vectors.
        ports: how many vectors it multiplies and adds in a cycle.
        bits: how wide those vectors are.
        model: the processor by which llvm-mca models it; empty if none is near enough.
        more: what it can do beyond its model, by LLVM's names.
        note: what to know of its model.
    """

    name: str
    triple: str
    features: tuple[str, ...]
    ports: int
    bits: int
    model: str
    more: tuple[str, ...] = ()
    note: str = ""

    @property
    def x86(self) -> bool:
        """Whether it has the x86-64 instructions."""
        return self.triple.startswith("x86_64")

    @functools.cached_property
    def target(self) -> machine.Target:
        """What the engine compiles for there."""
        return machine.target_for(self.triple, self.name, llvm.FeatureMap(dict.fromkeys(self.features, True)))


_AMD64, _ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
_SAPPHIRE_RAPIDS = (
    *("avx512bf16", "avx512fp16", "avx512bitalg", "avx512ifma", "avx512vbmi", "avx512vbmi2", "avx512vnni"),
    *("avx512vpopcntdq", "gfni", "vaes", "vpclmulqdq", "avxvnni", "sha", "amx-tile", "amx-bf16", "amx-int8"),
)
PROCESSORS = {
    processor.name: processor
    for processor in (
        # Ports 0 and 1.
        Processor("haswell", _AMD64, _AVX2, 2, 256, "haswell"),
        # Pipes 0 and 1; 2 and 3 add only.
        Processor("znver3", _AMD64, _AVX2, 2, 256, "znver3"),
        # The same pipes; 512 bits take one of them for two cycles.
        Processor(
            *("znver4", _AMD64, _AVX512, 2, 256, "znver4"),
            note="its model takes a broadcast from memory to 512 bits for three operations, one of them in a pipe that "
            "multiplies",
        ),
        # Ports 0 and 1 together, and port 5.
        Processor(
            *("sapphirerapids", _AMD64, (*_AVX512, "amx-tile", "amx-bf16"), 2, 512, "skylake-avx512"),
            _SAPPHIRE_RAPIDS,
            "modelled by skylake-avx512, which has the same ports for 512 bits and loads as wide: LLVM's own model "
            "lacks port 5's multiply-add",
        ),
        # Pipes V0 and V1.
        Processor("neoverse-n1", _ARM, (), 2, 128, "neoverse-n1"),
        # Pipes V0 to V3.
        Processor("neoverse-v1", _ARM, (), 4, 128, "neoverse-v1"),
        # Four pipes; the model that LLVM has for it is of a chip from 2013, of half the width.
        Processor(
            *("apple-m1", "arm64-apple-darwin", (), 4, 128, ""),
            note="stack accesses only: LLVM models it by an older chip",
        ),
    )
}

SIZES = (3, 8)
LAYERS: Mapping[str, Callable[[], Recurrent]] = {
    "LSTM": lambda: holdfast.LSTM(*SIZES),
    "LSTM peephole": lambda: holdfast.LSTM(*SIZES, peephole=True),
    "LSTM coupled": lambda: holdfast.LSTM(*SIZES, coupled=True),
    "LSTM projection": lambda: holdfast.LSTM(*SIZES, proj_size=4),
    "LSTM layer norm": lambda: holdfast.LSTM(*SIZES, layer_norm=True),
    "LSTM heads": lambda: holdfast.LSTM(*SIZES, heads=2),
    "LSTM everything": lambda: holdfast.LSTM(
        *SIZES, layer_norm=True, peephole=True, proj_size=4, heads=2, zoneout=(0.1, 0.1), cell_clip=1.0, grad_clip=1.0
    ),
    "GRU": lambda: holdfast.GRU(*SIZES),
    "GRU original": lambda: holdfast.GRU(*SIZES, reset_after=False),
    "RNN": lambda: holdfast.RNN(*SIZES),
    "SLSTM": lambda: holdfast.SLSTM(*SIZES),
    "SLSTM exponential": lambda: holdfast.SLSTM(*SIZES, forget_gate="exp", activation="softplus"),
    **{
        cell.__name__: functools.partial(lambda cell: Recurrent(cell(), *SIZES), cell)
        for cell in (cells.CIFG, cells.FGR, cells.NFG, cells.NIAF, cells.NIG, cells.NOAF, cells.NOG, cells.NP)
    },
}
STEPS = ("forward", "backward", "stream")
KERNELS = (*(f"{layer} {step}" for layer in LAYERS for step in STEPS), "matmul", "tile_matmul")


def exists(kernel: str, dtype: str, target: machine.Target) -> bool:
    """Whether the engine has such a kernel.

    Args:
        kernel: one of `KERNELS`.
        dtype: one of `DTYPES`; "int8" is a stream with such weights.
        target: what it is compiled for.
    """
    if kernel == "tile_matmul":
        return dtype == "bfloat16" and target.tiles
    if kernel == "matmul":
        return dtype in ("float32", "float64") and not target.library
    if kernel.endswith("stream"):
        return dtype != "bfloat16"
    return dtype != "int8"


def assembly(kernel: str, dtype: str, target: machine.Target) -> str:
    """A kernel's assembly, as `exists`."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    compiler = target.machine()
    text: str = compiler.emit_assembly(machine.optimised(ir(kernel, dtype, target), compiler))
    return text


def ir(kernel: str, dtype: str, target: machine.Target) -> str:
    """A kernel's IR, as `exists`."""
    precision = DTYPES[dtype]
    if kernel == "matmul":
        return Matmul(target, precision).text()
    if kernel == "tile_matmul":
        return TileMatmul(target).text()
    layer, _, step = kernel.rpartition(" ")
    with torch.random.fork_rng(devices=[]):
        program = LAYERS[layer]().program
    within = "outside" if program.layer_norm else "within"
    if step == "forward":
        lowered = lowering.forward(program, False, True, True, within, precision.half).step
    elif step == "backward":
        lowered = lowering.backward(program, False, True, True, ())[1].step
    else:
        lowered = lowering.forward(program, False, False, False, "stream").step
    return emit(lowered, target, precision, raw=step == "stream")[0]
