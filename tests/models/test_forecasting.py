"""Forecasters against slow float64 loops over one window at a time, and what must hold whatever they have learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from holdfast.models import AutoregressiveForecaster, Forecasting, PatchForecaster, Window
from holdfast.models.forecasting import BASES, filled
from holdfast.models.likelihoods import LIKELIHOODS
from tests.oracles import sequences
from tests.support import assert_close

Array = np.ndarray[Any, Any]

LEVELS = (0.1, 0.25, 0.5, 0.9)
TOLD: dict[str, Any] = {"past": 2, "future": 3, "calendar": 4, "static": 2, "series": 5}
KINDS: dict[str, dict[str, Any]] = {
    "patches on last": {"patch": 4, "base": "last"},
    "patches on mixture": {"patch": 4, "base": "mixture"},
    "patches on linear": {"patch": 4, "base": "linear"},
    "steps": {"patch": 1, "base": "mixture"},
    "autoregressive": {},
}


def forecaster(kind: str = "patches on mixture", **given: Any) -> Forecasting:
    """A small model in float64 and evaluation mode, no weight of which is as it was first drawn."""
    options: dict[str, Any] = {"horizon": 6, "context": 14, "levels": LEVELS, "seasons": (3, 8), "hidden": 5, **given}
    make: Callable[..., Forecasting] = AutoregressiveForecaster if kind == "autoregressive" else PatchForecaster
    model = make(**{**KINDS[kind], **options}).double()
    draw = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=draw, dtype=weight.dtype))
    return model.eval()


def window_for(model: Forecasting, rows: int = 3, seed: int = 5, missing: float = 0.0) -> tuple[Window, Tensor]:
    """Series at different places and of different sizes, and what comes; some values may be missing."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    steps, told = model.context + model.horizon, model.told
    scale = torch.rand(rows, generator=draw, dtype=torch.float64) * 4 + 0.5
    level = 30 * normal(rows, 1)
    values = level + scale[:, None] * normal(rows, steps).cumsum(1)
    values[torch.rand(values.shape, generator=draw) < missing] = torch.nan
    series = torch.arange(rows) % 6 if model.series is not None else torch.zeros(rows, dtype=torch.long)
    past, static = normal(rows, model.context, told["past"]), normal(rows, told["static"])
    future, calendar = normal(rows, steps, told["future"]), normal(rows, steps, told["calendar"])
    window = Window(values[:, : model.context], past, future, calendar, static, series, scale)
    return window, values[:, model.context :]


# ---------------------------------------------------------------------------------------------------------------------
# The oracle: NumPy in float64, one window and one step at a time
# ---------------------------------------------------------------------------------------------------------------------


class Slow:
    """A model's weights as arrays, and what its docstrings say is done with them."""

    def __init__(self, model: Any, window: Window, row: int) -> None:
        self.model = model
        self.weights = {name: t.double().numpy() for name, t in model.state_dict().items() if name != "_extra_state"}
        self.values = window.values[row].numpy()
        self.known = [bool(np.isfinite(v)) for v in self.values]
        self.past, self.future = window.past[row].numpy(), window.future[row].numpy()
        self.calendar, self.static = window.calendar[row].numpy(), window.static[row].numpy()
        self.series, self.scale = int(window.series[row]), float(window.scale[row])

    def linear(self, name: str, x: Array) -> Array:
        y = self.weights[f"{name}.weight"] @ x
        return y + self.weights[f"{name}.bias"] if f"{name}.bias" in self.weights else y

    def layers(self, inputs: list[Array], state: list[Tensor] | None) -> tuple[list[Array], list[Tensor] | None]:
        """The recurrent layers over some steps; each a vector."""
        if not inputs:
            return [], state
        rnn = self.model.rnn
        setup = sequences.Setup("lstm", rnn.hidden_size, rnn.num_layers)
        weights = {n.removeprefix("rnn."): torch.from_numpy(w) for n, w in self.weights.items() if n.startswith("rnn.")}
        x = torch.from_numpy(np.stack(inputs))[:, None]
        output, state = sequences.run(setup, weights, x, state, None, None, sequences.Noise())
        return [step[0].numpy() for step in output], state

    def about(self) -> Array:
        found = np.zeros(self.model.rnn.hidden_size)
        if "series.weight" in self.weights:
            found = found + self.weights["series.weight"][self.series]
        return found + self.linear("static", self.static) if "static.weight" in self.weights else found

    def filled(self, values: Array) -> list[float]:
        known = [v for v in values if np.isfinite(v)]
        found, last = [], known[0]
        for v in values:
            last = v if np.isfinite(v) else last
            found.append(float(last))
        return found


