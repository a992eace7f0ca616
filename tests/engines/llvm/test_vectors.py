"""Every vector path, and every way through a run that a small case does not take by itself."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from holdfast.engines.llvm import kernels, machine, rows, run, threads
from holdfast.engines.steps import around
from tests.agreement import check, plain
from tests.configurations import CHOICES, Configuration, configurations, few
from tests.engines.llvm.calls import HALF_PATHS, VECTORS, Call, exact, make, outcome, take
from tests.support import assert_all_close

SAMPLE = 200
CASES = configurations(SAMPLE)
QUICK_CASES = few(SAMPLE)
NEVER = 1 << 60


def _cases(numbers: Iterable[int]) -> list[Any]:
    """Configurations of the sample; the number of each is its seed too."""
    return [pytest.param(CASES[k], k, id=f"{k}-{CASES[k]['kind']}") for k in numbers]


# Vector paths: one configuration on each of the paths, the whole sample on all of them where there is time.


def _paths() -> list[Any]:
    found = []
    # The first of each is checked by every test that asks for none.
    quick = {dtype: iter((HALF_PATHS if dtype == "bfloat16" else VECTORS)[1:]) for dtype in CHOICES["dtype"]}
    for k, c in enumerate(CASES):
        paths = HALF_PATHS if c["dtype"] == "bfloat16" else VECTORS
        chosen = next(quick[c["dtype"]], None) if k in QUICK_CASES else None
        for param in paths:
            name = param.values[0]
            now = param is chosen
            marks = [*param.marks, *([] if now else [pytest.mark.full])]
            found.append(pytest.param(c, k, name, id=f"{k}-{c['kind']}-{name}", marks=marks))
    return found


@pytest.mark.parametrize(("c", "seed", "vectors"), _paths())
def test_each_vector_path_agrees_with_the_oracle(
    c: Configuration, seed: int, vectors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(vectors, monkeypatch)
    check(c, seed, "llvm")


@pytest.mark.parametrize("vectors", VECTORS)
def test_the_variable_chooses_what_is_compiled(vectors: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    original = kernels.Compiled

    def spy(*given: Any) -> Any:
        found.extend(g for g in given if isinstance(g, machine.Target))
        return original(*given)

    monkeypatch.setenv(machine.VARIABLE, vectors)
    monkeypatch.setattr(kernels, "Compiled", spy)
    call = make("LSTM", hidden=3, cell_clip=0.123)  # a program that no other test has
    outcome(call, "llvm")
    assert [t.name for t in found] == [vectors, vectors]
    assert {t.bits for t in found} == {{"avx512": 512, "avx2": 256, "portable": 128}[vectors]}
    assert not any(t.tiles for t in found)


# Ways through a run.

THREADED = {"SMALL": 0, "SMALL_STEP": 0}
AHEAD = {"WITHIN_FEATURES": 0, "WITHIN_BATCH": NEVER, "WITHIN_BATCH_SMALL": NEVER}
WITHIN = {"WITHIN_FEATURES": 0, "WITHIN_BATCH": 0, "WITHIN_BATCH_SMALL": 0}
SPANS = {"SPAN_ROWS": 3, "SPAN_ROWS_LIBRARY": 3, "SPAN_BYTES": 0, "STEPS_AGAIN": 2, "ROWS_AGAIN": 1}
WAYS: dict[str, Mapping[str, int]] = {
    "threads": THREADED,
    "spans": AHEAD | SPANS,
    "ahead": AHEAD,
    "within": WITHIN,
    "threads, ahead, spans": THREADED | AHEAD | SPANS,
    "threads, within, spans": THREADED | WITHIN | SPANS,
}


class Taken:
    """Which ways the calls took."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[int] = []
        self.shared: list[bool] = []
        self.projections: list[str] = []
        original, projection = run.Call.run, run._projection

        def one(call: Any, *given: Any) -> None:
            self.threads.append(call.sizes.threads)
            self.shared.append(bool(call.arguments[call.kernel.place["shared"]]))
            original(call, *given)

        def chosen(*given: Any) -> str:
            self.projections.append(projection(*given))
            return self.projections[-1]

        monkeypatch.setattr(run.Call, "run", one)
        monkeypatch.setattr(run, "_projection", chosen)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    return Taken(monkeypatch)


