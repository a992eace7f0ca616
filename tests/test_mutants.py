"""A product that is broken on purpose, in one place at a time, must fail the ordinary checks.

Each mutant is patched into the product itself; the checks are those of every layer, on a dozen configurations. The
mutants of the compiled engine follow at the end, with a few cases of their own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import llvmlite.ir as ir
import pytest
import torch
from torch import Tensor, nn

import holdfast
import holdfast.engines.llvm.tile_matmul as tiles
from holdfast import cells
from holdfast.engines import operator
from holdfast.engines.inputs import Inputs
from holdfast.engines.llvm import code, emit, frame, functions, halves, kernels, learned, machine, rows, run
from holdfast.engines.llvm import products as multiplied
from holdfast.engines.llvm import stream as llvm_stream
from holdfast.engines.llvm import threads as llvm_threads
from holdfast.engines.reference import backward_run, forward_run, products, schedule
from holdfast.engines.steps import around, lowering
from holdfast.language import cell as language_cell
from holdfast.language import derivative, parse
from holdfast.layers import Recurrent, Stream, noise
from tests.agreement import check, plain
from tests.engines.llvm.calls import TILES, exact, inference, make, outcome, take
from tests.support import assert_all_close, assert_close, error

Patch = pytest.MonkeyPatch

CASES = [
    plain(dtype="float64", layers=2, bidirectional=True, lengths=True, state="passed"),
    plain(dtype="float64", layers=2, state="learned and passed", reset=True, bidirectional=True, dropout=True),
    plain(dtype="float64", peephole=True, cell_clip=True, state="passed", layout="batch first"),
    plain(dtype="float64", peephole=True, coupled=True, state="passed", arriving="output"),
    plain(dtype="float64", layer_norm=True, heads=True, state="passed", projection=True),
    plain(dtype="float64", kind="gru", state="passed", arriving="strided"),
    plain(dtype="float64", kind="gru", reset_after=False, state="passed", recurrent_dropout=True),
    plain(dtype="float64", zoneout="both", weight_drop=True, recurrent_dropout=True, state="passed"),
    plain(dtype="float64", zoneout="both", recurrent_dropout=True, training=False, state="passed"),
    plain(dtype="float64", grad_clip=True, state="passed", lengths=True, reset=True, steps=17),
    plain(dtype="float64", kind="slstm", state="passed", layout="packed", bidirectional=True),
    plain(dtype="float64", kind="fgr", state="passed", arriving="last state"),
    plain(dtype="float64", kind="rnn", activation="softplus", layer_norm=True, state="passed"),
]


def ordinary_checks() -> None:
    """All cases, two draws of each."""
    for k, c in enumerate(CASES):
        check(c, k)
        check(c, k + 100)


KERNELS = (
    lowering.lowered,
    lowering.forward,
    lowering.backward,
    lowering.needed_back,
    kernels.forward_step,
    kernels.backward_step,
    run._forward_plan,
    run._backward_plan,
    llvm_stream._kernel,
    tiles._kernel,
)


@pytest.fixture(autouse=True)
def _no_memory_of_mutants() -> Iterator[None]:
    """What is remembered of a program must not outlive a mutant."""

    def forget() -> None:
        for remembered in (parse, derivative.derive, schedule.schedule, *KERNELS):
            remembered.cache_clear()

    forget()
    yield
    forget()


def test_the_product_as_it_is_passes_the_ordinary_checks() -> None:
    ordinary_checks()


MUTANTS: dict[str, Callable[[Patch], None]] = {}


def mutant(function: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """A way to break the product; its name says how."""
    MUTANTS[function.__name__.removeprefix("_").replace("_", " ")] = function
    return function


def _step(patch: Patch, of: type, body: Callable[..., Any]) -> None:
    patch.setattr(of, "step", lambda self, gate, state: body(self, gate, state))


def _inputs(patch: Patch, change: Callable[[Inputs], Inputs]) -> None:
    """Change what every run is given, forward and backward alike."""
    run = operator.run
    patch.setattr(operator, "run", lambda text, inputs, *rest: run(text, change(inputs), *rest))


def _rule(patch: Patch, op: str, rule: Callable[..., Any]) -> None:
    patch.setitem(derivative.RULES, op, rule)


# The equations.


def _swapped_gates(patch: Patch, one: str, other: str) -> None:
    look_up = language_cell.Gates.__getattr__
    swap = {one: other, other: one}
    patch.setattr(language_cell.Gates, "__getattr__", lambda self, name: look_up(self, swap.get(name, name)))


@mutant
def _input_and_forget_gate_swapped(patch: Patch) -> None:
    _swapped_gates(patch, "i", "f")


@mutant
def _candidate_and_output_gate_swapped(patch: Patch) -> None:
    _swapped_gates(patch, "g", "o")


@mutant
def _reset_and_update_gate_of_the_GRU_swapped(patch: Patch) -> None:
    _swapped_gates(patch, "r", "z")


@mutant
def _GRU_keeps_what_it_should_replace(patch: Patch) -> None:
    def step(self: Any, gate: Any, state: Any) -> Any:
        from holdfast.language import recur, sigmoid, tanh

        r, z = sigmoid(gate.r), sigmoid(gate.z)
        inner = r * gate.n.recurrent if self.reset_after else recur(gate.n, r * state.h)
        n = tanh(gate.n.input + inner)
        return z * n + (1 - z) * state.h

    _step(patch, cells.GRU, step)


@mutant
def _GRU_resets_at_the_wrong_place(patch: Patch) -> None:
    original = cells.GRU.__init__
    patch.setattr(cells.GRU, "__init__", lambda self, reset_after=True, *rest: original(self, not reset_after, *rest))


def _lstm_variant(patch: Patch, **changes: bool) -> None:
    """The LSTM's equations once more, each with a mistake that can be switched on."""

    def step(self: Any, gate: Any, state: Any) -> Any:
        from holdfast.cells.options import ACTIVATIONS, GATE_ACTIVATIONS
        from holdfast.language import clip, layer_norm, parameter

        gated, squash = GATE_ACTIVATIONS[self.gate_activation], ACTIVATIONS[self.activation]
        p = parameter("weight_ch", "io" if self.coupled else "ifo") if self.peephole else None
        i = gated(gate.i + p.i * state.c if p else gate.i)
        if self.coupled:
            f = i if changes.get("coupled_forgets") else 1 - i
        else:
            row = (p.i if changes.get("wrong_row") else p.f) if p else None
            f = gated(gate.f + row * state.c if p else gate.f)
        g = squash(gate.g)
        c = f * state.c + i * g
        if self.cell_clip is not None and not changes.get("no_clip"):
            c = clip(c, -self.cell_clip, self.cell_clip)
        seen = state.c if changes.get("old_memory") else c
        o = gated(gate.o + p.o * seen if p else gate.o)
        shown = c
        if self.layer_norm:
            shown = layer_norm(c, parameter("weight_ln_c", initial=1), parameter("bias_ln_c", initial=0))
            if changes.get("normalised_memory"):
                c = shown
        if changes.get("no_squash"):
            return o * shown, c
        return o * squash(shown), c

    _step(patch, cells.LSTM, step)


