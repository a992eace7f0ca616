"""The ordinary check of a layer: its output, final state and all gradients against an oracle that shares no code."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import holdfast
from holdfast.layers import noise
from tests.configurations import Configuration
from tests.oracles import clipped, sequences
from tests.support import TOLERANCE, assert_all_close, error

PROBABILITY = 0.3  # of everything random in a configuration
# Small enough to bite in most configurations. What is left of a gradient is off by as much as the gradient was: in
# bfloat16 the bound must not be far below what it bounds.
CLIP = {"float32": 0.02, "float64": 0.02, "bfloat16": 0.5}
GREFF = {
    name.lower(): getattr(holdfast.cells, name) for name in ("NIG", "NFG", "NOG", "NIAF", "NOAF", "NP", "CIFG", "FGR")
}
FEATURES = 5
SHAKES = 10
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A configuration made concrete: the sizes, the layer, and what it is called with."""

    c: Configuration
    layer: holdfast.Recurrent
    x: Tensor  # (T, B, I), with NaN in the padding
    hx: list[Tensor] | None
    lengths: Tensor | None
    reset: Tensor | None
    gradients: list[Tensor | None]  # those that arrive at the output and at each final state; time first
    projection: int


def heads_of(c: Configuration) -> int:
    """The smallest number of blocks above one that divides the units."""
    return next(n for n in range(2, c["hidden"] + 1) if c["hidden"] % n == 0) if c["heads"] else 1


