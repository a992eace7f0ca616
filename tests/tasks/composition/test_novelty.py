import numpy as np
import pytest

from holdfast.tasks.composition.novelty import Array, Copied, Known


def shifted(piece: Array, by: int) -> Array | None:
    """A roll or tokens from 0 to 9, so much higher; None where it does not fit."""
    if piece.ndim == 1:
        return piece + by if piece.size == 0 or (piece.min() + by >= 0 and piece.max() + by <= 9) else None
    keys = np.flatnonzero(piece.any(axis=0))
    if keys.size and not (keys[0] + by >= 0 and keys[-1] + by < piece.shape[1]):
        return None
    return np.roll(piece, by, axis=1)


def by_trying(pieces: list[Array], by: list[int], sample: Array) -> Copied:
    """The longest common passage, by comparing every place with every place, in the order that decides ties."""
    best = Copied(0, 0, 0, 0, 0)
    for transposition in by:
        moved = shifted(sample, transposition)
        if moved is None:
            continue
        for start in range(len(moved)):
            for number, piece in enumerate(pieces):
                for at in range(len(piece)):
                    length = 0
                    while (
                        start + length < len(moved)
                        and at + length < len(piece)
                        and np.array_equal(moved[start + length], piece[at + length])
                    ):
                        length += 1
                    if length > best.length:
                        best = Copied(length, start, number, at, transposition)
    return best


@pytest.mark.parametrize("seed", range(60))
def test_what_is_found_in_tokens_is_what_is_found_by_trying_all(seed: int) -> None:
    random = np.random.default_rng(seed)
    symbols = int(random.integers(2, 5))
    pieces = [random.integers(2, 2 + symbols, random.integers(0, 30)) for _ in range(random.integers(0, 5))]
    sample = random.integers(2, 3 + symbols, random.integers(0, 24))
    by = list(random.permutation([-2, -1, 0, 1, 2, 7]))
    assert Known(pieces, shifted, by).longest(sample) == by_trying(pieces, by, sample)


@pytest.mark.parametrize("seed", range(30))
def test_what_is_found_in_rolls_is_what_is_found_by_trying_all(seed: int) -> None:
    random = np.random.default_rng(seed)
    pieces = [(random.random((random.integers(0, 25), 4)) < 0.15).astype(np.uint8) for _ in range(4)]
    sample = (random.random((20, 4)) < 0.15).astype(np.uint8)
    by = [0, 1, -1, 2, -2]
    assert Known(pieces, shifted, by).longest(sample) == by_trying(pieces, by, sample)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 40])
def test_a_passage_is_found_whatever_its_length_and_key(length: int) -> None:
    random = np.random.default_rng(length)
    pieces = [(random.random((50, 88)) < 0.1).astype(np.uint8) for _ in range(3)]
    for piece in pieces:
        piece[:, :10] = piece[:, -10:] = 0
    sample = (random.random((60, 88)) < 0.5).astype(np.uint8)
    sample[:, :10] = sample[:, -10:] = 0
    sample[13 : 13 + length] = np.roll(pieces[1][6 : 6 + length], 4, axis=1)
    known = Known(pieces, shifted, [0, 4, -4])
    assert known.longest(sample) == Copied(length, start=13, piece=1, at=6, by=-4)


def test_a_training_piece_itself_is_found_as_a_whole() -> None:
    pieces = [np.arange(7) % 5, np.arange(9) % 4]
    assert Known(pieces, shifted, [0]).longest(pieces[1]) == Copied(9, start=0, piece=1, at=0, by=0)


def test_no_passage_goes_from_one_training_piece_into_the_next() -> None:
    known = Known([np.array([1, 2]), np.array([3, 4])], shifted, [0])
    assert known.longest(np.array([1, 2, 3, 4])).length == 2


def test_a_piece_is_not_looked_up_where_it_does_not_fit() -> None:
    known = Known([np.array([9, 8, 7])], shifted, [0, 2])
    assert known.longest(np.array([7, 6, 5])) == Copied(3, start=0, piece=0, at=0, by=2)
    assert known.longest(np.array([8, 7, 6, 5])).length == 2, "8 + 2 is too high"
    assert Known([np.array([9])], shifted, [50]).longest(np.array([9])).length == 0


def test_who_asks_before_does_not_change_what_is_found() -> None:
    random = np.random.default_rng(0)
    pieces = [random.integers(0, 3, 40) for _ in range(5)]
    samples = [random.integers(0, 3, 30) for _ in range(4)] + [pieces[0], pieces[1][:4]]
    known = Known(pieces, shifted, [0, 1])
    forth = [known.longest(sample) for sample in samples]
    back = [known.longest(sample) for sample in reversed(samples)]
    assert forth == back[::-1]


def test_it_is_no_matter_how_wide_the_numbers_of_tokens_are() -> None:
    known = Known([np.array([3, 1, 4], np.uint8)], shifted, [0])
    assert known.longest(np.array([1, 4], np.int64)) == Copied(2, start=0, piece=0, at=1, by=0)


def test_rolls_have_to_be_of_bytes() -> None:
    with pytest.raises(TypeError, match="float64"):
        Known([np.zeros((2, 88))], shifted, [0])