def test_the_variant_without_a_mistake_passes(monkeypatch: Patch) -> None:
    _lstm_variant(monkeypatch)
    ordinary_checks()


@mutant
def _output_gate_peeps_at_the_old_memory(patch: Patch) -> None:
    _lstm_variant(patch, old_memory=True)


@mutant
def _forget_gate_reads_the_input_gates_peephole(patch: Patch) -> None:
    _lstm_variant(patch, wrong_row=True)


@mutant
def _coupled_gate_forgets_what_it_writes(patch: Patch) -> None:
    _lstm_variant(patch, coupled_forgets=True)


@mutant
def _memory_is_not_clipped(patch: Patch) -> None:
    _lstm_variant(patch, no_clip=True)


@mutant
def _normalised_memory_is_handed_on(patch: Patch) -> None:
    _lstm_variant(patch, normalised_memory=True)


@mutant
def _memory_is_shown_without_its_squashing(patch: Patch) -> None:
    _lstm_variant(patch, no_squash=True)


# Biases.


def _bias(patch: Patch, mix: Callable[[Tensor, Tensor], Tensor]) -> None:
    def joined(self: Any, bias: Tensor | None) -> Tensor | None:
        return None if bias is None else mix(bias, self.weights["bias_hh"])

    patch.setattr(forward_run.Forward, "joined_bias", joined)


@mutant
def _recurrent_bias_lost(patch: Patch) -> None:
    _bias(patch, lambda ih, hh: ih)


@mutant
def _recurrent_bias_doubled(patch: Patch) -> None:
    _bias(patch, lambda ih, hh: ih + 2 * hh)


@mutant
def _input_bias_lost(patch: Patch) -> None:
    _bias(patch, lambda ih, hh: hh)


# States, lengths, directions, resets.


@mutant
def _initial_h_ignored(patch: Patch) -> None:
    _inputs(patch, lambda i: i._replace(state=[torch.zeros_like(i.state[0]), *i.state[1:]]))


@mutant
def _initial_c_ignored(patch: Patch) -> None:
    _inputs(patch, lambda i: i._replace(state=[i.state[0], *(torch.zeros_like(s) for s in i.state[1:])]))


@mutant
def _lengths_ignored(patch: Patch) -> None:
    def ignored(i: Inputs) -> Inputs:
        return i._replace(x=torch.nan_to_num(i.x), lengths=None)

    _inputs(patch, ignored)


@mutant
def _lengths_one_too_short(patch: Patch) -> None:
    _inputs(patch, lambda i: i._replace(lengths=None if i.lengths is None else (i.lengths - 1).clamp(min=0)))


@mutant
def _reverse_direction_includes_the_padding(patch: Patch) -> None:
    def included(i: Inputs) -> Inputs:
        return i._replace(x=torch.nan_to_num(i.x), lengths=None) if i.reverse else i

    _inputs(patch, included)


@mutant
def _reverse_output_not_turned_back(patch: Patch) -> None:
    run = operator.run

    def unturned(text: str, inputs: Inputs, *rest: Any) -> Any:
        done = run(text, inputs, *rest)
        return done._replace(output=done.output.flip(0)) if inputs.reverse else done

    patch.setattr(operator, "run", unturned)


@mutant
def _final_state_taken_from_the_last_step_of_the_batch(patch: Patch) -> None:
    run = operator.run

    def last(text: str, inputs: Inputs, *rest: Any) -> Any:
        done = run(text, inputs, *rest)
        return done._replace(final=[done.output[0 if inputs.reverse else -1], *done.final[1:]])

    patch.setattr(operator, "run", last)


@mutant
def _directions_exchanged_in_the_state(patch: Patch) -> None:
    original = Recurrent._run_batched

    def exchanged(self: Any, x: Any, state: Any, *rest: Any) -> Any:
        if state is not None and self.bidirectional:
            state = [s.unflatten(0, (-1, 2)).flip(1).flatten(0, 1) for s in state]
        return original(self, x, state, *rest)

    patch.setattr(Recurrent, "_run_batched", exchanged)


@mutant
def _reset_returns_to_the_passed_state(patch: Patch) -> None:
    before = forward_run.Forward.before

    def passed(self: Any, t: int, state: list[Tensor]) -> list[Tensor]:
        boundaries = self.boundaries
        if boundaries is not None:
            state = [torch.where(boundaries[t].unsqueeze(-1), s0, s) for s0, s in zip(self.inputs.state, state)]
        self.boundaries = None
        state = before(self, t, state)
        self.boundaries = boundaries
        return state

    patch.setattr(forward_run.Forward, "before", passed)


@mutant
def _reset_on_the_same_side_in_both_directions(patch: Patch) -> None:
    patch.setattr(Inputs, "boundaries", lambda self: self.reset)


@mutant
def _reset_one_step_late(patch: Patch) -> None:
    _inputs(patch, lambda i: i._replace(reset=None if i.reset is None else i.reset.roll(1, 0)))


@mutant
def _learned_state_ignored_after_a_reset(patch: Patch) -> None:
    _inputs(patch, lambda i: i._replace(home=[torch.zeros_like(h) for h in i.home]))