def projection_of(c: Configuration) -> int:
    """A projected size that the blocks divide."""
    if not c["projection"]:
        return 0
    heads = heads_of(c)
    return heads * max(1, c["hidden"] // (2 * heads))


def zoneout_of(c: Configuration) -> tuple[float, float]:
    """The probabilities for h and for the other states."""
    return (PROBABILITY * (c["zoneout"] in ("h", "both")), PROBABILITY * (c["zoneout"] in ("c", "both")))


def make_layer(c: Configuration) -> holdfast.Recurrent:
    """The layer of a configuration, with all its weights different from each other and from their first values.

    They are of the size that training gives: saturated gates leave gradients that float32 cannot tell from zero."""
    options = {
        "num_layers": c["layers"],
        "bias": c["bias"],
        "batch_first": c["layout"] == "batch first",
        "dropout": PROBABILITY * c["dropout"],
        "bidirectional": c["bidirectional"],
        "dtype": getattr(torch, c["dtype"]),
        "layer_norm": c["layer_norm"],
        "recurrent_dropout": PROBABILITY * c["recurrent_dropout"],
        "zoneout": zoneout_of(c),
        "weight_drop": PROBABILITY * c["weight_drop"],
        "heads": heads_of(c),
        "grad_clip": CLIP[c["dtype"]] if c["grad_clip"] else None,
        "recompute": c["recompute"],
        "learn_state": "learned" in c["state"],
    }
    own = {
        "lstm": ("peephole", "coupled", "gate_activation", "activation"),
        "gru": ("reset_after", "gate_activation", "activation"),
        "rnn": ("activation",),
        "slstm": ("forget_gate", "gate_activation", "activation"),
    }
    kind, hidden = c["kind"], c["hidden"]
    if kind in GREFF:
        layer = holdfast.Recurrent(GREFF[kind](), FEATURES, hidden, **options)
    else:
        options |= {name: c[name] for name in own[kind]}
        if kind in ("lstm", "slstm"):
            options["proj_size"] = projection_of(c)
        if kind == "lstm":
            options["cell_clip"] = 0.4 if c["cell_clip"] else None
        layer = getattr(holdfast, kind.upper())(FEATURES, hidden, **options)
    with torch.no_grad():
        for name, weight in layer.named_parameters():
            if name == "n_0":  # a normaliser is positive
                weight.copy_(0.5 + torch.rand(weight.shape))
            elif weight.dim() == 2 and not name.endswith("_0"):
                weight.copy_(torch.randn(weight.shape) * 0.7 / math.sqrt(weight.shape[1]))
            else:
                gain = 0.5 if name.startswith("weight_ln") else 0.0  # with gains of 1 long sequences are chaotic
                weight.copy_(torch.randn(weight.shape) * 0.3 + gain)
    return layer.train(c["training"])


def make_case(c: Configuration, seed: int, engine: str, device: torch.device = CPU) -> Case:
    """A configuration with its tensors, drawn from a seed; the layer is on the device, the tensors are not."""
    torch.manual_seed(seed)
    layer = make_layer(c)
    layer.engine = engine
    dtype = getattr(torch, c["dtype"])
    batch = 1 if c["layout"] == "unbatched" else 1 + (seed + 2) % 4
    steps, directions = c["steps"], 2 if c["bidirectional"] else 1
    projection = projection_of(c)
    widths = [projection or c["hidden"], *[c["hidden"]] * (len(layer.cell.states) - 1)]
    x = torch.randn(steps, batch, FEATURES, dtype=dtype)
    lengths = reset = None
    if c["lengths"] or c["layout"] == "packed":
        least = 1 if c["layout"] == "packed" else 0  # PyTorch cannot pack a sequence of no steps
        lengths = torch.randint(least, steps + 1, (batch,))
        lengths[seed % batch] = steps if c["layout"] == "packed" else least + seed % 2 * (steps - least)
        x[torch.arange(steps).unsqueeze(1) >= lengths] = float("nan")
    if c["reset"]:
        reset = torch.rand(steps, batch) < 0.3
        reset[0] = torch.rand(batch) < 0.5
    hx = None
    if "passed" in c["state"]:
        hx = [torch.randn(c["layers"] * directions, batch, width, dtype=dtype) for width in widths]
        if c["kind"] == "slstm":
            hx[2] = 0.5 + torch.rand_like(hx[2])
    shapes = [(steps, batch, directions * widths[0]), *((c["layers"] * directions, batch, w) for w in widths)]
    gradients: list[Tensor | None] = [torch.randn(shape, dtype=dtype) for shape in shapes]
    if c["arriving"] == "output":
        gradients[1:] = [None] * len(widths)
    elif c["arriving"] == "final":
        gradients[0] = None
    elif c["arriving"] == "last state":
        gradients[:-1] = [None] * len(widths)
    elif c["arriving"] == "strided":
        gradients = [torch.randn(*shape[:-1], 2 * shape[-1], dtype=dtype)[..., ::2] for shape in shapes]
    return Case(c, layer.to(device), x, hx, lengths, reset, gradients, projection)


@contextlib.contextmanager
def recorded_noise() -> Iterator[list[Tensor]]:
    """Everything random that a layer draws, in the order in which it draws it; dropout as its factor."""
    drawn: list[Tensor] = []
    bernoulli = noise.bernoulli

    def record_bernoulli(probability: float, shape: Any, like: Tensor) -> Tensor:
        drawn.append(bernoulli(probability, shape, like))
        return drawn[-1]

    def record_dropout(x: Tensor, probability: float) -> Tensor:
        drawn.append(F.dropout(torch.ones_like(x), probability))
        return x * drawn[-1]

    with (
        mock.patch.object(noise, "bernoulli", record_bernoulli),
        mock.patch.object(noise, "dropout", record_dropout),
    ):
        yield drawn


def oracle_noise(case: Case, drawn: list[Tensor], order: Tensor | None) -> sequences.Noise:
    """What was drawn, sorted out for the oracle; `order` brings the rows of a packed batch back."""
    c, rest = case.c, iter(t.detach() for t in drawn)
    found = sequences.Noise({}, {}, {}, {}, {})

    def rows(mask: Tensor) -> Tensor:
        return mask if order is None else mask.index_select(-2, order)

    if not c["training"]:
        assert not drawn, "something was drawn in evaluation"
        return found
    masks = [m.name for m in case.layer.program.masks]
    by_name = {"recurrent_dropout": found.recurrent, "zoneout_h": found.zoneout_h, "zoneout_c": found.zoneout_c}
    for layer in range(c["layers"]):
        for direction in range(2 if c["bidirectional"] else 1):
            if c["weight_drop"]:
                suffix = f"_l{layer}{'_reverse' * direction}"
                extra = ("weight_gi", "weight_gf", "weight_go") if c["kind"] == "fgr" else ()
                for name in ("weight_hh", *extra):
                    found.weight[name + suffix] = next(rest)
            for name in masks:
                by_name[name][layer, direction] = rows(next(rest))
        if c["dropout"] and layer < c["layers"] - 1:
            found.dropout[layer] = rows(next(rest))
    assert next(rest, None) is None, "more was drawn than the options ask for"
    return found


def product_results(case: Case, trace: bool = False) -> tuple[dict[str, Tensor], list[Tensor], Tensor | None]:
    """What the layer gives, all laid out time first with a batch; what it drew; and the order of a packed batch."""
    c = case.c
    device = next(case.layer.parameters()).device
    x = case.x.to(device, copy=True).requires_grad_()
    hx = None if case.hx is None else [s.to(device, copy=True).requires_grad_() for s in case.hx]
    given: Any = {
        "time first": x,
        "packed": x,
        "batch first": x.transpose(0, 1).contiguous(),  # as callers have it: what the layer makes of it has strides
        "unbatched": x.squeeze(1),
    }[c["layout"]]
    state = hx
    kwargs: dict[str, Any] = {}
    if c["layout"] == "unbatched" and hx is not None:
        state = [s.squeeze(1) for s in hx]
    if c["lengths"]:
        kwargs["lengths"] = None if case.lengths is None else case.lengths.to(device)
    if case.reset is not None:
        reset = case.reset.to(device)
        kwargs["reset"] = {
            "time first": reset,
            "batch first": reset.transpose(0, 1).contiguous(),
            "unbatched": reset.squeeze(1),
        }[c["layout"]]
    if c["layout"] == "packed":
        assert case.lengths is not None
        given = pack_padded_sequence(x, case.lengths, enforce_sorted=False)
    passed = None if state is None else state[0] if len(state) == 1 else tuple(state)
    with recorded_noise() as drawn:
        if trace:
            traced = case.layer.trace(given, passed, **kwargs)
            output, final = traced.output, traced.state
        else:
            output, final = case.layer(given, passed, **kwargs)
    finals = [final] if isinstance(final, Tensor) else list(final)
    order = None
    if isinstance(output, PackedSequence):
        order = output.unsorted_indices
        output, _ = pad_packed_sequence(output, total_length=c["steps"])
    elif c["layout"] == "batch first":
        output = output.transpose(0, 1)
    elif c["layout"] == "unbatched":
        output, finals = output.unsqueeze(1), [s.unsqueeze(1) for s in finals]
    results = {"output": output, **{f"final {k}": s for k, s in enumerate(finals)}}
    leaves = {"x": x, **dict(case.layer.named_parameters()), **{f"hx{k}": s for k, s in enumerate(hx or [])}}
    arriving = [None if g is None else g.to(device) for g in case.gradients]
    results |= _gradients(list(results.values()), arriving, leaves)
    found = {name: t.detach().cpu() for name, t in results.items()}
    return found, [t.detach().cpu() for t in drawn], None if order is None else order.cpu()


def _gradients(results: list[Tensor], arriving: list[Tensor | None], leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """The gradients of all leaves, zero where there is no path."""
    pairs = [(r, g) for r, g in zip(results, arriving) if g is not None and r.requires_grad]
    found = torch.autograd.grad(
        [r for r, _ in pairs], list(leaves.values()), [g for _, g in pairs], allow_unused=True, materialize_grads=True
    )
    return {f"gradient of {name}": g for name, g in zip(leaves, found)}


def oracle_results(
    case: Case, drawn: list[Tensor], order: Tensor | None, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """What the oracle gives for the same case."""
    c = case.c
    setup = sequences.Setup(
        kind=c["kind"],
        hidden=c["hidden"],
        layers=c["layers"],
        bidirectional=c["bidirectional"],
        bias=c["bias"],
        projection=case.projection,
        heads=heads_of(c),
        peephole=c["peephole"],
        coupled=c["coupled"],
        layer_norm=c["layer_norm"],
        cell_clip=0.4 if c["cell_clip"] else None,
        gate_activation=c["gate_activation"],
        activation=c["activation"],
        reset_after=c["reset_after"],
        forget_gate=c["forget_gate"],
        zoneout=zoneout_of(c),
        recurrent_dropout=PROBABILITY * c["recurrent_dropout"],
        training=c["training"],
    )
    weights = {name: w.detach().to(CPU, dtype).requires_grad_() for name, w in case.layer.named_parameters()}
    x = case.x.detach().to(dtype, copy=True).requires_grad_()
    hx = None if case.hx is None else [s.to(dtype, copy=True).requires_grad_() for s in case.hx]
    drawn_noise = oracle_noise(case, [d.to(dtype) for d in drawn], order)
    arriving = [None if g is None else g.to(dtype) for g in case.gradients]
    output, finals = sequences.run(setup, weights, x, hx, case.lengths, case.reset, drawn_noise)
    results = {"output": output, **{f"final {k}": s for k, s in enumerate(finals)}}
    leaves = {"x": x, **weights, **{f"hx{k}": s for k, s in enumerate(hx or [])}}
    if c["grad_clip"]:
        zeros = [torch.zeros_like(r) if g is None else g for r, g in zip(results.values(), arriving)]
        inputs = (weights, x, hx, case.lengths, case.reset, drawn_noise)
        found = clipped.gradients(setup, CLIP[c["dtype"]], *inputs, zeros[0], zeros[1:])
        results |= {f"gradient of {name}": found[name] for name in leaves}
    else:
        results |= _gradients(list(results.values()), arriving, leaves)
    return {name: t.detach() for name, t in results.items()}


def check(c: Configuration, seed: int = 0, engine: str = "reference", device: torch.device = CPU) -> None:
    """The ordinary check: everything a call gives, and every gradient, by an engine, against the oracle."""
    check_engines(c, seed, [engine], device)


def check_engines(c: Configuration, seed: int, engines: Sequence[str], device: torch.device = CPU) -> None:
    """The ordinary check of several engines, which draw the same noise, against one run of the oracle.

    Some draws are beyond a dtype: rounding alone moves the oracle's own result by too much of what is allowed. Such a
    case is drawn again from another seed. What is visible is not excused by gradients that are beyond.
    """
    try:
        for attempt in range(20):
            if _within_reach(c, seed + 10_000 * attempt, seed % 2 == 1, engines, device):
                return
        raise AssertionError(f"no draw of this configuration is within {c['dtype']}'s reach")
    except Exception as error:
        error.add_note(f"seed {seed}, {', '.join(engines)}: {dict(c)}")
        raise


def _within_reach(c: Configuration, seed: int, trace: bool, engines: Sequence[str], device: torch.device) -> bool:
    """Check one draw; false if it is beyond the dtype."""
    dtype = getattr(torch, c["dtype"])
    known: tuple[list[Tensor], dict[str, Tensor]] | None = None
    for engine in engines:
        case = make_case(c, seed, engine, device)
        got, drawn, order = product_results(case, trace=trace and c["layout"] != "packed")
        if known is None:
            known = drawn, oracle_results(case, drawn, order)
        same, expected = known
        assert len(drawn) == len(same), f"{engines[0]} draws {len(same)} times, {engine} {len(drawn)} times"
        assert all(map(torch.equal, drawn, same)), f"{engine} draws other noise than {engines[0]}"
        try:
            assert_all_close(got, expected, dtype)
        except AssertionError as error_:
            visible = {name for name in expected if not name.startswith("gradient")}
            seen = any(error(got[name], expected[name]) > TOLERANCE[dtype] for name in visible)
            excuses = visible if seen else set(expected)
            if dtype == torch.float64 or not _beyond(case, drawn, order, {n: expected[n] for n in excuses}):
                error_.add_note(f"by the engine {engine}")
                raise
            return False
    return True


def _beyond(case: Case, drawn: list[Tensor], order: Tensor | None, expected: dict[str, Tensor]) -> bool:
    """Whether a dtype alone, without the layer, is too coarse for a case.

    float32 is, if computing in it, or a unit in the last place of what is given, moves a result by a quarter of what is
    allowed. bfloat16, in which nobody computes from end to end, has few units: it is where one unit in the last place,
    of a few ways to be off by it, moves a result by more than all that is allowed.
    """
    dtype = getattr(torch, case.c["dtype"])
    if dtype == torch.bfloat16:
        limit, others = TOLERANCE[dtype], [oracle_results(_shaken(case), drawn, order) for _ in range(SHAKES)]
    else:
        limit = TOLERANCE[dtype] / 4
        others = [oracle_results(case, drawn, order, dtype), oracle_results(_shaken(case), drawn, order)]
    return any(error(other[name], expected[name]) > limit for other in others for name in expected)


def _shaken(case: Case) -> Case:
    """The same with each weight, input and state off by one unit in its last place, up or down."""

    def shake(t: Tensor) -> Tensor:
        return torch.where(t == 0, t, torch.nextafter(t, t + torch.randn_like(t)))

    layer = copy.deepcopy(case.layer)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(shake(weight))
    return replace(case, layer=layer, x=shake(case.x), hx=None if case.hx is None else [shake(s) for s in case.hx])


def plain(**choices: Any) -> Configuration:
    """A configuration that is plain but for the given choices."""
    from tests.configurations import CHOICES, compatible

    c = {**{name: values[0] for name, values in CHOICES.items()}, **choices}
    assert compatible(c), choices
    return c
