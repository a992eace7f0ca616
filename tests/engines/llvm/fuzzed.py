"""Calls of which one tensor was replaced by another, under guard pages: an error or right numbers, and nothing else.

`python -m tests.engines.llvm.fuzzed --side end --count 20 --seed 0` draws them at random. A kernel that is given what
it cannot read ends the process by a signal.
"""

from __future__ import annotations

import argparse
import collections
import random
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

import holdfast
from holdfast.engines.operator import recurrence, recurrence_backward
from holdfast.language import parse
from tests.engines.llvm.calls import make
from tests.engines.llvm.guarded import Guards, install
from tests.support import assert_all_close

Tensors = dict[str, Tensor]


class Way(NamedTuple):
    """A way to a kernel.

    Attributes:
        tensors: all that may be replaced, by name.
        run: the results of a call with such tensors, on an engine.
    """

    tensors: Tensors
    run: Callable[[Tensors, str], Tensors]


OPTIONS: tuple[dict[str, Any], ...] = (
    {"kind": "LSTM"},
    {"kind": "GRU"},
    {"kind": "LSTM", "proj_size": 4, "zoneout": (0.3, 0.3), "peephole": True},
    {"kind": "LSTM", "layer_norm": True, "learn_state": True, "recompute": True, "heads": 2},
    {"kind": "RNN", "bidirectional": True, "recurrent_dropout": 0.3},
)


def _named(name: str, tensors: Any) -> Tensors:
    return {f"{name} {k}": t for k, t in enumerate(tensors)}


def _listed(name: str, tensors: Tensors) -> list[Tensor]:
    return [t for n, t in tensors.items() if n.rpartition(" ")[0] == name]


def _put(module: torch.nn.Module, tensors: Tensors) -> None:
    """Let a module have these tensors, whatever they are."""
    for name in module._parameters:
        module._parameters[name] = tensors[name]  # type: ignore[assignment]


def _results(*given: Any) -> Tensors:
    """Results by number, without what they were computed from."""
    flat = [t for of in given for t in (of if isinstance(of, tuple | list) else [of]) if t is not None]
    return {str(k): t.detach() for k, t in enumerate(flat)}


def _weights(module: torch.nn.Module) -> Tensors:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def _recorded(run: Callable[[Tensors], Any], tensors: Tensors, names: list[str]) -> Tensors:
    """The results of a run, and the gradients of those of its tensors that can have one."""
    given = dict(tensors)
    for name in names:
        if given[name].is_floating_point() and not given[name].is_inference():
            given[name] = given[name].detach().requires_grad_()
    torch.manual_seed(1)
    results = [t for r in run(given) for t in (r if isinstance(r, tuple) else [r])]
    leaves = [given[name] for name in names if given[name].requires_grad]
    found = torch.autograd.grad(results, leaves, _listed("gradient", tensors), allow_unused=True)
    return _results(results, found)


def _layer(rng: random.Random, options: dict[str, Any]) -> Way:
    call = make(hidden=8, steps=3, batch=2, ragged=rng.random() < 0.5, resets=rng.random() < 0.5, **options)
    layer, training = call.layer, rng.random() < 0.6
    x = torch.where(call.x.isnan(), 0, call.x)
    tensors = {"x": x, **_named("hx", call.hx), **_weights(layer)}
    differentiable = list(tensors)
    tensors |= {n: t for n, t in (("lengths", call.lengths), ("reset", call.reset)) if t is not None}

    def once(given: Tensors) -> Any:
        _put(layer, given)
        hx = _listed("hx", given)
        return layer(
            given["x"],
            hx[0] if len(hx) == 1 else tuple(hx),
            lengths=given.get("lengths"),
            reset=given.get("reset"),
        )

    tensors |= _named("gradient", [torch.randn(3, 2, _width(layer)), *map(torch.randn_like, call.hx)])

    def run(given: Tensors, engine: str) -> Tensors:
        layer.train(training).engine = engine
        if training:
            return _recorded(once, given, differentiable)
        with torch.no_grad():
            return _results(*once(given))

    if not training:
        tensors = {n: t for n, t in tensors.items() if not n.startswith("gradient")}
    return Way(tensors, run)


