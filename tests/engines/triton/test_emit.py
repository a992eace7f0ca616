"""The source of Triton's kernels, and that its compiler takes it for a GPU, which need not be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import holdfast
from holdfast.engines.steps import lowering
from holdfast.engines.triton import refusal
from holdfast.engines.triton.emit import Form, emit

FLOATS = Form("tl.float32", "tl.float32", ragged=False, dot=True, precision="ieee")

COMPILE = """
import sys

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import holdfast
from holdfast.engines.triton import kernels
from holdfast.engines.triton.emit import BLOCKS, MOMENT, SIZES, TEAM, Form, identifier
from holdfast.engines.triton.run import _backward_kernel, _forward_kernel
from holdfast.language import Cell, sigmoid, tanh


class Five(Cell):
    gates = ("i", "f", "g", "o", "k")
    states = ("h", "c")

    def step(self, gate, state):
        c = sigmoid(gate.f) * state.c + sigmoid(gate.i) * tanh(gate.g) + tanh(gate.k)
        return sigmoid(gate.o) * tanh(c), c


kind, element, precision, batch, hidden, held, capability, shared = eval(sys.argv[1])
form = Form(element, "tl.float32", ragged=True, dot=True, precision=precision)
about = kernels.Device(programs=128, shared=shared)
layer = {
    "plain": lambda: holdfast.LSTM(5, 16),
    "options": lambda: holdfast.LSTM(5, 16, peephole=True, layer_norm=True),
    "gru": lambda: holdfast.GRU(5, 16),
    "five gates": lambda: holdfast.Recurrent(Five(), 5, 16),
}[kind]()
ahead = _forward_kernel(layer.program, False, True, True, form)[1]
back = _backward_kernel(layer.program, False, True, True, (False,) * (len(layer.program.states) - 1), form)[2]
element = {"tl.bfloat16": "*bf16", "tl.float32": "*fp32"}[element]
for kernel in (ahead, back):
    source = kernel.source
    work = kernels.divide(batch, hidden, 1, source, form, about)
    assert work.held == held and work.members > 1, work
    exact = {"ahead", "partial", "sums", "kept_rows"}

    def kind(name):
        if name in ("lengths", "resets"):
            return {"lengths": "*i64", "resets": "*u8"}[name]
        return "*fp32" if name in exact or name.startswith(("scratch", "state:", "home:")) else element

    signature = {identifier(name): kind(name) for name in source.pointers} | {"meetings": "*i64"}
    signature |= dict.fromkeys((*MOMENT, *SIZES), "i32") | dict.fromkeys((*BLOCKS, *TEAM), "constexpr")
    values = (work.rows, work.units, work.depth, kernels._power(hidden // work.units), work.held, source.teams, True)
    constants = {(list(signature).index(name),): value for name, value in zip((*BLOCKS, *TEAM), values)}
    whole = [k for k, (name, is_) in enumerate(signature.items()) if is_[0] == "*" or name in ("units", "output")]
    options = {"num_warps": kernels.warps_for(work.rows), "enable_fp_fusion": True, "launch_cooperative_grid": True}
    compiled = triton.compile(
        ASTSource(kernel.whole, signature, constants, {(k,): [["tt.divisibility", 16]] for k in whole}),
        target=GPUTarget("cuda", capability, 32),
        options=options,
    )
    assert compiled.metadata.shared <= shared, (work, compiled.metadata.shared)
    before = compiled.asm["ttgir"].split("scf.for")[0]
    assert before.count("ttg.local_alloc %") == (source.tiles if held else 0), before
    assert "red.global.gpu.release" in compiled.asm["ptx"] and "ld.global.gpu.acquire" in compiled.asm["ptx"]
print("compiled")
"""
H100, GEFORCE = (90, 232448), (89, 101376)  # compute capability, bytes of shared memory
CASES = {
    "weights on the chip": ("plain", "tl.bfloat16", "ieee", 16, 256, True, *H100),
    "weights at every step": ("options", "tl.bfloat16", "ieee", 64, 1024, False, *H100),
    "as much of the chip as there is": ("gru", "tl.float32", "tf32", 64, 512, True, *H100),
    "a chip with less": ("five gates", "tl.float32", "ieee", 512, 1024, False, *GEFORCE),
}


def test_a_kernel_holds_only_what_the_cell_needs() -> None:
    texts = []
    for options in ({}, {"layer_norm": True}):
        program = holdfast.LSTM(3, 5, **options).program
        ahead = lowering.forward(program, False, False, False, "outside")
        texts.append(emit(ahead.step, ahead.program, {"gates": 4}, FLOATS).text)
    plain, normed = texts
    assert "def pass_0" in plain
    assert "def pass_1" not in plain
    assert "mean_" not in plain
    assert "lengths" not in plain
    assert "mean_0 = tl.sum(" in normed


def test_there_is_a_reason_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert refusal(cpu, torch.float32) is None
    assert refusal(gpu, torch.float16) is None
    assert refusal(gpu, torch.int32) == "it computes in float32, float64, bfloat16 and float16, the input is int32"
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert refusal(gpu, torch.float32) is None
    assert refusal(cpu, torch.float32) == "it runs on a GPU, or on the CPU with TRITON_INTERPRET=1; the input is on cpu"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "(pip install triton)" in (refusal(gpu, torch.float32) or "")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name, marks=[] if name == "weights on the chip" else [pytest.mark.full])
        for name, case in CASES.items()
    ],
)
def test_the_compiler_for_a_gpu_takes_the_kernels_and_puts_weights_where_they_belong(
    case: tuple[object, ...], tmp_path: Path
) -> None:
    pytest.importorskip("triton", reason="Triton cannot be imported here")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", COMPILE, repr(case)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "compiled\n", done.stderr
