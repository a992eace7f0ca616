"""Files of tensors: whole or refused, never executed."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from holdfast.training import DamagedFile, load_tensors, save_tensors

TENSORS = {"w": torch.arange(6.0).view(2, 3), "n": torch.tensor(7), "b": torch.tensor([True, False])}
FACTS = {"step": 3, "name": 'quotes " and ü', "deep": {"x": [1.5, None]}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    where = tmp_path / "one.safetensors"
    save_tensors(where, TENSORS, FACTS)
    return where


def test_what_is_saved_is_loaded(path: Path) -> None:
    tensors, facts = load_tensors(path)
    assert facts == FACTS
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].dtype == tensor.dtype


def test_the_file_is_an_ordinary_one_of_its_format(path: Path) -> None:
    assert torch.equal(load_file(path)["w"], TENSORS["w"])


def test_views_of_one_memory_are_saved_apart(tmp_path: Path) -> None:
    base = torch.arange(10.0)
    given = {"a": base, "again": base, "part": base[2:5], "turned": base.view(2, 5).t()}
    save_tensors(tmp_path / "x", given, {})
    tensors, _ = load_tensors(tmp_path / "x")
    assert all(torch.equal(tensors[n], t) for n, t in given.items())


def _refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match="is damaged, or was not written by holdfast"):
        load_tensors(path)


def test_every_truncation_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for length in random.Random(0).sample(range(len(whole)), 256):
        _refused(path, whole[:length])


def test_every_flipped_bit_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(whole)), 256):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        _refused(path, bytes(flipped))


def test_something_more_at_the_end_is_noticed(path: Path) -> None:
    _refused(path, path.read_bytes() + b"\0")


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('executed')",)


def test_a_pickle_is_refused_and_not_executed(path: Path) -> None:
    _refused(path, pickle.dumps(_Trap()))
    torch.save(TENSORS, path)
    _refused(path, path.read_bytes())


def test_an_empty_file_and_a_text_are_refused(path: Path) -> None:
    _refused(path, b"")
    _refused(path, b"hello\n" * 100)


def test_facts_of_more_than_the_format_allows_are_saved(tmp_path: Path) -> None:
    facts = {"names": "x" * 101_000_000, "né": 1.5}  # the format ends at 100 MB
    tensors = {"weight": torch.arange(6.0).view(2, 3)}
    save_tensors(tmp_path / "large.safetensors", tensors, facts)
    found, known = load_tensors(tmp_path / "large.safetensors")
    assert known == facts
    assert found.keys() == tensors.keys()
    assert torch.equal(found["weight"], tensors["weight"])
    with safe_open(tmp_path / "large.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("weight"), tensors["weight"])
