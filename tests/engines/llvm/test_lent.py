"""Memory that is lent again."""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Iterator

import pytest
import torch

from holdfast.engines.llvm import memory
from holdfast.engines.llvm.memory import LENT, empty

MANY = 3 * LENT


@pytest.fixture(autouse=True)
def _a_store_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing waits before a test, and nothing is filled with NaN."""
    monkeypatch.setattr(memory, "_waiting", [])
    torch.use_deterministic_algorithms(False)
    yield
    gc.collect()


def _bytes(size: int) -> torch.Tensor:
    return empty(torch.uint8, (size,))


def test_memory_is_lent_again_once_nobody_uses_it() -> None:
    tensor = _bytes(MANY)
    at = tensor.data_ptr()
    assert _bytes(MANY).data_ptr() != at
    del tensor
    assert len(memory._waiting) == 2
    assert at in {_bytes(MANY).data_ptr(), *(t.data_ptr() for t in [_bytes(MANY), _bytes(MANY)])}


def test_it_is_not_lent_again_while_a_view_lives() -> None:
    tensor = empty(torch.float32, (4, MANY))
    part, at = tensor[3, -1:].view(torch.int32), tensor.data_ptr()
    part.fill_(7)
    del tensor
    other = empty(torch.float32, (4, MANY)).zero_()
    assert not memory._waiting
    assert other.data_ptr() != at
    assert part.item() == 7
    del part
    assert len(memory._waiting) == 1
    assert empty(torch.float32, (4, MANY)).data_ptr() == at


def test_it_is_not_lent_again_while_an_array_or_a_graph_needs_it() -> None:
    array = _bytes(MANY).numpy()
    assert not memory._waiting
    del array
    assert len(memory._waiting) == 1
    factor = empty(torch.float32, (MANY,)).fill_(2.0)
    weight = torch.ones(MANY, requires_grad=True)
    product = weight * factor
    del factor
    assert len(memory._waiting) == 1
    product.sum().backward()
    assert weight.grad is not None
    assert (weight.grad == 2).all()
    del product
    assert len(memory._waiting) == 2


def test_a_block_serves_what_is_a_little_smaller_and_nothing_larger() -> None:
    at = _bytes(10 * MANY).data_ptr()
    [block] = memory._waiting
    assert _bytes(block.size).data_ptr() == at
    larger = _bytes(block.size + 1)
    assert larger.data_ptr() != at
    fitting = _bytes(int(block.size / memory.WASTE) + 1)
    assert fitting.data_ptr() == at
    del fitting
    wasteful = _bytes(block.size // 2)
    assert wasteful.data_ptr() != at


def test_the_smallest_block_that_fits_is_lent() -> None:
    sizes = [40 * LENT, 44 * LENT, 42 * LENT]
    tensors = [_bytes(size) for size in sizes]
    places = [t.data_ptr() for t in tensors]
    del tensors
    assert _bytes(41 * LENT).data_ptr() == places[2]


def test_no_more_waits_than_a_part_of_the_machines_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "most_waiting", lambda: 5 * MANY)
    tensors = [_bytes(2 * MANY) for _ in range(4)]
    last = tensors[-1].data_ptr()
    while tensors:
        del tensors[0]
        assert sum(block.size for block in memory._waiting) <= 5 * MANY
    assert len(memory._waiting) == 2  # those that came last
    assert last in {_bytes(2 * MANY).data_ptr(), *(t.data_ptr() for t in [_bytes(2 * MANY), _bytes(2 * MANY)])}
    monkeypatch.setattr(memory, "most_waiting", lambda: 0)
    _bytes(2 * MANY)
    assert not memory._waiting


def test_the_part_that_may_wait_is_a_small_one() -> None:
    assert 1 << 20 < memory.most_waiting() < 1 << 50


@pytest.mark.parametrize("size", [1, LENT - 1, LENT, LENT + 1, memory.HUGE_PAGE + 5, 9 * memory.HUGE_PAGE])
def test_all_of_a_tensor_can_be_written(size: int) -> None:
    for shape, dtype in itertools.product(((size,), (1, size, 1)), (torch.uint8, torch.bfloat16, torch.float64)):
        tensor = empty(dtype, shape)
        assert tensor.shape == shape
        assert tensor.dtype == dtype
        assert tensor.is_contiguous()
        tensor.fill_(3)
        assert (tensor == 3).all()


def test_it_is_no_view_and_may_be_changed_in_place_and_saved() -> None:
    tensor = empty(torch.float32, (4, LENT))
    assert not tensor._is_view()
    assert tensor.untyped_storage().nbytes() == 16 * LENT
    tensor.requires_grad_()
    with torch.no_grad():
        tensor.zero_()
    assert tensor.add(1).sum().item() == 4 * LENT


def test_less_than_a_loan_is_pytorchs_own_and_nothing_is_nothing() -> None:
    _bytes(LENT - 1)
    assert not memory._waiting
    assert empty(torch.float32, (0, 5)).shape == (0, 5)


def test_it_is_filled_with_nan_where_pytorch_fills() -> None:
    torch.use_deterministic_algorithms(True)
    for size in (5, MANY):
        assert empty(torch.float32, (size,)).isnan().all()
        assert empty(torch.bfloat16, (size,)).isnan().all()
    assert not memory._waiting


def test_two_threads_are_never_lent_the_same() -> None:
    wrong = []

    def use(number: int) -> None:
        for _ in range(30):
            tensor = _bytes(MANY).fill_(number)
            wrong.extend([number] if (tensor != number).any() else [])

    team = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    assert not wrong
    assert 1 <= len(memory._waiting) <= 2 * len(team)  # each held one while it was lent the next
