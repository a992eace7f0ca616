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

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import holdfast
from holdfast.engines.triton.emit import BLOCKS, MOMENT, SIZES, TEAM, Form, identifier
from holdfast.engines.triton.kernels import Device, divide
from holdfast.engines.triton.run import _backward_kernel, _forward_kernel

batch, hidden, held, options = eval(sys.argv[1])
form = Form("tl.bfloat16", "tl.float32", ragged=True, dot=True, precision="ieee")
about = Device(programs=132, shared=232448)  # of an H100
program = holdfast.LSTM(5, hidden, **options).program
forward = _forward_kernel(program, False, True, True, form)[1]
backward = _backward_kernel(program, False, True, True, (False,), form)[2]
for kernel in (forward, backward):
    exact = {"ahead", "partial", "sums", "kept_rows"}

    def kind(name):
        if name in ("lengths", "resets"):
            return {"lengths": "*i64", "resets": "*u8"}[name]
        return "*fp32" if name in exact or name.startswith(("scratch", "state:", "home:")) else "*bf16"

    signature = {identifier(name): kind(name) for name in kernel.source.pointers} | {"meetings": "*i32"}
    signature |= dict.fromkeys((*MOMENT, *SIZES), "i32") | dict.fromkeys((*BLOCKS, *TEAM), "constexpr")
    work = divide(batch, hidden, 1, kernel.source, form, about)
    assert work.held == held and work.members > 1, work
    values = (work.rows, work.units, work.depth, work.members, work.held, kernel.source.teams, work.members)
    constants = {(list(signature).index(name),): value for name, value in zip((*BLOCKS, *TEAM), values)}
    whole = [list(signature).index(n) for n, k in signature.items() if k[0] == "*" or n in SIZES]
    aligned = {(k,): [["tt.divisibility", 16]] for k in whole}
    compiled = triton.compile(
        ASTSource(kernel.whole, signature, constants, aligned),
        target=GPUTarget("cuda", 90, 32),
        options={"enable_fp_fusion": True, "launch_cooperative_grid": True, "num_warps": 8 if batch >= 64 else 4},
    )
    assert compiled.metadata.shared <= about.shared, compiled.metadata.shared
    before = compiled.asm["ttgir"].split("scf.for")[0]
    assert before.count("ttg.local_alloc %") == (kernel.source.tiles if held else 0), before
    assert "red.global.gpu.release" in compiled.asm["ptx"] and "ld.global.gpu.acquire" in compiled.asm["ptx"]
print("compiled")
"""


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
    [(16, 256, True, {}), (64, 1024, False, {"peephole": True, "layer_norm": True})],
    ids=["weights on the chip", "weights at every step"],
)
def test_the_compiler_for_a_gpu_takes_the_kernels_and_puts_weights_where_they_belong(
    case: tuple[object, ...], tmp_path: Path
) -> None:
    pytest.importorskip("triton", reason="Triton cannot be imported here")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", COMPILE, repr(case)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "compiled\n", done.stderr
