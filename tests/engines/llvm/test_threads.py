"""Calls from many threads at once, from forked processes, and again and again: always the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from holdfast.engines.llvm import kernels, threads
from tests.engines.llvm.calls import Call, make, outcome

ROOT = Path(__file__).parents[3]
COUNT, TIMES = 8, 200

SHAPES: tuple[dict[str, Any], ...] = (
    {"kind": "LSTM", "hidden": 8, "batch": 1, "steps": 3},
    {"kind": "LSTM", "hidden": 17, "batch": 5, "steps": 2},
    {"kind": "GRU", "hidden": 9, "batch": 2, "steps": 4},
    {"kind": "LSTM", "hidden": 33, "batch": 3, "steps": 1, "ragged": True},
    {"kind": "RNN", "hidden": 31, "batch": 7, "steps": 5},
    {"kind": "LSTM", "hidden": 16, "batch": 4, "steps": 6, "dtype": torch.float64},
    {"kind": "GRU", "hidden": 7, "batch": 1, "steps": 2, "dtype": torch.float64},
    {"kind": "LSTM", "hidden": 8, "batch": 6, "steps": 3, "ragged": True},
)


def _differences(got: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    return [name for name in expected if not torch.equal(got[name], expected[name])]


def _at_once(count: int, work: Callable[[int], None]) -> None:
    """The work of each number in a thread of its own, all started together; the first exception is raised here."""
    start = threading.Barrier(count)
    failures: list[BaseException] = []

    def body(k: int) -> None:
        try:
            start.wait(60)
            work(k)
        except BaseException as failure:  # to be raised where the test sees it
            failures.append(failure)

    found = [threading.Thread(target=body, args=(k,), daemon=True) for k in range(count)]
    for thread in found:
        thread.start()
    for thread in found:
        thread.join(300)
    assert not any(thread.is_alive() for thread in found), "a thread hangs"
    if failures:
        raise failures[0]


def _plain_outcome(call: Call) -> dict[str, Tensor]:
    """As `outcome`, but without touching what threads share: PyTorch's generator."""
    x = call.x.detach().clone().requires_grad_()
    y, final = call.layer(x, call.hx[0] if len(call.hx) == 1 else tuple(call.hx), lengths=call.lengths)
    finals = [final] if isinstance(final, Tensor) else list(final)
    leaves = {"x": x, **dict(call.layer.named_parameters())}
    total = sum((t * t).sum() for t in (y, *finals))
    assert isinstance(total, Tensor)
    found = torch.autograd.grad(total, list(leaves.values()))
    return {
        "output": y.detach(),
        **{f"final {k}": s.detach() for k, s in enumerate(finals)},
        **dict(zip(leaves, found)),
    }


