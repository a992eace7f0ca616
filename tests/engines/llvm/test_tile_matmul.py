"""Gradients of weights in tiles, against sums in double precision."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from holdfast.engines.llvm import machine, threads
from holdfast.engines.llvm.tile_matmul import DEEP, WIDE, tile_matmul
from tests.engines.llvm.calls import HALF_PATHS, TILES

pytestmark = next(param.marks for param in HALF_PATHS if param.values[0] == TILES)

HALF = torch.bfloat16
ROWS = (32, 64, 96)  # of the result: units in whole pieces
COLUMNS = (32, 33, 47, WIDE + 1)
INNER = (1, 2, 31, 33, DEEP + 1, 2 * DEEP + 35)


def _inside(rows: int, columns: int, before: int = 3, after: int = 2) -> Tensor:
    """A matrix in the middle of a larger one, full of NaN beside it."""
    whole = torch.full((rows + 2, before + columns + after), float("nan"), dtype=HALF)
    inside = whole[1:-1, before : before + columns]
    inside.copy_(torch.randn(rows, columns))
    return inside


@pytest.mark.parametrize("add", [False, True], ids=["written", "added"])
@pytest.mark.parametrize("team", [1, 2])
def test_a_product_is_the_sum_of_its_products_and_touches_nothing_beside_it(
    add: bool, team: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(team)
    monkeypatch.setattr(threads, "SMALL", 0)
    for rows, columns, inner in itertools.product(ROWS if team == 1 else (64,), COLUMNS, INNER):
        a, b = _inside(inner, rows), _inside(inner, columns)
        wide = -(-columns // 16) * 16
        whole = torch.full((rows + 2, wide + 5), 7.0)
        result = whole[1:-1, 2 : 2 + wide]
        result.copy_(torch.randn(rows, wide) if add else torch.full((rows, wide), float("nan")))
        expected = a.double().t() @ b.double() + (result[:, :columns].double() if add else 0)
        tile_matmul(result, a, b, add, machine.host())
        difference = (result[:, :columns] - expected).abs().max().item()
        assert difference <= 2**-22 * inner * 4 + 1e-6, (rows, columns, inner, difference)
        for beside in (whole[0], whole[-1], whole[:, :2], whole[:, 2 + wide :]):
            assert (beside == 7).all(), (rows, columns, inner)


def test_nan_reaches_its_row_or_its_column_and_no_more() -> None:
    a, b = torch.randn(70, 64).to(HALF), torch.randn(70, 48).to(HALF)
    a[69, 40], b[3, 20] = float("nan"), float("inf")
    result = torch.empty(64, 48)
    tile_matmul(result, a, b, False, machine.host())
    assert result[40].isnan().all()
    assert not result[:, 20].isfinite().any()
    finite = result[torch.arange(64) != 40][:, torch.arange(48) != 20]
    assert finite.isfinite().all()


def test_the_same_product_gives_the_same_bits_by_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "SMALL", 0)
    a, b, found = torch.randn(999, 96).to(HALF), torch.randn(999, 80).to(HALF), []
    for team in (1, 2, 3, 1):
        torch.set_num_threads(team)
        found.append(torch.empty(96, 80))
        tile_matmul(found[-1], a, b, False, machine.host())
    assert all(torch.equal(other, found[0]) for other in found[1:])
