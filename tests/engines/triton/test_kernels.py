"""How the work is divided among the programs of a GPU, which need not be there."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import holdfast
from holdfast.engines.steps import lowering
from holdfast.engines.triton.emit import Form, Source, emit
from holdfast.engines.triton.kernels import Device, Division, alone, device_of, divide, form_of

H100 = Device(programs=132, shared=232448)
HALVES = Form("tl.bfloat16", "tl.float32", ragged=False, dot=True, precision="ieee")
FLOATS = Form("tl.float32", "tl.float32", ragged=False, dot=True, precision="ieee")


@functools.lru_cache
def source(heads: int, apart: bool) -> Source:
    """The kernel of an LSTM; a layer norm leads from each head to the others."""
    program = holdfast.LSTM(3, 4 * heads, heads=heads, layer_norm=not apart).program
    ahead = lowering.forward(program, False, False, False, "outside")
    return emit(ahead.step, ahead.program, {"gates": 4}, FLOATS)


def divided(batch: int, hidden: int, heads: int = 1, form: Form = HALVES, apart: bool = True) -> Division:
    return divide(batch, hidden, heads, source(heads, apart), form, H100)


@pytest.mark.parametrize("form", [HALVES, FLOATS], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("apart", [False, True], ids=["one team", "a team a head"])
def test_no_program_waits_for_one_that_may_not_have_begun(form: Form, apart: bool) -> None:
    for batch, hidden, heads in itertools.product((1, 3, 16, 64, 65, 256, 10_000), (48, 96, 512, 1024, 6144), (1, 4)):
        found = divided(batch, hidden, heads, form, apart)
        teams = -(-batch // found.rows) * (heads if apart else 1)
        assert found.members == 1 or teams * found.members <= H100.programs


@pytest.mark.parametrize("form", [HALVES, FLOATS], ids=["bfloat16", "float32"])
def test_weights_are_held_only_by_a_program_with_one_block_and_room_for_them(form: Form) -> None:
    for batch, hidden, heads in itertools.product((1, 16, 64, 256, 1000), (32, 64, 100, 256, 512, 1024), (1, 2)):
        found = divided(batch, hidden, heads, form)
        if found.held:
            assert found.members * found.units >= hidden // heads
            assert found.depth >= hidden // heads
            needed = 4 * found.depth * found.units * form.bytes + 4 * found.rows * found.depth
            assert needed < H100.shared


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize(
    "options",
    [{}, {"peephole": True}, {"layer_norm": True}, {"proj_size": 8}, {"zoneout": (0.1, 0.2)}, {"learn_state": True}],
    ids=str,
)
def test_what_is_called_alone_waits_for_no_other_program_forward_and_backward(
    heads: int, options: dict[str, Any]
) -> None:
    program = holdfast.LSTM(3, 16, heads=heads, **options).program
    ahead, back = lowering.backward(program, False, True, True, ())
    first = lowering.forward(program, False, True, True, "outside")
    slots = {"gates": 4, **ahead.slots, "d": back.slots, "sums": len(back.sums)}
    kernels = [
        emit(first.step, first.program, {"gates": 4, "ahead": 4, **first.slots}, FLOATS),
        emit(back.step, ahead.program, slots, FLOATS),
    ]
    for hidden, batch in itertools.product((16, 64, 68, 128, 256, 260, 1024), (1, 64, 1000)):
        members = {divide(batch, hidden, heads, kernel, FLOATS, H100).members for kernel in kernels}
        assert alone(program, hidden) == (max(members) == 1)


def test_small_layers_have_one_program_and_large_ones_as_many_as_there_are() -> None:
    assert divided(16, 64) == Division(rows=16, units=64, depth=64, members=1, held=True)
    assert divided(16, 512) == Division(rows=16, units=16, depth=512, members=32, held=True)
    assert divided(16, 1024) == Division(rows=16, units=16, depth=128, members=64, held=False)
    assert divided(256, 1024) == Division(rows=64, units=32, depth=64, members=32, held=False)
    assert divided(1000, 1024, form=FLOATS) == Division(rows=64, units=32, depth=64, members=8, held=False)


def test_a_few_sequences_are_multiplied_as_sums_of_products_where_tensor_cores_do_not_serve() -> None:
    cpu = torch.device("cpu")
    assert not form_of(torch.float32, cpu, False, batch=2).dot
    assert form_of(torch.float32, cpu, False, batch=3).dot
    assert form_of(torch.float16, cpu, False, batch=1).dot
    assert divided(2, 64, form=dataclasses.replace(FLOATS, dot=False)).rows == 2
    assert divided(2, 64).rows == 16


def test_float32_is_rounded_to_tf32_on_a_gpu_only_by_choice() -> None:
    gpu, matmul = torch.device("cuda", 0), torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "ieee"
        assert form_of(torch.float32, gpu, False, batch=16).precision == "ieee"
        matmul.fp32_precision = "tf32"
        assert form_of(torch.float32, gpu, False, batch=16).precision == "tf32"
        assert form_of(torch.float64, gpu, False, batch=16).precision == "ieee"
    finally:
        matmul.fp32_precision = before


def test_heads_that_do_not_see_each_other_have_teams_of_their_own() -> None:
    together, apart = divided(16, 256, heads=4, apart=False), divided(16, 256, heads=4)
    assert together.members == 16
    assert apart == Division(rows=16, units=64, depth=64, members=1, held=True)


@pytest.mark.parametrize(("asked", "shared"), [({"shared_memory_per_block_optin": 232448}, 232448), ({}, 49152)])
def test_a_program_counts_on_what_its_device_has(
    asked: dict[str, int], shared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = SimpleNamespace(multi_processor_count=132, shared_memory_per_block=49152, **asked)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: known)
    assert device_of.__wrapped__(torch.device("cuda", 0)) == Device(132, shared)
    assert device_of(torch.device("cpu")).programs == 1
