"""The products over all steps of a span."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from llvmlite.ir import Constant
from torch import Tensor

from holdfast.engines.llvm import machine, matmul, threads
from holdfast.engines.llvm.code import I64
from tests.engines.llvm.calls import VECTORS

ROWS = (1, 5, 6, 7, 12, 50)
INNER = (1, 2, matmul.DEPTH, matmul.DEPTH + 1, 2 * matmul.DEPTH + 3)
COLUMNS = (1, 4, 7, 8, 15, 16, 17, 33, 64, 65, 100)
BOUND = {torch.float32: 3e-6, torch.float64: 5e-15}

each_path = pytest.mark.parametrize("vectors", VECTORS)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def _factors(rows: int, inner: int, columns: int, dtype: torch.dtype, turned: bool) -> tuple[Tensor, Tensor]:
    """Two factors inside of larger matrices, the first one turned or not."""
    one = torch.randn(inner, rows + 2, dtype=dtype)[:, 1:-1].t() if turned else torch.randn(rows, inner, dtype=dtype)
    return one, torch.randn(inner, columns + 3, dtype=dtype)[:, 2:-1]


def _own(vectors: str) -> machine.Target:
    """A target whose products over all steps are the engine's own, as Zen 4's are."""
    return dataclasses.replace(machine.host(vectors), library=False)


def _exact(a: Tensor, b: Tensor) -> Tensor:
    """Sums of single products, of twice the precision where there is one."""
    return (a.double().unsqueeze(2) * b.double().unsqueeze(0)).sum(1)


@pytest.mark.sweep
@each_path
@each_dtype
@pytest.mark.parametrize("turned", [False, True], ids=["as it lies", "turned"])
@pytest.mark.parametrize("add", [False, True], ids=["written", "added"])
@pytest.mark.parametrize("team", [1, 2])
def test_a_product_is_the_sum_of_its_products_and_touches_nothing_beside_it(
    vectors: str, dtype: torch.dtype, turned: bool, add: bool, team: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(team)
    monkeypatch.setattr(threads, "SMALL", 0)
    shapes = itertools.product(ROWS, INNER, COLUMNS)
    # Threads that share two cores with other tests wait for each other's turns: a quarter of the shapes must do.
    for rows, inner, columns in itertools.islice(shapes, 0, None, 1 if team == 1 else 4):
        a, b = _factors(rows, inner, columns, dtype, turned)
        whole = torch.randn(rows + 2, columns + 5, dtype=dtype)
        expected = whole.to(torch.float64, copy=True)
        inside = expected[1:-1, 2:-3]
        inside.copy_(_exact(a, b) + (inside if add else 0))
        matmul.matmul(whole[1:-1, 2:-3], a, b, add, _own(vectors))
        difference = (whole.double() - expected).abs().max().item()
        assert difference <= BOUND[dtype] * inner, (rows, inner, columns, difference)


@each_path
def test_nan_reaches_its_row_or_its_column_and_no_more(vectors: str) -> None:
    a, b = _factors(9, 300, 40, torch.float32, turned=True)
    a[4, 7], b[280, 39] = float("nan"), float("inf")
    result = torch.full((9, 40), float("nan"))  # what is written over is not read
    matmul.matmul(result, a, b, False, _own(vectors))
    expected = torch.zeros(9, 40, dtype=torch.bool)
    expected[4] = True
    assert torch.equal(result.isnan(), expected)
    assert torch.equal(result.isinf().nonzero()[:, 1].unique(), torch.tensor([39]))


def test_factors_that_do_not_lie_in_rows_are_multiplied_too() -> None:
    a, b, result = torch.randn(8, 5), torch.randn(40, 5).t(), torch.randn(40, 8).t()
    matmul.matmul(result, a, b, False, _own(""))
    assert (result - _exact(a, b)).abs().max() < 1e-5
    matmul.matmul(result, torch.empty(8, 0), torch.empty(0, 40), False, _own(""))
    assert not result.any()


# Ways to break it, each of which the first test must notice.


def _a_row_short(patch: pytest.MonkeyPatch) -> None:
    share = matmul.Matmul.share

    def short(self: matmul.Matmul, code: matmul.Code, count: object, thread: object, team: object) -> object:
        first, end = share(self, code, count, thread, team)
        return first, code.b.sub(end, code.b.zext(code.b.icmp_signed(">", end, code.number(1)), I64))

    patch.setattr(matmul.Matmul, "share", short)


def _a_product_of_each_depth_lost(patch: pytest.MonkeyPatch) -> None:
    least = matmul.Matmul.least

    def fewer(self: matmul.Matmul, code: matmul.Code, one: object, other: object) -> object:
        return least(self, code, one, code.number(matmul.DEPTH - 1) if isinstance(other, Constant) else other)

    patch.setattr(matmul.Matmul, "least", fewer)


def _a_full_vector_in_the_tail(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(matmul.Matmul, "first_lanes", lambda self, code, count: None)


@pytest.mark.parametrize("mistake", [_a_row_short, _a_product_of_each_depth_lost, _a_full_vector_in_the_tail])
def test_a_mistake_in_the_kernel_is_noticed(mistake: object, monkeypatch: pytest.MonkeyPatch) -> None:
    matmul._kernel.cache_clear()
    mistake(monkeypatch)  # type: ignore[operator]
    try:
        with pytest.raises(AssertionError):
            test_a_product_is_the_sum_of_its_products_and_touches_nothing_beside_it(
                "portable", torch.float64, True, True, 2, monkeypatch
            )
    finally:
        matmul._kernel.cache_clear()