def _width(layer: holdfast.Recurrent) -> int:
    return (layer.proj_size or layer.hidden_size) * (2 if layer.bidirectional else 1)


def _cell(rng: random.Random, options: dict[str, Any]) -> Way:
    kind = options["kind"]
    cell = getattr(holdfast, f"{kind}Cell")(3, 8, layer_norm=options.get("layer_norm", False))
    states = [torch.randn(2, 8) for _ in cell.cell.states]
    tensors = {"x": torch.randn(2, 3), **_named("hx", states), **_weights(cell)}
    differentiable = list(tensors)
    tensors |= _named("gradient", map(torch.randn_like, states))

    def once(given: Tensors) -> Any:
        _put(cell, given)
        hx = _listed("hx", given)
        found = cell(given["x"], hx[0] if len(hx) == 1 else tuple(hx))
        return found if isinstance(found, tuple) else (found,)

    def run(given: Tensors, engine: str) -> Tensors:
        cell.engine = engine
        return _recorded(once, given, differentiable)

    return Way(tensors, run)


def _stream(rng: random.Random, options: dict[str, Any]) -> Way:
    options = {n: v for n, v in options.items() if n != "bidirectional"}
    call, later = make(hidden=8, steps=1, batch=2, **options), rng.random() < 0.5
    layer, right = call.layer.eval(), _weights(call.layer)
    tensors = {"x": call.x[0], **_named("hx", call.hx), **right}
    if rng.random() < 0.5:
        tensors["out"] = torch.zeros(2, _width(layer))

    def run(given: Tensors, engine: str) -> Tensors:
        layer.engine = "auto"
        hx = _listed("hx", given)
        state = hx[0] if len(hx) == 1 else tuple(hx)
        if engine == "reference":
            _put(layer, given)
            with torch.no_grad():
                y, final = layer(given["x"].unsqueeze(0), state)
            return _results(y[0], final)
        _put(layer, right if later else given)
        stream = layer.stream(batch_size=2)
        _put(layer, given)
        stream.reset()
        stream.state = state
        y = stream.step(given["x"], given.get("out"))
        if "out" in given:
            assert y is given["out"], "the output is not where it was to go"
        return _results(y, stream.state)

    return Way(tensors, run)


def _inputs(rng: random.Random, options: dict[str, Any]) -> tuple[str, Tensors]:
    """A program's text, and what the operator is given for it."""
    ragged, resets = rng.random() < 0.5, rng.random() < 0.5
    call = make(hidden=8, steps=3, batch=2, ragged=ragged, resets=resets, **options)
    layer = call.layer
    x = torch.where(call.x.isnan(), 0, call.x)
    weights = [w.detach().clone() for w in layer.all_weights[0]]
    home = [torch.randn(s.shape[-1]) for s in call.hx] if call.reset is not None else []
    tensors = {"x": x, **_named("state", [s[0].clone() for s in call.hx]), **_named("home", home)}
    tensors |= _named("weight", weights) | _named("mask", layer._drawn_masks(x, layer._masks[False]))
    tensors |= {n: t for n, t in (("lengths", call.lengths), ("reset", call.reset)) if t is not None}
    return layer._texts[True, False], tensors


def _arguments(tensors: Tensors) -> list[Any]:
    parts = [_listed(name, tensors) for name in ("state", "home", "weight", "mask")]
    return [tensors["x"], *parts, tensors.get("lengths"), tensors.get("reset")]


def _forward(rng: random.Random, options: dict[str, Any]) -> Way:
    text, tensors = _inputs(rng, options)
    reverse = rng.random() < 0.5

    def run(given: Tensors, engine: str) -> Tensors:
        with torch.no_grad():
            found = recurrence(*_arguments(given), text, engine, reverse, False, True)
        return _results(found[: 1 + len(_listed("state", given))])

    return Way(tensors, run)