@pytest.fixture
def shared_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even the smallest step is given to all threads."""
    monkeypatch.setattr(threads, "SMALL", 0)
    monkeypatch.setattr(threads, "SMALL_STEP", 0)


@pytest.mark.usefixtures("shared_steps")
@pytest.mark.parametrize("team", [1, 2])
def test_calls_from_many_threads_give_what_one_thread_gives_bit_for_bit(team: int) -> None:
    torch.set_num_threads(team)
    calls = [make(seed=k, **shape) for k, shape in enumerate(SHAPES)]
    for call in calls:
        call.layer.engine = "llvm"
    expected = [_plain_outcome(call) for call in calls]

    def work(k: int) -> None:
        assert torch.get_num_threads() == team
        for _ in range(TIMES if team == 1 else TIMES // 4):
            wrong = _differences(_plain_outcome(calls[k]), expected[k])
            assert not wrong, f"{SHAPES[k]}: {wrong}"

    _at_once(COUNT, work)


@pytest.mark.full
@pytest.mark.usefixtures("shared_steps")
def test_calls_from_many_threads_by_teams_give_the_same_bits_for_long() -> None:
    torch.set_num_threads(2)
    calls = [make(seed=k, **shape) for k, shape in enumerate(SHAPES)]
    for call in calls:
        call.layer.engine = "llvm"
    expected = [_plain_outcome(call) for call in calls]

    def work(k: int) -> None:
        for _ in range(TIMES):
            assert not _differences(_plain_outcome(calls[k]), expected[k])

    _at_once(COUNT, work)


def test_one_layer_may_be_called_from_many_threads() -> None:
    call = make("LSTM", hidden=17, batch=3)
    call.layer.engine = "llvm"
    expected = _plain_outcome(call)

    def work(_: int) -> None:
        for _ in range(50):
            assert not _differences(_plain_outcome(call), expected)

    _at_once(COUNT, work)


@pytest.mark.parametrize(
    "programs",
    [pytest.param(1, marks=pytest.mark.full), 3, pytest.param(COUNT, marks=pytest.mark.full)],
    ids="{} programs in all".format,
)
def test_many_threads_may_be_the_first_to_run_a_program(
    programs: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # nothing is there yet
    clips = [0.5 + k % programs / 64 for k in range(COUNT)]
    calls = [make("LSTM", hidden=5, seed=k, cell_clip=clip) for k, clip in enumerate(clips)]
    for call in calls:
        call.layer.engine = "llvm"
    kernels.forward_step.cache_clear()
    kernels.backward_step.cache_clear()
    got: dict[int, dict[str, Tensor]] = {}

    def work(k: int) -> None:
        got[k] = _plain_outcome(calls[k])

    _at_once(COUNT, work)
    assert len(list((tmp_path / "holdfast" / "kernels").iterdir())) == 2 * programs
    for k, call in enumerate(calls):
        assert not _differences(got[k], _plain_outcome(call))


@pytest.mark.sweep
@pytest.mark.usefixtures("shared_steps")
@pytest.mark.parametrize("team", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 2, 9])
def test_calls_by_the_same_number_of_threads_give_the_same_bits(team: int, batch: int) -> None:
    torch.set_num_threads(team)
    call = make("LSTM", hidden=33, batch=batch, steps=7, layer_norm=True, ragged=batch == 9, zoneout=(0.2, 0.2))
    expected = outcome(call, "llvm")
    for _ in range(15):
        assert not _differences(outcome(call, "llvm"), expected)


@pytest.mark.usefixtures("shared_steps")
@pytest.mark.parametrize("batch", [1, 8])
def test_the_number_of_threads_changes_no_output(batch: int) -> None:
    """Without a mean over the units nothing is added up over threads on the way forward."""
    call = make("LSTM", hidden=33, batch=batch, steps=7)
    found = []
    for team in (1, 2, 3):
        torch.set_num_threads(team)
        found.append(outcome(call, "llvm")["output"])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_team_is_pytorchs_own() -> None:
    assert threads.runtime() is not None or not sys.platform.startswith("linux")
    torch.set_num_threads(2)
    assert threads.count() == (2 if threads.runtime() is not None else 1)


# Processes.

_BEGIN = """
import os, signal, sys, torch
from holdfast.engines.llvm import threads
from tests.engines.llvm.calls import make, outcome
signal.alarm(120)  # what hangs is ended
threads.SMALL = threads.SMALL_STEP = 0
torch.set_num_threads(2)
call = make("LSTM", hidden=17, batch=5, steps=4)
before = outcome(call, "llvm")
def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in b)
"""

_FORK = (
    _BEGIN
    + """
assert same(outcome(call, "llvm"), before)
torch.set_num_threads(1)
expected = outcome(call, "llvm")
new = make("GRU", hidden=9, batch=3, steps=4)
torch.set_num_threads(2)
outcome(call, "llvm")
child = os.fork()
if child == 0:
    signal.alarm(60)
    torch.set_num_threads(1)
    good = same(outcome(call, "llvm"), expected)
    outcome(new, "llvm")  # a kernel that only the child needs
    os._exit(0 if good else 3)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert same(outcome(call, "llvm"), before)  # the parent goes on with its team
print("done")
"""
)

_POOL = (
    _BEGIN
    + """
import multiprocessing
torch.set_num_threads(1)
expected = outcome(call, "llvm")
torch.set_num_threads(2)
outcome(call, "llvm")
def work(k):
    torch.set_num_threads(1)
    return {name: t.numpy() for name, t in outcome(call, "llvm").items()}
with multiprocessing.get_context("fork").Pool(2) as pool:
    for got in pool.map(work, range(4)):
        assert same({name: torch.from_numpy(t) for name, t in got.items()}, expected)
print("done")
"""
)

_LOADER = (
    _BEGIN
    + """
from torch.utils.data import DataLoader, Dataset
torch.set_num_threads(1)
call.layer.engine = "llvm"
series = torch.randn(12, 6, 1, 3)
with torch.no_grad():
    expected = [call.layer(x)[0] for x in series]
torch.set_num_threads(2)
outcome(call, "llvm")
class Encoded(Dataset):
    def __len__(self):
        return len(series)
    def __getitem__(self, k):
        with torch.no_grad():
            return call.layer(series[k])[0]
loader = DataLoader(Encoded(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60)
for _ in range(2):
    for got, wanted in zip(loader, expected, strict=True):
        assert torch.equal(got, wanted)
print("done")
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize(
    "program",
    [_FORK, pytest.param(_POOL, marks=pytest.mark.full), pytest.param(_LOADER, marks=pytest.mark.full)],
    ids=["fork", "pool", "data loader"],
)
def test_a_forked_process_of_one_thread_gives_the_same_bits_and_does_not_hang(program: str) -> None:
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "done\n"