def _force(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WAYS[way].items():
        monkeypatch.setattr(next(m for m in (threads, around, rows, run) if hasattr(m, name)), name, value)


def _confirm(way: str, taken: Taken, threads: int, runs: int = 0, empty: bool = False) -> None:
    """The calls went where they were meant to go; perhaps there were none, for sequences of no steps."""
    if "threads" in way and (taken.threads or not empty):
        assert set(taken.threads) == {threads}
    for projection in ("within", "ahead"):
        if projection in way:
            assert set(taken.projections) <= {projection, "outside"}
    if "spans" in way and runs:
        assert len(taken.threads) > runs


FORTIETHS = range(3, SAMPLE, 40)
SHORT = (3, 83)  # of one layer and one direction


@pytest.mark.sweep
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("threads", [2, pytest.param(3, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    ("c", "seed"),
    [
        pytest.param(*p.values, id=p.id, marks=[] if k in SHORT else [pytest.mark.full])
        for k, p in zip(FORTIETHS, _cases(FORTIETHS))
    ],
)
def test_each_way_through_a_run_agrees_with_the_oracle(
    c: Configuration, seed: int, threads: int, way: str, monkeypatch: pytest.MonkeyPatch, taken: Taken
) -> None:
    torch.set_num_threads(threads)
    _force(way, monkeypatch)
    check(c, seed, "llvm")
    _confirm(way, taken, threads)


@pytest.mark.full
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize(("c", "seed"), _cases(k for k in range(SAMPLE) if k not in FORTIETHS))
def test_each_way_through_a_run_agrees_with_the_oracle_in_the_other_cases(
    c: Configuration, seed: int, threads: int, way: str, monkeypatch: pytest.MonkeyPatch, taken: Taken
) -> None:
    torch.set_num_threads(threads)
    _force(way, monkeypatch)
    check(c, seed, "llvm")
    _confirm(way, taken, threads, empty=True)


# What the oracle's configurations have too few sequences for: they are compared with the reference engine.
OPTIONS: dict[str, dict[str, Any]] = {
    "LSTM": {},
    "all": {"layer_norm": True, "heads": 3, "proj_size": 12, "zoneout": (0.2, 0.3), "grad_clip": 0.05},
    "heads": {"kind": "SLSTM", "heads": 3},
    "GRU": {"kind": "GRU"},
    "layer norm": {"layer_norm": True, "peephole": True},
    "projection": {"proj_size": 12},
}
QUICK = ("LSTM", "all", "heads")
each_option = pytest.mark.parametrize(
    "options", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.full]) for name in OPTIONS]
)


@pytest.mark.sweep
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("threads", [2, pytest.param(3, marks=pytest.mark.full)])
@pytest.mark.parametrize("batch", [1, 5, 13])
@each_option
def test_any_number_of_threads_and_sequences_gives_what_the_reference_gives(
    options: str, batch: int, threads: int, way: str, monkeypatch: pytest.MonkeyPatch, taken: Taken
) -> None:
    torch.set_num_threads(threads)
    _force(way, monkeypatch)
    for ragged in (False, True):
        call = make(
            steps=6, batch=batch, hidden=33, dtype=torch.float64, ragged=ragged, resets=True, **OPTIONS[options]
        )
        taken.threads.clear()
        taken.shared.clear()
        got = outcome(call, "llvm")
        if not ragged:
            _confirm(way, taken, threads, 2)
            if "threads" in way:  # few sequences: the threads share the units; many: they share the sequences
                assert set(taken.shared) == {batch < 2 * threads}
        assert_all_close(got, outcome(call, "reference"), torch.float64)


@functools.cache
def _in_bfloat16(options: str, batch: int, ragged: bool) -> tuple[Call, dict[str, Tensor]]:
    """A call in bfloat16, and what it is to give."""
    sizes: dict[str, Any] = {"steps": 6, "batch": batch, "features": 33, "hidden": 33, "scale": 0.3}
    call = make(**sizes, dtype=torch.bfloat16, ragged=ragged, resets=True, **OPTIONS[options])
    return call, exact(call)