def _backward(rng: random.Random, options: dict[str, Any]) -> Way:
    text, tensors = _inputs(rng, options)
    reverse, program = rng.random() < 0.5, parse(text)
    visible = 1 + len(program.states)

    def forward(given: Tensors, engine: str) -> list[Tensor]:
        with torch.no_grad():
            found: list[Tensor] = recurrence(*_arguments(given), text, engine, reverse, False, True)
        return found

    results = forward(tensors, "llvm")
    gradients = _named("gradient", map(torch.randn_like, results[:visible]))
    saved = _named("saved", results[visible:])

    def run(given: Tensors, engine: str) -> Tensors:
        own = _listed("saved", given) if engine == "llvm" else forward(given, engine)[visible:]
        arrived = _listed("gradient", given), [True] * visible
        with torch.no_grad():
            found = recurrence_backward(*arrived, *_arguments(given), own, text, engine, reverse, False, True)
        return _results(found)

    return Way(tensors | gradients | saved, run)


class _Wrapper(Tensor):
    """A tensor that has no memory of its own."""

    @staticmethod
    def __new__(cls, tensor: Tensor) -> Any:
        return Tensor._make_wrapper_subclass(cls, tensor.shape, dtype=tensor.dtype)

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError(f"{function} of a wrapper")


class _Sub(Tensor):
    """A tensor that differs by its class alone."""


def _strided(t: Tensor) -> Tensor:
    return torch.stack([t, t], -1)[..., 0]


def _transposed(t: Tensor) -> Tensor:
    return t.t().contiguous().t() if t.dim() == 2 else t.transpose(0, -1).contiguous().transpose(0, -1)


def _offset(t: Tensor) -> Tensor:
    return torch.cat([t.flatten()[:3], t.flatten()])[-t.numel() :].view(t.shape)


def _expanded(t: Tensor) -> Tensor:
    return t[:1].expand(t.shape)


def _imaginary(t: Tensor) -> Tensor:
    if not t.is_floating_point():
        return _strided(t)
    return torch.complex(t, -t).conj().imag


def _inference(t: Tensor) -> Tensor:
    with torch.inference_mode():
        return t.clone()


def _freed(t: Tensor) -> Tensor:
    t = t.clone()
    t.untyped_storage().resize_(0)
    return t