@mutant
def _second_layer_reads_the_input_state_of_the_first(patch: Patch) -> None:
    original = Recurrent._run_batched

    def first_for_all(self: Any, x: Any, state: Any, *rest: Any) -> Any:
        state = None if state is None else [s[:1].expand_as(s) for s in state]
        return original(self, x, state, *rest)

    patch.setattr(Recurrent, "_run_batched", first_for_all)


# Weights, noise, layer norm, heads, projection.


@mutant
def _heads_mixed_up(patch: Patch) -> None:
    raw = products.Products.raw

    def rolled(self: Any, value: Tensor) -> Tensor:
        return raw(self, value.roll(value.shape[-1] // self.heads, -1) if self.heads > 1 else value)

    patch.setattr(products.Products, "raw", rolled)


@mutant
def _layer_norm_with_another_epsilon(patch: Patch) -> None:
    patch.setattr(products, "LAYER_NORM_EPSILON", 1e-3)
    patch.setattr(forward_run, "LAYER_NORM_EPSILON", 1e-3)


@mutant
def _layer_norm_of_the_input_skipped(patch: Patch) -> None:
    original = forward_run.Forward.input_parts

    def skipped(self: Any) -> Any:
        if not self.program.layer_norm:
            return original(self)
        product = self.inputs.x @ self.weights["weight_ih"].t()
        product = product * self.weights["weight_ln_x"] + self.weights["bias_ih"]
        parts = dict(zip(self.program.gates, product.split(self.hidden, -1)))
        return {gate: part.unbind(0) for gate, part in parts.items()}

    patch.setattr(forward_run.Forward, "input_parts", skipped)


@mutant
def _projection_skipped_in_the_recurrence(patch: Patch) -> None:
    original = forward_run.Forward.project
    patch.setattr(forward_run.Forward, "project", lambda self, value: original(self, value.abs()))


@mutant
def _zoneout_keeps_the_new_value(patch: Patch) -> None:
    original = language_cell._Trace.mask

    def inverted(self: Any, name: str, p: float, *rest: Any) -> Any:
        drawn = original(self, name, p, *rest)
        return 1 - drawn if name.startswith("zoneout") else drawn

    patch.setattr(language_cell._Trace, "mask", inverted)


@mutant
def _zoneout_off_in_evaluation(patch: Patch) -> None:
    original = language_cell._Trace.mask

    def off(self: Any, name: str, *rest: Any) -> Any:
        return original(self, name, *rest) if self.training or not name.startswith("zoneout") else 0.0

    patch.setattr(language_cell._Trace, "mask", off)


@mutant
def _recurrent_dropout_without_its_scale(patch: Patch) -> None:
    run = operator.run

    def unscaled(text: str, inputs: Inputs, *rest: Any) -> Any:
        return run(text.replace("= div", "= mul"), inputs, *rest)

    patch.setattr(operator, "run", unscaled)


@mutant
def _weight_drop_on_the_input_weights_too(patch: Patch) -> None:
    def everything(self: Any, weights: list[Tensor]) -> list[Tensor]:
        if not (self.training and self.weight_drop):
            return weights
        kept = [noise.dropout(w, self.weight_drop) if "hh" in n else w for n, w in zip(self._weight_names, weights)]
        return [0.5 * w if n == "weight_ih" else w for n, w in zip(self._weight_names, kept)]

    patch.setattr(Recurrent, "_dropped", everything)


@mutant
def _dropout_after_the_last_layer(patch: Patch) -> None:
    original = Recurrent._run_batched

    def dropped(self: Any, *arguments: Any) -> Any:
        x, *rest = original(self, *arguments)
        return (x * 1.1 if self.training and self.dropout else x), *rest

    patch.setattr(Recurrent, "_run_batched", dropped)


@mutant
def _stale_weights_from_the_call_before(patch: Patch) -> None:
    run, kept = operator.run, {}

    def stale(text: str, inputs: Inputs, *rest: Any) -> Any:
        key = (text, inputs.weights[1].shape)
        old = kept.setdefault(key, inputs.weights[1].detach().clone())
        weights = [inputs.weights[0], 0 * inputs.weights[1] + old, *inputs.weights[2:]]
        return run(text, inputs._replace(weights=weights), *rest)

    patch.setattr(operator, "run", stale)


# Gradients: the forward pass stays right.


@mutant
def _gradient_of_tanh_without_the_square(patch: Patch) -> None:
    _rule(patch, "tanh", lambda g, y, x: (g * (1 - y),))


@mutant
def _gradient_of_the_sigmoid_from_its_input(patch: Patch) -> None:
    _rule(patch, "sigmoid", lambda g, y, x: (g * (x * (1 - x)),))


@mutant
def _gradient_of_a_product_goes_to_the_wrong_factor(patch: Patch) -> None:
    _rule(patch, "mul", lambda g, y, a, b: (g * a, g * b))


@mutant
def _gradient_of_a_difference_without_its_sign(patch: Patch) -> None:
    _rule(patch, "sub", lambda g, y, a, b: (g, g))


@mutant
def _gradient_of_a_quotient_misses_the_divisor(patch: Patch) -> None:
    _rule(patch, "div", lambda g, y, a, b: (g / b, None))


@mutant
def _gradient_of_clipping_passes_everywhere(patch: Patch) -> None:
    _rule(patch, "clip", lambda g, y, x, low, high: (g, None, None))


@mutant
def _only_the_last_of_several_paths_counts(patch: Patch) -> None:
    patch.setattr(
        derivative._Reverse, "contribute", lambda self, index, gradient: self.gradients.__setitem__(index, gradient)
    )


@mutant
def _gradient_does_not_flow_through_the_recurrent_product(patch: Patch) -> None:
    back = products.Products.back_to_value
    patch.setattr(products.Products, "back_to_value", lambda self, gradient: torch.zeros_like(back(self, gradient)))


@mutant
def _weight_gradient_from_the_wrong_step(patch: Patch) -> None:
    original = backward_run.Backward.to_weights

    def shifted(self: Any, series: Any) -> Any:
        self.saved = {
            k: (v.roll(1, 0) if k in {g.operand for g in self.program.groups} else v) for k, v in self.saved.items()
        }
        return original(self, series)

    patch.setattr(backward_run.Backward, "to_weights", shifted)


def _gradients(patch: Patch, change: Callable[[backward_run.Gradients, Any], backward_run.Gradients]) -> None:
    """Change what the way back returns."""
    run = backward_run.Backward.run

    def changed(self: Any, *arguments: Any) -> backward_run.Gradients:
        return change(run(self, *arguments), self)

    patch.setattr(backward_run.Backward, "run", changed)


@mutant
def _gradient_of_the_initial_state_lost(patch: Patch) -> None:
    _gradients(patch, lambda g, _: replace(g, state=[torch.zeros_like(s) for s in g.state]))


@mutant
def _gradient_of_the_learned_state_at_resets_lost(patch: Patch) -> None:
    _gradients(patch, lambda g, _: replace(g, home=[torch.zeros_like(h) for h in g.home]))


@mutant
def _gradient_of_one_bias_given_to_neither(patch: Patch) -> None:
    def lost(g: backward_run.Gradients, run: Any) -> backward_run.Gradients:
        named = zip(run.forward.weights, g.weights)
        return replace(g, weights=[torch.zeros_like(w) if n == "bias_hh" else w for n, w in named])

    _gradients(patch, lost)


@mutant
def _gradient_clipping_forgotten(patch: Patch) -> None:
    original = backward_run.Backward.__init__

    def unclipped(self: Any, program: Any, *rest: Any) -> None:
        original(self, program, *rest)
        self.program = replace(program, grad_clip=0.0)

    patch.setattr(backward_run.Backward, "__init__", unclipped)


@mutant
def _final_gradients_that_are_missing_taken_for_ones(patch: Patch) -> None:
    run = backward_run.Backward.run

    def filled(self: Any, output: Any, final: Any, *rest: Any) -> Any:
        return run(
            self, output, [torch.ones_like(z) if g is None else g for g, z in zip(final, self.like_state)], *rest
        )

    patch.setattr(backward_run.Backward, "run", filled)


@mutant
def _strided_gradients_read_as_if_they_were_dense(patch: Patch) -> None:
    arriving = backward_run.Backward.arriving

    def dense(self: Any, output: Tensor | None, traced: Any) -> Any:
        if output is not None and not output.is_contiguous():
            output = torch.as_strided(output, output.shape, torch.empty(output.shape).stride())
        return arriving(self, output, traced)

    patch.setattr(backward_run.Backward, "arriving", dense)


@mutant
def _layer_norm_gradient_without_the_mean(patch: Patch) -> None:
    def partial(gradient: Tensor, x: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        centred = x - x.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + products.LAYER_NORM_EPSILON).rsqrt()
        return gradient * gain * scale, (gradient * centred * scale).flatten(0, -2).sum(0)

    patch.setattr(products, "layer_norm_backward", partial)
    patch.setattr(backward_run, "layer_norm_backward", partial)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_ordinary_checks_catch(name: str, monkeypatch: Patch) -> None:
    MUTANTS[name](monkeypatch)
    with pytest.raises(AssertionError):
        ordinary_checks()


def test_there_are_at_least_twenty_five_mutants() -> None:
    assert len(MUTANTS) >= 25


# The compiled engine: its kernels, what stands around them, and the stream. The kernels are compiled for the vectors
# that every machine has; 9 units leave a rest in them.

FEW, MANY = 0, 1  # seeds: of three sequences, fewer than two a thread, and of four, traced


def _kernel_check(seed: int, threads: int = 1, **choices: Any) -> Callable[[Patch], None]:
    """The ordinary check of one configuration on the compiled engine, by some threads."""

    def run_check(patch: Patch) -> None:
        torch.set_num_threads(threads)
        for name in ("SMALL", "SMALL_STEP"):
            patch.setattr(llvm_threads, name, 0)
        c = plain(**{"dtype": "float64", "hidden": 9, "state": "passed", **choices})
        check(c, seed, "llvm")
        check(c, seed + 100, "llvm")  # other numbers, of the same sizes

    return run_check


def _in_spans(patch: Patch) -> None:
    """Many short spans of steps, with W x ahead of each."""
    patch.setattr(run, "WITHIN_FEATURES", 0)
    patch.setattr(run, "WITHIN_BATCH", 1000)
    patch.setattr(rows, "SPAN_ROWS", 6)
    patch.setattr(rows, "SPAN_ROWS_LIBRARY", 6)
    patch.setattr(rows, "SPAN_BYTES", 1)
    _kernel_check(FEW, lengths=True, bidirectional=True)(patch)


def _recomputed(**choices: Any) -> Callable[[Patch], None]:
    """Short spans of steps that are run again on the way back."""

    def run_check(patch: Patch) -> None:
        patch.setattr(around, "STEPS_AGAIN", 2)
        patch.setattr(around, "ROWS_AGAIN", 1)
        _kernel_check(FEW, recompute=True, **choices)(patch)

    return run_check


def _of_nan(patch: Patch) -> None:
    """NaN comes out where the reference gives NaN, and nowhere else."""
    rnn, relu = holdfast.RNN(3, 9), holdfast.RNN(3, 9, activation="relu")
    for layer in (rnn, relu, holdfast.LSTM(3, 9, cell_clip=0.5), holdfast.SLSTM(3, 9)):
        x = torch.randn(4, 2, 3)
        x[-1, 0] = float("nan")
        found = []
        for engine in ("llvm", "reference"):
            layer.engine = engine
            with torch.no_grad():
                output, state = layer(x)
            found.append([output, *(state if isinstance(state, tuple) else [state])])
        for got, expected in zip(*found):
            assert torch.equal(got.isnan(), expected.isnan())
            assert error(got.nan_to_num(0.0), expected.nan_to_num(0.0)) < 2e-5


def _of_streams(batch: int) -> Callable[[Patch], None]:
    """A stream is the layer's own run, while weights change and some sequences start anew."""

    def run_check(patch: Patch) -> None:
        layer = holdfast.LSTM(3, 9, 2, dtype=torch.float64, engine="reference")
        stream = layer.stream(batch)

        def follow() -> None:
            for _ in range(3):
                x = torch.randn(1, batch, 3, dtype=torch.float64)
                with torch.no_grad():
                    output, state = layer(x, stream.state)
                assert_close(stream.step(x[0]), output[0])
                for got, expected in zip(stream.state, state):
                    assert_close(got, expected)

        follow()
        with torch.no_grad():
            for weight in layer.parameters():
                weight.mul_(-0.5)
        follow()
        layer.weight_hh_l1 = nn.Parameter(torch.randn_like(layer.weight_hh_l1) / 3)
        follow()
        before = [s.clone() for s in stream.state]
        stream.reset([1])
        for s, old in zip(stream.state, before):
            assert not s[:, 1].any()
            assert torch.equal(s[:, 0], old[:, 0])
        follow()

    return run_check


def _half(path: str = "portable", **options: Any) -> Callable[[Patch], None]:
    """What a call in bfloat16 gives; twice, of two sets of weights, which are read anew each time."""

    def run_check(patch: Patch) -> None:
        if path == TILES and not machine.host().tiles:
            pytest.skip("this processor multiplies no tiles of bfloat16 numbers")
        take(path, patch)
        patch.setattr(around, "STEPS_AGAIN", 2)
        patch.setattr(around, "ROWS_AGAIN", 1)
        for seed in range(2):
            call = make(dtype=torch.bfloat16, seed=seed, **{"hidden": 33, "features": 5, **options})
            expected = exact(call)
            assert_all_close(outcome(call, "llvm"), expected, torch.bfloat16)
            assert_close(inference(call), expected["output"], dtype=torch.bfloat16)

    return run_check


KERNEL_CHECKS: dict[str, Callable[[Patch], None]] = {
    "plain": _kernel_check(FEW),
    "ragged": _kernel_check(FEW, lengths=True, bidirectional=True),
    "resets": _kernel_check(FEW, kind="gru", reset=True, bidirectional=True),
    "layer norm": _kernel_check(FEW, layer_norm=True),
    "heads": _kernel_check(FEW, heads=True),
    "gradient clipping": _kernel_check(FEW, grad_clip=True, kind="rnn"),
    "spans": _in_spans,
    "recomputed": _recomputed(lengths=True, bidirectional=True),
    "recomputed with resets": _recomputed(reset=True, layer_norm=True),
    "threads that share the sequences": _kernel_check(MANY, threads=2),
    "threads that share the units": _kernel_check(FEW, threads=2),
    "NaN": _of_nan,
    "stream": _of_streams(2),
    "stream of many": _of_streams(llvm_stream.RAW_BATCH + 1),
    "half": _kernel_check(FEW, dtype="bfloat16"),
    "half with heads": _half(heads=3, proj_size=12),
    "half recomputed": _half(recompute=True, ragged=True),
    "half of whole pieces": _half(hidden=64, features=32),
    "half GRU": _half(kind="GRU", reset_after=False, batch=3),
    "tiles": _half(TILES, batch=40, hidden=100, features=33),
    "tiles of more and more rows": _half(TILES, batch=13, ragged=True, bidirectional=True),
    "tiles over many steps": _half(TILES, steps=60, batch=10),
}
KERNEL_MUTANTS: dict[str, tuple[Callable[[Patch], None], tuple[str, ...]]] = {}


def kernel_mutant(*checks: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """A way to break the compiled engine, and which of its checks must notice, each of them."""

    def add(function: Callable[[Patch], None]) -> Callable[[Patch], None]:
        KERNEL_MUTANTS[function.__name__.removeprefix("_").replace("_", " ")] = function, checks
        return function

    return add


def _around(patch: Patch, of: Any, name: str, body: Callable[..., Any]) -> None:
    """Replace a method by one that is given the original first."""
    original = getattr(of, name)
    patch.setattr(of, name, lambda *arguments, **named: body(original, *arguments, **named))


# In bfloat16.


@kernel_mutant("half", "half with heads", "tiles")
def _factor_of_a_state_not_brought_up_to_date(patch: Patch) -> None:
    def stale(original: Any, self: Any, value: Any, array: str, slot: Any) -> None:
        if not array.startswith("factor:"):
            original(self, value, array, slot)

    _around(patch, emit._Body, "put", stale)


@kernel_mutant("half GRU")
def _factor_of_a_spilled_value_not_written(patch: Patch) -> None:
    def lost(original: Any, self: Any, value: Any, array: str, slot: Any) -> None:
        if not array.startswith("factor_"):
            original(self, value, array, slot)

    _around(patch, emit._Body, "put", lost)


@kernel_mutant("half", "half with heads", "tiles")
def _factor_of_the_first_state_not_written(patch: Patch) -> None:
    patch.setattr(emit.Kernel, "emit_first_factor", lambda *_: None)


@kernel_mutant("tiles of more and more rows")
def _factor_of_the_first_state_in_one_place_only(patch: Patch) -> None:
    def one(original: Any, self: Any, code: Any, *arguments: Any) -> None:
        field = self.field
        self.field = lambda code, name, *typ: code.number(0) if name == "factor:h.slot" else field(code, name, *typ)
        original(self, code, *arguments)
        del self.field

    _around(patch, emit.Kernel, "emit_first_factor", one)


@kernel_mutant("half", "half with heads", "tiles")
def _what_lies_between_the_slots_not_blank(patch: Patch) -> None:
    patch.setattr(run.Call, "blank", lambda _self, kept, _width: kept)


@kernel_mutant("half with heads")
def _sums_of_a_second_run_of_operands_not_added(patch: Patch) -> None:
    def fresh(original: Any, self: Any, code: Any, *arguments: Any) -> None:
        original(self, code, *arguments[:-1], ir.Constant(ir.IntType(1), 0))

    _around(patch, emit.Kernel, "emit_tile", fresh)


@kernel_mutant("half", "half GRU")
def _two_numbers_of_a_pair_exchanged(patch: Patch) -> None:
    def exchanged(original: Any, self: Any, code: Any, pair: Any) -> Any:
        sixteen = ir.Constant(ir.IntType(32), 16)
        return original(self, code, code.b.or_(code.b.shl(pair, sixteen), code.b.lshr(pair, sixteen)))

    _around(patch, halves.Halves, "pair_in_all_lanes", exchanged)


@kernel_mutant("half", "tiles")
def _two_numbers_of_a_pair_exchanged_when_a_weight_is_packed(patch: Patch) -> None:
    def exchanged(original: Any, self: Any, code: Any, source: Any, strides: Any, exist: Any, to: Any) -> None:
        at = self.at

        def other(code: Any, pointer: Any, offset: Any, half: bool = False) -> Any:
            return at(code, pointer, code.b.xor(offset, code.number(1)) if pointer is to else offset, half)

        self.at = other
        original(self, code, source, strides, exist, to)
        del self.at

    _around(patch, halves.Halves, "pack_singly", exchanged)


@kernel_mutant("half", "tiles")
def _all_but_the_first_row_at_the_edge_of_a_weight_lost(patch: Patch) -> None:
    def first(original: Any, self: Any, code: Any, source: Any, strides: Any, exist: Any, to: Any) -> None:
        rows = code.b.select(code.b.icmp_signed(">", exist[0], code.number(1)), code.number(1), exist[0])
        original(self, code, source, strides, (rows, exist[1]), to)

    _around(patch, halves.Halves, "pack_singly", first)


@kernel_mutant("half recomputed")
def _factors_not_put_aside_between_spans(patch: Patch) -> None:
    def blank(original: Any, self: Any, span: rows.Span) -> Any:
        frame = self.run.call.frame
        self.before[:, : frame.blank.stop - frame.carried.start] = 0
        return original(self, span)

    _around(patch, run._Again, "over", blank)


@kernel_mutant("tiles of more and more rows")
def _tiles_not_set_again_for_other_rows(patch: Patch) -> None:
    def once(original: Any, self: Any) -> Any:
        compare = ir.IRBuilder.icmp_signed

        def unset(builder: Any, order: str, one: Any, other: Any, *rest: Any) -> Any:
            if order == "!=":
                return compare(builder, "==", one, ir.Constant(ir.IntType(64), 0), *rest)
            return compare(builder, order, one, other, *rest)

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(ir.IRBuilder, "icmp_signed", unset)
            return original(self)

    _around(patch, halves.Halves, "emit_configure", once)


@kernel_mutant("tiles")
def _second_tile_of_rows_read_from_the_first(patch: Patch) -> None:
    upper = []

    def same(original: Any, self: Any, code: Any, name: str, *arguments: Any) -> None:
        if name == "tileloadd64" and arguments[0] == 4:
            upper[:] = arguments[1:]
        if name == "tileloadd64" and arguments[0] == 5 and len(upper) and code.function.name.endswith("_two"):
            arguments = (5, *upper)
        original(self, code, name, *arguments)

    _around(patch, halves.Halves, "amx", same)


@kernel_mutant("tiles over many steps")
def _gradients_of_weights_of_the_last_rows_alone(patch: Patch) -> None:
    def fresh(original: Any, self: Any, code: Any, name: str, *arguments: Any) -> None:
        if name == "tileloadd64" and isinstance(arguments[0], int) and arguments[0] < 4:
            name, arguments = "tilezero", arguments[:1]
        original(self, code, name, *arguments)

    _around(patch, tiles.TileMatmul, "amx", fresh)


@kernel_mutant("tiles")
def _gradients_of_weights_added_to_what_is_there(patch: Patch) -> None:
    def added(original: Any, result: Tensor, a: Tensor, b: Tensor, add: bool, target: machine.Target) -> None:
        original(result, a, b, True, target)

    _around(patch, learned, "tile_matmul", added)


# What is run again.


@kernel_mutant("recomputed", "recomputed with resets")
def _every_span_run_again_from_the_first_state(patch: Patch) -> None:
    def first(original: Any, self: Any, span: rows.Span) -> Any:
        self.before = self.first.expand(len(self.before), -1)
        return original(self, span)

    _around(patch, run._Again, "over", first)


@kernel_mutant("recomputed", "recomputed with resets")
def _spans_run_again_from_the_state_of_the_next_one(patch: Patch) -> None:
    def rolled(original: Any, self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        self.before = self.before.roll(-1, 0)

    _around(patch, run._Again, "__init__", rolled)


@kernel_mutant("recomputed")
def _the_first_span_run_again_from_what_is_left(patch: Patch) -> None:
    def left(original: Any, self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        self.first = self.run.call.carried

    _around(patch, run._Again, "__init__", left)


# Vectors.


@kernel_mutant("plain", "stream")
def _last_unit_masked_away(patch: Patch) -> None:
    def one_less(original: Any, self: Any, at: code.Code, count: Any) -> Any:
        return original(self, at, at.b.sub(count, at.number(1)))

    _around(patch, emit.Kernel, "first_lanes", one_less)


@kernel_mutant("plain", "stream of many")
def _units_past_the_last_whole_vector_left_out(patch: Patch) -> None:
    _around(patch, emit._Body, "emit", lambda original, self: None if self.mask is not None else original(self))


@kernel_mutant("layer norm")
def _mean_over_lanes_that_are_no_units(patch: Patch) -> None:
    def unmasked(original: Any, self: Any, *arguments: Any) -> None:
        mask, self.mask = self.mask, None
        original(self, *arguments)
        self.mask = mask

    _around(patch, emit._Body, "add_up", unmasked)


def _swallowing(patch: Patch, name: str, order: str) -> None:
    """A bound in place of NaN: the comparison the other way round."""

    def bounded(self: Any, bound: float, x: Any) -> Any:
        c = self.splat(bound)
        return self.builder.select(self.builder.fcmp_ordered(order, x, c), x, c)

    patch.setattr(functions.Emitter, name, bounded)


@kernel_mutant("NaN")
def _NaN_swallowed_by_an_upper_bound(patch: Patch) -> None:
    _swallowing(patch, "_at_most", "<")


@kernel_mutant("NaN")
def _NaN_swallowed_by_a_lower_bound(patch: Patch) -> None:
    _swallowing(patch, "_at_least", ">")


@kernel_mutant("NaN")
def _NaN_swallowed_by_the_larger_or_smaller_of_two(patch: Patch) -> None:
    def chosen(self: Any, order: str, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(order, a, b), a, b)

    patch.setattr(functions.Emitter, "_chosen", chosen)


# Threads.


@kernel_mutant("threads that share the sequences")
def _sequence_that_no_thread_takes(patch: Patch) -> None:
    def one_less(original: Any, self: Any, code: Any, part: Any, team: Any, where: Any, sums: Any) -> None:
        b = code.b
        first = b.and_(
            b.icmp_signed("==", team.thread, code.number(0)), b.icmp_signed(">", team.threads, code.number(1))
        )
        lost = b.select(b.and_(first, b.not_(team.shared)), code.number(1), code.number(0))
        original(self, code, part, team, replace(where, rows=b.sub(where.rows, lost)), sums)

    _around(patch, emit.Kernel, "emit_pass", one_less)


@kernel_mutant("threads that share the units")
def _units_that_no_thread_takes(patch: Patch) -> None:
    def one_more(original: Any, self: Any, code: Any, part: Any, team: Any, *rest: Any) -> None:
        original(self, code, part, replace(team, threads=code.b.add(team.threads, code.number(1))), *rest)

    _around(patch, emit.Kernel, "emit_pass", one_more)


@kernel_mutant("threads that share the sequences", "threads that share the units")
def _weights_that_no_thread_packs(patch: Patch) -> None:
    def short(original: Any, self: Any, code: Any, *rest: Any) -> None:
        share = self.share

        def lost(code: Any, count: Any, thread: Any, threads: Any) -> Any:
            low, high = share(code, count, thread, threads)
            several = code.b.icmp_signed(">", threads, code.number(1))
            return low, code.b.select(several, code.b.sub(high, code.number(1)), high)

        self.share = lost
        original(self, code, *rest)
        del self.share

    _around(patch, emit.Kernel, "emit_packing", short)


# Packing.


@kernel_mutant("plain", "stream of many", "half of whole pieces", "tiles over many steps")
def _squares_of_a_weight_not_turned(patch: Patch) -> None:
    def copied(self: Any, code: Any, vectors: Any, target: Any, step: Any) -> None:
        for r, row in enumerate(vectors):
            self.save(code, row, self.at(code, target, code.b.mul(code.number(r), step)), None)

    patch.setattr(multiplied.Products, "transpose", copied)


@kernel_mutant("plain", "stream of many")
def _rows_past_the_last_square_not_packed(patch: Patch) -> None:
    def short(original: Any, self: Any, low: Any, high: Any, *step: Any) -> Any:
        if self.function.name == "pack" and isinstance(low, ir.instructions.SelectInstr):  # the loop over the rest
            high = self.b.select(self.b.icmp_signed(">", low, self.number(0)), low, high)
        return original(self, low, high, *step)

    _around(patch, code.Code, "loop", short)


def _source(patch: Patch, change: Callable[[frame.Source], frame.Source]) -> None:
    patch.setattr(kernels, "Source", lambda *arguments: change(frame.Source(*arguments)))


@kernel_mutant("plain", "stream")
def _gates_of_a_weight_in_another_order(patch: Patch) -> None:
    _source(patch, lambda source: source._replace(results=source.results[::-1]))


@kernel_mutant("plain", "stream")
def _rows_of_a_weight_one_number_too_close(patch: Patch) -> None:
    _source(patch, lambda source: source._replace(across=max(1, source.across - 1)))


@kernel_mutant("heads")
def _heads_go_back_by_the_weights_of_others(patch: Patch) -> None:
    _source(patch, lambda source: source._replace(head=0))


@kernel_mutant("plain", "ragged", "half", "tiles")
def _weights_packed_in_the_first_call_only(patch: Patch) -> None:
    memories: dict[frame.Frame, Any] = {}
    packed: set[int] = set()

    def same_memory(original: Any, self: Any) -> Any:
        arguments, memory = memories.setdefault(self, original(self))
        return type(arguments).from_buffer_copy(arguments), memory

    def begin(original: Any, self: Any, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        compiled, pack, place = self.run, self.place["pack"], self.place["barrier"]

        def stale(address: int, threads: int) -> None:
            given = (ctypes.c_int64 * len(self.place)).from_address(address)
            if given[place] in packed:
                given[pack] = 0
            packed.add(given[place])
            compiled(address, threads)

        self.run = stale

    _around(patch, frame.Frame, "arguments", same_memory)
    _around(patch, frame.Compiled, "__init__", begin)


# States, lengths, resets.


def _field(patch: Patch, final: bool, change: Callable[[Any, str, Any], Any]) -> None:
    """Change what is read of the arguments while the first states, or the final ones, are copied."""

    def changed(original: Any, self: Any, code: Any, *threads: Any, **which: bool) -> None:
        field = self.field
        if which["final"] == final:
            self.field = lambda code, name, *typ: change(code, name, field(code, name, *typ))
        original(self, code, *threads, **which)
        self.__dict__.pop("field", None)

    _around(patch, emit.Kernel, "emit_states", changed)


@kernel_mutant("plain", "ragged")
def _final_state_from_the_other_place(patch: Patch) -> None:
    _field(patch, True, lambda code, name, v: code.b.sub(code.number(1), v) if name == "back" else v)


@kernel_mutant("plain", "ragged")
def _first_state_in_one_place_only(patch: Patch) -> None:
    _field(patch, False, lambda code, name, v: code.number(0) if name in ("state:h.slot", "state:c.slot") else v)


@kernel_mutant("plain", "ragged")
def _state_of_the_wrong_parity_against_time(patch: Patch) -> None:
    def swapped(original: Any, self: Any, code: Any, part: Any, team: Any, where: Any, sums: Any) -> None:
        b, back = code.b, code.b.icmp_signed("!=", self.field(code, "back"), code.number(0))
        one, other = where.slot_in, where.slot_out
        where = replace(where, slot_in=b.select(back, other, one), slot_out=b.select(back, one, other))
        original(self, code, part, team, where, sums)

    _around(patch, emit.Kernel, "emit_pass", swapped)


@kernel_mutant("resets")
def _reset_boundary_one_step_off(patch: Patch) -> None:
    def moved(original: Any, self: Any, name: str, tensor: Tensor) -> None:
        original(self, name, tensor.roll(1, 0) if name == "resets" else tensor)

    _around(patch, run.Call, "table", moved)


@kernel_mutant("resets")
def _reset_overlooked_on_the_way_back(patch: Patch) -> None:
    def overlooked(original: Any, self: Any, backward: bool, resets: bool, clip: float) -> Any:
        return original(self, backward, resets and not backward, clip)

    _around(patch, lowering._Builder, "step", overlooked)


@kernel_mutant("ragged")
def _order_of_the_lengths_not_undone(patch: Patch) -> None:
    def sorted_only(original: Any, self: Any, *sizes: Any) -> None:
        original(self, *sizes)
        if self.ragged:
            self.order = torch.arange(self.batch)

    _around(patch, rows.Rows, "__init__", sorted_only)


# Spans, and the way back.


@kernel_mutant("spans")
def _step_lost_where_a_span_ends(patch: Patch) -> None:
    def short(original: Any, self: Any, *arguments: Any) -> list[rows.Span]:
        spans = original(self, *arguments)
        return [s._replace(last=s.last - (s.last < self.steps and s.last - s.first > 1)) for s in spans]

    _around(patch, rows.Rows, "spans", short)


@kernel_mutant("spans")
def _row_lost_where_a_span_begins(patch: Patch) -> None:
    def short(original: Any, self: Any, d: Tensor, projected: Any, x: Tensor, kept: Any, to_x: Any) -> None:
        if self.begun:
            d, x, kept = d[1:], x[1:], {name: t[1:] for name, t in kept.items()}
            projected, to_x = (None if t is None else t[1:] for t in (projected, to_x))
        original(self, d, projected, x, kept, to_x)

    _around(patch, learned.Learned, "add", short)


@kernel_mutant("spans")
def _only_the_last_span_counts(patch: Patch) -> None:
    def forgetful(original: Any, self: Any, *arguments: Any) -> None:
        self.found.clear()
        original(self, *arguments)

    _around(patch, learned.Learned, "add", forgetful)


@kernel_mutant("spans")
def _biases_of_the_first_span_only(patch: Patch) -> None:
    def once(original: Any, self: Any, *arguments: Any) -> None:
        totals = None if self.totals is None else self.totals.clone()
        original(self, *arguments)
        self.totals = self.totals if totals is None else totals

    _around(patch, learned.Learned, "add", once)


@kernel_mutant("plain", "layer norm", "spans")
def _bias_of_the_input_doubled(patch: Patch) -> None:
    def doubled(original: Any, *arguments: Any) -> Tensor | None:
        bias = original(*arguments)
        return None if bias is None else 2 * bias

    _around(patch, run, "input_bias", doubled)


@kernel_mutant("plain", "ragged")
def _two_kept_values_swapped_on_the_way_back(patch: Patch) -> None:
    def swapped(original: Any, self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        one, other, *_ = [n for n, kept in self.kept.items() if kept.array == "gates"]
        self.kept[one], self.kept[other] = self.kept[other], self.kept[one]

    _around(patch, lowering._Back, "__init__", swapped)


@kernel_mutant("gradient clipping")
def _gradient_not_clipped_in_the_kernel(patch: Patch) -> None:
    _around(
        patch,
        lowering._Builder,
        "step",
        lambda original, self, backward, resets, clip: original(self, backward, resets, 0.0),
    )


# The stream.


@kernel_mutant("stream", "stream of many")
def _stream_tells_the_state_of_the_step_before(patch: Patch) -> None:
    def other(self: Any, k: int) -> list[Any]:
        return [ring[self.odd ^ 1] for ring in self.layers[k].rings]

    patch.setattr(llvm_stream.Stepper, "states", other)


@kernel_mutant("stream", "stream of many")
def _stream_keeps_the_biases_it_saw_first(patch: Patch) -> None:
    def copied(original: Any, self: Any, weights: Sequence[Tensor]) -> None:
        names = kernels.names_of(self.program)
        original(self, [w.clone() if n.startswith("bias") else w for n, w in zip(names, weights)])

    _around(patch, llvm_stream._Layer, "bind", copied)


@kernel_mutant("stream of many")
def _stream_packs_its_weights_once(patch: Patch) -> None:
    def once(original: Any, self: Any) -> None:
        original(self)
        for layer in self.layers if self.odd == 0 else ():
            for arguments in layer.arguments:
                arguments[layer.kernel.place["pack"]] = 0

    _around(patch, llvm_stream.Stepper, "step", once)


@kernel_mutant("stream", "stream of many")
def _stream_does_not_follow_the_layer(patch: Patch) -> None:
    patch.setattr(Stream, "_refresh", lambda self: None)


@kernel_mutant("stream")
def _rest_of_a_row_of_the_weight_not_multiplied(patch: Patch) -> None:
    def short(original: Any, self: Any, tail: bool) -> Any:
        load = self.load
        self.load = lambda code, at, mask: self.zero if mask is not None else load(code, at, mask)
        found = original(self, tail)
        del self.load
        return found

    _around(patch, multiplied.Products, "dots", short)


@kernel_mutant("stream")
def _lanes_of_a_sum_in_another_order(patch: Patch) -> None:
    _around(patch, multiplied.Products, "totals", lambda original, self, code, found: original(self, code, found[::-1]))


@pytest.fixture
def _portable(monkeypatch: Patch) -> None:
    """The vectors that every machine has."""
    monkeypatch.setenv(machine.VARIABLE, "portable")


@pytest.mark.usefixtures("_portable")
@pytest.mark.parametrize("name", KERNEL_CHECKS)
def test_the_compiled_engine_as_it_is_passes(name: str, monkeypatch: Patch) -> None:
    KERNEL_CHECKS[name](monkeypatch)


@pytest.mark.usefixtures("_portable")
@pytest.mark.parametrize(
    ("name", "caught_by"),
    [
        # Each is caught by one check at once, and by the others where there is time.
        pytest.param(name, check, marks=[] if k == 0 else [pytest.mark.full], id=f"{name}-{check}")
        for name, (_, checks) in KERNEL_MUTANTS.items()
        for k, check in enumerate(checks)
    ],
)
def test_the_checks_of_the_compiled_engine_catch(name: str, caught_by: str, monkeypatch: Patch) -> None:
    KERNEL_MUTANTS[name][0](monkeypatch)
    with pytest.raises(AssertionError):
        KERNEL_CHECKS[caught_by](monkeypatch)


def test_there_are_at_least_twenty_five_mutants_of_the_compiled_engine() -> None:
    assert len(KERNEL_MUTANTS) >= 25