@pytest.mark.sweep
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("threads", [2, pytest.param(3, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(*p.values, marks=[*p.marks, *([] if k == 0 else [pytest.mark.full])])
        for k, p in enumerate(HALF_PATHS)
    ],
)
@pytest.mark.parametrize("options", ["LSTM", *(pytest.param(name, marks=pytest.mark.full) for name in ("all", "GRU"))])
def test_each_way_gives_the_same_in_bfloat16(
    options: str, path: str, threads: int, way: str, monkeypatch: pytest.MonkeyPatch, taken: Taken
) -> None:
    take(path, monkeypatch)
    torch.set_num_threads(threads)
    _force(way, monkeypatch)
    for batch, ragged, cache in itertools.product((1, 5, 41), (False, True), (machine.own_cache(), 1)):
        monkeypatch.setattr(machine, "own_cache", lambda cache=cache: cache)
        call, expected = _in_bfloat16(options, batch, ragged)
        taken.threads.clear()
        taken.shared.clear()
        got = outcome(call, "llvm")
        if not ragged:
            _confirm(way, taken, threads)
            if "spans" in way and "within" not in way:  # else nothing stands around a run of the kernel
                assert len(taken.threads) > 2
            if "threads" in way:
                assert set(taken.shared) == {batch < 2 * threads or cache == 1}
        assert_all_close(got, expected, torch.bfloat16)


@pytest.mark.sweep
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("hidden", [1, 7, 9, 16, 100])
def test_there_may_be_more_threads_than_blocks_of_units(
    hidden: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(threads)
    _force("threads", monkeypatch)
    for batch in (1, 4):
        call = make("LSTM", steps=4, batch=batch, hidden=hidden, dtype=torch.float64)
        assert_all_close(outcome(call, "llvm"), outcome(call, "reference"), torch.float64)


@pytest.mark.parametrize("reverse", [False, True], ids=["with time", "against time"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 8])
def test_a_sequence_may_end_anywhere_in_a_span(steps: int, reverse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    _force("spans", monkeypatch)
    call = make("LSTM", steps=steps, batch=2, dtype=torch.float64, ragged=True, resets=True, bidirectional=reverse)
    assert_all_close(outcome(call, "llvm"), outcome(call, "reference"), torch.float64)


@pytest.mark.parametrize("way", WAYS)
def test_an_empty_batch_and_sequences_of_no_steps_are_no_exception(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    _force(way, monkeypatch)
    none = make("LSTM", steps=4, batch=3, dtype=torch.float64)
    for lengths in ([0, 0, 0], [0, 4, 0], [1, 0, 2]):
        call = type(none)(none.layer, none.x, none.hx, torch.tensor(lengths))
        assert_all_close(outcome(call, "llvm"), outcome(call, "reference"), torch.float64)


def test_the_plain_configuration_is_checked_as_it_is_without_any_force(taken: Taken) -> None:
    check(plain(), 0, "llvm")
    assert set(taken.threads) == {1}
    assert set(taken.projections) == {"within"}


@pytest.mark.parametrize(
    ("kind", "room", "library", "where"),
    [
        ("LSTM", 0, True, {3: "ahead", 4: "within"}),  # all weights of a step stay in the cache
        ("RNN", 0, True, {31: "ahead", 32: "within"}),  # of one gate only
        ("LSTM", -1, True, {31: "outside", 32: "within"}),  # not all of them
        ("LSTM", -1, False, {15: "ahead", 16: "within"}),
        ("LSTM", -4 * 9 * 9 * 4 - 1, True, {32: "outside"}),  # not even W
    ],
    ids=["small", "small, one gate", "large", "large, own products", "larger than the cache"],
)
def test_where_w_x_is_multiplied_follows_from_the_weights_and_the_sequences(
    kind: str, room: int, library: bool, where: Mapping[int, str], taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = machine.host
    monkeypatch.setattr(machine, "host", lambda wanted="": replace(host(wanted), library=library))
    for batch, projection in where.items():
        call = make(kind, steps=2, batch=batch, features=9, hidden=9)
        weights = sum(p.nbytes for name, p in call.layer.named_parameters() if name.startswith("weight"))
        monkeypatch.setattr(machine, "own_cache", lambda room=weights + room: room)
        assert_all_close(outcome(call, "llvm"), outcome(call, "reference"), call.x.dtype)
        assert set(taken.projections) == {projection}
        taken.projections.clear()


@pytest.mark.sweep
@pytest.mark.parametrize("library", [True, False], ids=["PyTorch's products", "the engine's own"])
@pytest.mark.parametrize("bias", [True, False])
def test_large_weights_are_multiplied_right_by_whichever_is_faster(
    library: bool, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = machine.host
    monkeypatch.setattr(machine, "host", lambda wanted="": replace(host(wanted), library=library))
    monkeypatch.setattr(machine, "own_cache", lambda: 1)  # so that no weight is small
    for ragged, options in (
        (False, {}),
        (True, {"bidirectional": True}),
        (True, {"peephole": True, "recompute": True}),
    ):
        call = make("LSTM", steps=7, batch=5, features=20, hidden=33, ragged=ragged, bias=bias, **options)
        assert_all_close(outcome(call, "llvm"), outcome(call.double(), "reference"), torch.float32)
