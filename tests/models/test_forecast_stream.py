"""A memory that is carried on says what reading everything in one go says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from holdfast.models import AutoregressiveForecaster, PatchForecaster, Window
from holdfast.models.forecast_stream import Row, stream

LEVELS = (0.1, 0.5, 0.9)
CONTEXT, HORIZON, MORE = 9, 5, 7


def made(kind: str) -> Any:
    told: dict[str, Any] = {"past": 1, "future": 2, "calendar": 2, "gaps": True, "seasons": (4,), "hidden": 6}
    options = {"horizon": HORIZON, "levels": LEVELS, **told}
    torch.manual_seed(2)
    if kind == "autoregressive":
        return AutoregressiveForecaster(context=CONTEXT, **options).double().eval()
    return PatchForecaster(context=CONTEXT, patch=3, base=kind, **options).double().eval()


def rows(length: int, missing: list[int]) -> Window:
    draw = torch.Generator().manual_seed(4)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    values = normal(1, length).cumsum(1) + 20
    values[:, missing] = torch.nan
    nothing = torch.zeros(1, 0, dtype=torch.float64)
    whole = length + HORIZON
    beside = (normal(1, length, 1), normal(1, whole, 2), normal(1, whole, 2), nothing)
    return Window(values, *beside, series=torch.zeros(1, dtype=torch.long), scale=torch.tensor([2.0]).double())


def part(window: Window, begin: int, end: int) -> Window:
    """The steps from one to another, and the horizon behind them."""
    cut = {n: getattr(window, n)[:, begin:end] for n in ("values", "past")}
    return window._replace(**cut, **{n: getattr(window, n)[:, begin : end + HORIZON] for n in ("future", "calendar")})


@pytest.mark.parametrize(
    "missing",
    [
        [],
        [2, 10, 11],
        [*range(8, 13)],  # whole patches in the middle
        [*range(8)],  # a series that has just begun
        [*range(7), 9, 12],
        [*range(5)],
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["last", "mixture", "autoregressive"])
def test_a_memory_that_goes_on_is_that_of_reading_in_one_go(kind: str, missing: list[int]) -> None:
    model = made(kind)
    window = rows(CONTEXT + MORE, missing)
    memory = stream(model, part(window, 0, CONTEXT))
    for more in range(MORE):
        end = CONTEXT + more
        whole = part(window, 0, end)
        with torch.no_grad():
            if kind == "autoregressive":
                paths = model.paths(whole, memory.values, model.begin(whole))
                expected = torch.quantile(paths, paths.new_tensor(list(LEVELS)), 1).permute(1, 2, 0)
            else:
                expected = model.quantiles(whole, LEVELS)
        found = memory.quantiles(window.future[:, end : end + HORIZON], window.calendar[:, end : end + HORIZON], LEVELS)
        torch.testing.assert_close(found, expected)
        beside = (window.past[:, end], window.future[:, end], window.calendar[:, end])
        memory.advance(Row(window.values[:, end], *beside))


def test_a_stream_is_of_one_series() -> None:
    two = Window(*(t.expand(2, *t.shape[1:]) for t in part(rows(CONTEXT, []), 0, CONTEXT)))
    with pytest.raises(ValueError, match="a stream is of one series; got 2"):
        stream(made("last"), two)