def _shrunk(t: Tensor) -> Tensor:
    t = t.clone()
    t.untyped_storage().resize_(max(1, t.nbytes // 2))
    return t


def _quantised(t: Tensor) -> Tensor:
    return torch.quantize_per_tensor(t.float(), 0.1, 0, torch.quint8)


def _functional(t: Tensor) -> Tensor:
    found: Tensor = torch._to_functional_tensor(t)  # type: ignore[no-untyped-call]
    return found


# Those whose numbers may be right: the same values, or others in the same kind of tensor.
READABLE: dict[str, Callable[[Tensor], Tensor]] = {
    "strided": _strided,
    "transposed": _transposed,
    "at an offset": _offset,
    "expanded": _expanded,
    "negative bit": lambda t: torch._neg_view(-t) if t.is_floating_point() else _strided(t),
    "imaginary part of a conjugate": _imaginary,
    "zero tensor": lambda t: torch._efficientzerotensor(t.shape, dtype=t.dtype),
    "inference tensor": _inference,
    "subclass": lambda t: t.clone().as_subclass(_Sub),
    "functional": _functional,
    "parameter": lambda t: torch.nn.Parameter(t.clone(), requires_grad=False),
    **{str(d): (lambda t, d=d: t.to(d)) for d in (torch.float64, torch.float32, torch.int32, torch.int64, torch.uint8)},
    **{str(d): (lambda t, d=d: t.to(d)) for d in (torch.float16, torch.bfloat16, torch.bool, torch.complex64)},
}

# Those that must be refused.
UNREADABLE: dict[str, Callable[[Tensor], Tensor]] = {
    "a row more": lambda t: torch.cat([t, t[:1]]),
    "a row less": lambda t: t[:-1],
    "a column more": lambda t: torch.cat([t, t[..., :1]], -1),
    "a column less": lambda t: t[..., :-1],
    "twice as many rows": lambda t: torch.cat([t, t]),
    "a dimension more": lambda t: t.unsqueeze(0),
    "flat": lambda t: t.flatten() if t.dim() > 1 else t[:-1],
    "empty": lambda t: t[:0],
    "a scalar": lambda t: t.flatten()[0],
    "meta": lambda t: t.to("meta"),
    "fake": lambda t: FakeTensorMode().from_tensor(t),
    "wrapper": _Wrapper,
    "sparse": lambda t: t.to_sparse(),
    "oneDNN's layout": lambda t: t.to_mkldnn() if t.dtype == torch.float32 else t.to_sparse(),
    "quantised": _quantised,
    "nested": lambda t: torch.nested.nested_tensor([t, t]),
    "freed": _freed,
    "shrunk": _shrunk,
}

WAYS = {"layer": _layer, "cell": _cell, "stream": _stream, "forward": _forward, "backward": _backward}


def _plain(t: Tensor, like: Tensor) -> Tensor:
    """The same values in a tensor of no kind in particular."""
    if torch._is_functional_tensor(t):
        t = torch._from_functional_tensor(t)  # type: ignore[no-untyped-call]
    return t.detach().as_subclass(Tensor).to(like.dtype).resolve_neg().clone(memory_format=torch.contiguous_format)


def fuzz(rng: random.Random, guards: Guards) -> tuple[str, bool]:
    """One call: what it was, and whether it was refused."""
    name, number = rng.choice(list(WAYS)), rng.randrange(len(OPTIONS))
    torch.manual_seed(rng.randrange(1 << 30))
    way = WAYS[name](rng, OPTIONS[number])
    slot, kind = rng.choice(list(way.tensors)), rng.choice([*READABLE, *UNREADABLE])
    about = f"{name} of {OPTIONS[number]}: {slot} as {kind}"
    print(about, flush=True)
    before = way.tensors[slot]
    if not before.numel():
        return about, True  # nothing that could be another
    other = (READABLE | UNREADABLE)[kind](before)
    if kind in ("strided", "transposed", "at an offset") or kind.startswith("a "):
        other = guards.tensor(other)
    guards.on = True
    try:
        got = way.run(way.tensors | {slot: other}, "llvm")
    except Exception as error:
        if isinstance(error, AssertionError) and "/tests/" in traceback.extract_tb(error.__traceback__)[-1].filename:
            raise  # the guards have found something
        return about, True
    finally:
        guards.on = False
    if slot == "x" and not other.numel():
        return about, False  # of no steps, which the oracle does not run
    longer = slot == "x" and kind in ("twice as many rows", "a row more", "a row less", "empty")  # of another T only
    if kind not in READABLE and not longer:  # a learned state is not read where a state is passed
        assert _agree(got, way.run(way.tensors, "llvm")), f"{about}: was taken"
        return about, False
    if slot == "out":
        assert other.dtype == before.dtype, f"{about}: was taken"
    # What an engine has saved is of its own numbers: another engine's would be of other weights.
    oracle = "llvm" if name == "backward" else "reference"
    expected = way.run(way.tensors | {slot: _plain(other, before)}, oracle)
    got = {n: _plain(t, t) for n, t in got.items()}
    assert got.keys() >= expected.keys() or got.keys() <= expected.keys()
    common = got.keys() & expected.keys()
    try:
        assert_all_close({n: got[n] for n in common}, {n: expected[n] for n in common}, torch.float32)
    except AssertionError as error:
        raise AssertionError(f"{about}: {error}") from error
    return about, False


def _agree(got: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    """Whether two runs of the same numbers have the same results."""
    return all(torch.equal(_plain(got[name], t), t) for name, t in expected.items() if name in got)


def main() -> None:
    """Draw calls and make them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", choices=["start", "end"], required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # of prototypes and deprecations in PyTorch, which some of the tensors are
    torch.set_num_threads(1)
    guards = Guards(given.side)
    install(guards)
    rng = random.Random(given.seed)
    counts: collections.Counter[bool] = collections.Counter()
    for _ in range(given.count):
        _, refused = fuzz(rng, guards)
        counts[refused] += 1
        guards.release()
    print(f"{counts[True]} refused, {counts[False]} right", flush=True)


if __name__ == "__main__":
    main()