def paths_of(model: Any, window: Window, count: int) -> Tensor:
    """Paths after a window, (B, count, H)."""
    with torch.no_grad():
        found: Tensor = model.paths(window, filled(window.values), model.begin(window), count)
    return found


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def slow_patches(model: Any, window: Window, row: int) -> tuple[Array, Array]:
    """What a patch forecaster says of one window: numbers (H, size), and base (H,)."""
    slow = Slow(model, window, row)
    size, context, horizon = model.patch, model.context, model.horizon
    values = slow.filled(slow.values)
    read: list[Array] = []
    for begin in range(context % size, context, size):
        steps = range(begin, begin + size)
        if not any(slow.known[: begin + size]):
            continue  # the series has not begun
        end = values[begin + size - 1]
        parts = [(values[t] - end) / slow.scale for t in steps]
        parts.append((end - values[begin - 1]) / slow.scale if read else 0.0)
        if model.gaps:
            parts += [float(slow.known[t]) for t in steps]
        parts += [v for t in steps for v in slow.past[t]]
        parts += [v for t in steps for v in slow.future[t]]
        parts += list(slow.calendar[begin + size - 1])
        read.append(relu(slow.linear("into", np.array(parts))))
    _, state = slow.layers(read, None)
    asked = []
    for k in range(-(-horizon // size)):
        steps = [context + min(t, horizon - 1) for t in range(k * size, (k + 1) * size)]
        one = slow.weights["place"][k] + slow.about()
        if "ahead.weight" in slow.weights:
            ahead = [v for t in steps for v in slow.future[t]]
            one = one + slow.linear("ahead", np.array(ahead + list(slow.calendar[steps[-1]])))
        asked.append(one)
    said, _ = slow.layers(asked, state)
    numbers = np.concatenate([slow.linear("out", s).reshape(size, -1) for s in said])[:horizon]
    if numbers.shape[1] == len(LEVELS):  # quantiles: all but the median in units of how much the context moved
        begun = values[list(slow.known).index(True) :] if any(slow.known) else [0.0]
        moved, middle = max(0.1, float(np.std(begun)) / slow.scale), LEVELS.index(0.5)
        for one in numbers:
            one[:] = [said if k == middle else one[middle] + said * moved for k, said in enumerate(one.copy())]
    base = []
    for h in range(horizon):
        if model.weigh is not None:
            guesses = [values[-1]] + [values[context - m + h % m] for m in model.seasons]
            base.append(softmax(slow.linear("weigh", said[h // size])) @ np.array(guesses))
        elif model.linear is not None:
            inputs = (np.array(values) - values[-1]) / slow.scale
            base.append(values[-1] + slow.scale * slow.linear("linear", inputs)[h])
        else:
            base.append(values[-1])
    return numbers, np.array(base)


def slow_steps(model: Any, window: Window, row: int, ahead: Array | None) -> tuple[Array, Array]:
    """What an autoregressive forecaster says of each step after the first known value: (steps, size), (steps,).

    Args:
        ahead: what comes; None: what is said of each step, of which all numbers are the same, is taken for it.
    """
    slow = Slow(model, window, row)
    context, total = model.context, model.context + model.horizon
    every = np.concatenate([slow.values, ahead if ahead is not None else np.full(model.horizon, np.nan)])
    begin = next(t for t in range(context) if slow.known[t])
    values: list[float] = []
    state: list[Tensor] | None = None
    numbers, bases = [], []
    for t in range(total - 1):  # what is said of the step t + 1
        told = bool(np.isfinite(every[t]))
        values.append(float(every[t]) if told else values[-1] if t >= begin else float(every[begin]))
        if t < begin:
            continue
        seasonal = [values[max(t + 1 - m, 0)] for m in model.seasons]
        parts = [(values[t] - values[max(t - 1, 0)]) / slow.scale] + [(v - values[t]) / slow.scale for v in seasonal]
        if model.gaps:
            parts.append(float(told))
        parts += [*slow.past[min(t, context - 1)], *slow.future[t + 1], *slow.calendar[t + 1]]
        (output,), state = slow.layers([relu(slow.linear("into", np.array(parts)))], state)
        features = output + slow.about()
        numbers.append(slow.linear("out", features))
        bases.append(softmax(slow.linear("weigh", features)) @ np.array([values[t], *seasonal]))
        if ahead is None and t + 1 >= context:
            every[t + 1] = bases[-1] + slow.scale * numbers[-1][0]
    return np.stack(numbers), np.array(bases)


def pinball(numbers: Array, base: Array, scale: float, target: Array) -> list[float]:
    """Of each known target the mean pinball loss, and half the absolute error of the median."""
    found = []
    for n, b, y in zip(numbers, base, target):
        if np.isfinite(y):
            over = [(y - b) / scale - q for q in n]
            each = [max(level * o, (level - 1) * o) for level, o in zip(LEVELS, over)]
            found.append(float(np.mean(each)) + abs(over[LEVELS.index(0.5)]) / 2)
    return found


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all that can be told": TOLD,
    "gaps": {"gaps": True, **TOLD},
    "one season longer than the horizon": {"seasons": (11,)},
    "no season": {"seasons": ()},
    "a season longer than the context": {"seasons": (4, 15)},
    "a horizon shorter than a patch": {"horizon": 3, "future": 1, "calendar": 2},
    "a context of one patch": {"context": 4, "past": 1},
    "two layers": {"layers": 2},
    "three numbers a step": {"likelihood_name": "student-t"},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "autoregressive"])
def test_patches_are_read_and_said_as_the_slow_loop_does(kind: str, variant: str) -> None:
    model: Any = forecaster(kind, **VARIANTS[variant])
    window, targets = window_for(model, missing=0.3 if model.gaps else 0.0)
    found = model.numbers(model.begin(window), window)
    losses: list[float] = []
    for row in range(len(targets)):
        numbers, base = slow_patches(model, window, row)
        assert_close(found.numbers[row], torch.from_numpy(numbers), "numbers")
        assert_close(found.base[row], torch.from_numpy(base), "base")
        if numbers.shape[1] == len(LEVELS):
            losses += pinball(numbers, base, float(window.scale[row]), targets[row].numpy())
    if losses:
        assert model.loss(window, targets).item() == pytest.approx(np.mean(losses), rel=1e-9)
        expected = found.base.unsqueeze(-1) + found.scale.unsqueeze(-1) * found.numbers.sort(-1).values
        assert_close(model.quantiles(window, LEVELS), expected, "quantiles")


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "three numbers a step"])
def test_the_autoregressive_loss_is_that_of_the_slow_loop(variant: str) -> None:
    model: Any = forecaster("autoregressive", **VARIANTS[variant])
    window, targets = window_for(model, missing=0.3 if model.gaps else 0.0)
    losses: list[float] = []
    for row in range(len(targets)):
        numbers, base = slow_steps(model, window, row, targets[row].numpy())
        every = torch.cat([window.values[row], targets[row]]).numpy()
        losses += pinball(numbers, base, float(window.scale[row]), every[len(every) - len(base) :])
    assert model.loss(window, targets).item() == pytest.approx(np.mean(losses), rel=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_path_without_chance_is_that_of_the_slow_loop(variant: str) -> None:
    model: Any = forecaster("autoregressive", **{**VARIANTS[variant], "likelihood_name": "quantiles"})
    with torch.no_grad():  # all quantiles of a step are the same, so nothing is left to chance
        model.out.weight.copy_(model.out.weight[:1].expand_as(model.out.weight).clone())
        model.out.bias.fill_(0.1)
    window, _ = window_for(model, missing=0.3 if model.gaps else 0.0)
    with torch.no_grad():
        found = paths_of(model, window, count=3)
    for row in range(len(window.values)):
        numbers, base = slow_steps(model, window, row, None)
        expected = torch.from_numpy(base + float(window.scale[row]) * numbers[:, 0])[-model.horizon :]
        for path in found[row]:
            assert_close(path, expected, f"row {row}")
    assert_close(model.quantiles(window, (0.2, 0.7))[..., 1], found[:, 0])


def test_a_forecast_is_the_quantiles_of_paths_that_differ() -> None:
    model: Any = forecaster("autoregressive", **TOLD)
    window, _ = window_for(model)
    with torch.no_grad():
        paths = paths_of(model, window, count=100)
        found = model.quantiles(window, (0.2, 0.5, 0.8))
    assert_close(found, torch.quantile(paths, paths.new_tensor([0.2, 0.5, 0.8]), 1).permute(1, 2, 0))
    assert (found.diff(dim=-1) > 0).all()


# ---------------------------------------------------------------------------------------------------------------------
# What must hold
# ---------------------------------------------------------------------------------------------------------------------


def test_missing_values_are_filled_forward_and_before_the_first_one_backward() -> None:
    nan = torch.nan
    rows = torch.tensor([[nan, nan, 2.0, nan, 3.0], [nan] * 5, [1.0, nan, nan, torch.inf, 4.0]])
    assert filled(rows).tolist() == [[2, 2, 2, 2, 3], [0] * 5, [1, 1, 1, 1, 4]]


@pytest.mark.parametrize("length", [1, 5, 7, 8, 12])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "patches on linear"])
def test_a_series_that_has_just_begun_is_forecast_as_with_a_shorter_context(kind: str, length: int) -> None:
    options: dict[str, Any] = {**TOLD, "gaps": True, "seasons": (3,)}
    long: Any = forecaster(kind, context=16, **options)
    patch = KINDS[kind].get("patch", 1)
    whole = max(3, length)
    short: Any = forecaster(kind, context=whole + -whole % patch, **options)
    short.load_state_dict(long.state_dict())
    window, _ = window_for(long)
    begin = 16 - length
    window.values[:, :begin] = torch.nan
    for beside in (window.past, window.future, window.calendar):
        beside[:, :begin] += 1.0  # whatever stands there
    cut = window._replace(
        **{n: getattr(window, n)[:, 16 - short.context :] for n in ("values", "past", "future", "calendar")}
    )
    with torch.no_grad():
        assert_close(long.quantiles(window, LEVELS), short.quantiles(cut, LEVELS))


@pytest.mark.parametrize("kind", KINDS)
def test_a_forecast_moves_and_stretches_with_its_series(kind: str) -> None:
    model = forecaster(kind, **TOLD)
    window, targets = window_for(model, missing=0.1)
    moved = window._replace(values=window.values * 7 - 40, scale=window.scale * 7)
    with torch.no_grad():
        assert_close(model.quantiles(moved, LEVELS), model.quantiles(window, LEVELS) * 7 - 40)
        assert_close(model.loss(moved, targets * 7 - 40), model.loss(window, targets))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_rows_of_a_batch_do_not_know_of_each_other(kind: str, likelihood: str) -> None:
    model = forecaster(kind, likelihood_name=likelihood, **TOLD)
    window, _ = window_for(model, rows=5, missing=0.1)
    order = torch.tensor([3, 0, 4, 2, 1])
    with torch.no_grad():
        found = model.quantiles(window, LEVELS)
        assert_close(model.quantiles(Window(*(t[order] for t in window)), LEVELS), found[order])
        assert_close(model.quantiles(Window(*(t[2:3] for t in window)), LEVELS), found[2:3])


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("kind", KINDS)
def test_missing_values_never_make_a_forecast_or_a_gradient_that_is_no_number(kind: str, likelihood: str) -> None:
    model = forecaster(kind, likelihood_name=likelihood, gaps=True, **TOLD)
    window, targets = window_for(model, rows=6)
    window = window._replace(values=window.values.abs().round())
    targets = targets.abs().round()
    window.values[0, :-1] = torch.nan
    window.values[1, 1:] = torch.nan
    window.values[2] = torch.nan
    window.values[3, 3:9] = torch.nan
    window.values[4] = torch.nan
    window.values[4, 0] = -5.0  # a base where a count has no probability
    targets[4] = torch.nan
    targets[5, 2:] = torch.nan
    with torch.no_grad():
        found = model.quantiles(window, LEVELS)
    assert found.isfinite().all()
    assert (found.diff(dim=-1) >= 0).all()
    for target in (targets, torch.full_like(targets, torch.nan)):
        model.zero_grad()
        loss = model.train().loss(window, target)
        loss.backward()
        assert loss.isfinite()
        for name, weight in model.named_parameters():
            assert weight.grad is None or weight.grad.isfinite().all(), name


def test_every_weight_learns() -> None:
    for kind in KINDS:
        model = forecaster(kind, gaps=True, **TOLD).train()
        model.loss(*window_for(model, rows=64)).backward()
        for name, weight in model.named_parameters():
            assert weight.grad is not None, (kind, name)
            assert weight.grad.abs().sum() > 0, (kind, name)


def test_what_layers_read_depends_on_nothing_later() -> None:
    patches: Any = forecaster("patches on last", gaps=True, **TOLD)
    window, _ = window_for(patches)
    values = window.values.clone().requires_grad_()
    read = patches.patches(window, values, window.scale[:, None])  # (T, B, …)
    for t in range(len(read)):
        (gradient,) = torch.autograd.grad(read[t].square().sum(), values, retain_graph=True)
        end = patches.context - (len(read) - 1 - t) * patches.patch
        assert gradient[:, :end].any()
        assert not gradient[:, end:].any()

    steps: Any = forecaster("autoregressive")
    guesses = steps.guesses(values)
    read = steps.seen(torch.cat([values[:, :1], values], 1), guesses, window.scale[:, None], torch.zeros(3, 14, 0))
    for t in range(1, steps.context):
        said = read[t].square().sum() + guesses[:, t].square().sum()
        (gradient,) = torch.autograd.grad(said, values, retain_graph=True)
        assert gradient[:, : t + 1].any()
        assert not gradient[:, t + 1 :].any()


def test_the_first_value_of_a_series_is_not_learned() -> None:
    model = forecaster("autoregressive")
    window, targets = window_for(model)
    window.values[:, :9] = window.values[:, 10:] = torch.nan
    assert model.loss(window, torch.full_like(targets, torch.nan)).item() == 0.0
    known = targets.clone()
    known[:, 1:] = torch.nan
    assert model.loss(window, known).item() > 0.0


def test_dropout_is_off_in_evaluation() -> None:
    for kind in KINDS:
        model = forecaster(kind, dropout=0.5, layers=2)
        window, targets = window_for(model)
        plain = forecaster(kind, layers=2)
        plain.load_state_dict(model.state_dict())
        assert torch.equal(model.loss(window, targets), plain.loss(window, targets))
        model.train()
        assert not torch.equal(model.loss(window, targets), model.loss(window, targets))


def test_a_new_series_has_a_number_of_its_own_that_is_learned_now_and_then() -> None:
    model = forecaster(**TOLD)
    window, _ = window_for(model)
    new = window._replace(series=torch.zeros(3, dtype=torch.long))
    before = model.quantiles(new, LEVELS)
    assert not torch.equal(before, model.quantiles(window, LEVELS))
    assert model.series is not None
    with torch.no_grad():
        model.series.weight[1:] += 1.0
    assert torch.equal(model.quantiles(new, LEVELS), before)
    numbers, static = torch.ones(4000, dtype=torch.long), torch.zeros(4000, 2, dtype=torch.float64)
    found = model.train().about(numbers, static)
    assert isinstance(found, Tensor)
    share = (found == model.series.weight[0]).all(1).double().mean().item()
    assert share == pytest.approx(0.1, abs=0.02)
    assert (model.eval().about(numbers, static) == model.series.weight[1]).all()
    assert (PatchForecaster(horizon=2, context=4, patch=2, levels=LEVELS, series=3).series.weight[0] == 0).all()  # type: ignore[union-attr]


def test_a_calibration_is_saved_with_the_weights() -> None:
    model, other = forecaster(), forecaster()
    model.calibration = {"levels": [0.1, 0.9], "tails": [{"above": [1]}], "ä": 1e-17}
    assert model.state_dict()["_extra_state"].dtype == torch.uint8
    other.load_state_dict(model.state_dict())
    assert other.calibration == model.calibration
    model.calibration = None
    other.load_state_dict(model.state_dict())
    assert other.calibration is None


@pytest.mark.parametrize("cell", ["gru", "rnn", "slstm"])
@pytest.mark.parametrize("kind", ["patches on mixture", "autoregressive"])
def test_every_cell_forecasts_and_learns(kind: str, cell: str) -> None:
    model = forecaster(kind, cell=cell)
    window, targets = window_for(model, missing=0.2)
    window.values[0, :6] = torch.nan
    with torch.no_grad():
        assert model.quantiles(window, LEVELS).isfinite().all()
    model.loss(window, targets).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"base": "seasonal"}, ValueError, f"base must be one of {', '.join(BASES)}; got 'seasonal'"),
        ({"patch": 0}, ValueError, "patch must be greater than zero; got 0"),
        ({"patch": 15}, ValueError, "patch must be at most the context, 14; got 15"),
        ({"horizon": 0}, ValueError, "horizon must be greater than zero; got 0"),
        ({"context": 1.5}, TypeError, "context should be of type int, got: float"),
        ({"hidden": -1}, ValueError, "hidden must be greater than zero; got -1"),
        ({"layers": 0}, ValueError, "layers must be greater than zero; got 0"),
        ({"seasons": (3, 0)}, ValueError, "a season must be greater than zero; got 0"),
        ({"dropout": 1.0}, ValueError, r"dropout must lie between 0 and 1 \(and under 1\); got 1.0"),
        ({"levels": (0.5, 0.1)}, ValueError, "levels must be numbers between 0 and 1 that rise"),
        ({"cell": "lstmm"}, ValueError, "cell must be one of lstm, gru, rnn, slstm; got 'lstmm'; did you mean 'lstm'?"),
        ({"likelihood_name": "normal"}, ValueError, "likelihood must be one of .*; got 'normal'"),
    ],
)
def test_what_a_model_cannot_be_made_of_is_refused(given: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message.replace("?", r"\?")):
        forecaster(**given)
