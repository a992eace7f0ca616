"""The source of Triton's kernels, and that its compiler takes it for a GPU, which need not be there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import holdfast
from holdfast.engines.steps import lowering
from holdfast.engines.triton import refusal
from holdfast.engines.triton.emit import Form, emit

FLOATS = Form("tl.float32", "tl.float32", ragged=False, dot=True, precision="ieee")

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import holdfast
from holdfast.engines.triton.emit import BLOCKS, MOMENT, SIZES, TEAM, Form, identifier
from holdfast.engines.triton.run import _backward_kernel, _forward_kernel

form = Form("tl.bfloat16", "tl.float32", ragged=True, dot=True, precision="ieee")
program = holdfast.LSTM(5, 64, peephole=True, layer_norm=True).program
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
    for members, held in ((1, False), (4, True)):
        values = dict(zip((*BLOCKS, *TEAM), (16, 16, 64, 4, held, 1, members)))
        constants = {(list(signature).index(name),): value for name, value in values.items()}
        options = {"enable_fp_fusion": True, "launch_cooperative_grid": members > 1}
        compiled = triton.compile(
            ASTSource(kernel.whole, signature, constants), target=GPUTarget("cuda", 90, 32), options=options
        )
        assert compiled.asm["cubin"]
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


def test_the_compiler_for_a_gpu_takes_the_kernels(tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("triton", reason="Triton cannot be imported here")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout == "compiled\n", done.stderr
