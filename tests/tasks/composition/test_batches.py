"""Batches of music: windows, transposition, and what stands before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from holdfast.data.music import Music, MusicManner, build_music
from holdfast.tasks.composition.batches import Epoch, batch_of, in_batches, windows
from holdfast.tasks.composition.forms import FORMS, START
from tests.tasks.composition.tunes import folder


@pytest.fixture(scope="module", params=FORMS)
def music(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Music:
    place = tmp_path_factory.mktemp("music")
    return build_music({"train": [str(folder(place / "tunes"))]}, MusicManner(form=request.param), place / "kept")


def test_windows_cover_every_step_once_and_are_short_enough() -> None:
    lengths = np.array([5, 100, 32, 33, 1])
    seen = {0}
    for seed in range(5):
        found = windows(lengths, 32, np.random.default_rng(seed))
        for k, length in enumerate(lengths):
            own = found[found[:, 0] == k]
            assert own[0, 1] == 0
            assert own[-1, 2] == length
            assert (own[1:, 1] == own[:-1, 2]).all()
        assert (found[:, 2] - found[:, 1]).max() <= 32
        assert (found[:, 2] - found[:, 1]).min() >= 1
        seen.add(int(found[found[:, 0] == 1][0, 2]))
    assert len(seen) > 3  # cut at another place each time


def test_what_stands_before_is_one_step_earlier(music: Music) -> None:
    form, piece = FORMS[music.form], music.parts["train"].of(0)
    batch = batch_of(form, [(piece, 0, 7), (piece, 3, 12)])
    assert batch.there.sum(0).tolist() == [7, 9]
    as_model = form.together([piece])[:, 0]
    torch.testing.assert_close(batch.after[:7, 0], as_model[:7])
    torch.testing.assert_close(batch.before[1:7, 0], as_model[:6])
    torch.testing.assert_close(batch.after[:, 1], as_model[3:12])
    torch.testing.assert_close(batch.before[:, 1], as_model[2:11])
    silent = batch.before[0, 0]
    assert (silent == 0).all() if music.form == "frames" else silent == START


def test_an_epoch_moves_each_window_by_semitones_within_the_bounds(music: Music) -> None:
    form, part = FORMS[music.form], music.parts["train"]
    plain = Epoch(form, part, 1000, 1, 0, seed=3)
    moved = Epoch(form, part, 1000, 1, 4, seed=3)
    by = set()
    for one, other in zip(plain, moved):
        piece, found = (batch.after[:, 0].numpy() for batch in (one, other))
        if music.form == "frames":
            piece, found = piece.astype(np.uint8), found.astype(np.uint8)
        shift = next(k for k in range(-4, 5) if (form.transposed(piece, k) == found).all())
        by.add(shift)
        torch.testing.assert_close(other.before[1:, 0], other.after[:-1, 0])  # what stands before is moved by as much
    assert len(by) > 3


def test_a_window_is_moved_no_farther_than_the_keys_reach() -> None:
    form = FORMS["frames"]
    roll = np.zeros((4, 88), np.uint8)
    roll[:, [1, 85]] = 1

    class Part:
        lengths = np.array([4])

        def of(self, k: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
            return roll

    found = set()
    for seed in range(40):
        (batch,) = Epoch(form, Part(), 8, 1, 6, seed)  # type: ignore[arg-type]
        assert batch.after.sum() == 8
        found.add(int(batch.after[0, 0].argmax()))
    assert found == {0, 1, 2, 3}


def test_processes_share_an_epoch(music: Music) -> None:
    form, part = FORMS[music.form], music.parts["train"]
    whole = Epoch(form, part, 16, 4, 0, seed=1)
    halves = [Epoch(form, part, 16, 2, 0, seed=1, rank=rank, size=2) for rank in range(2)]
    assert len(whole) == len(halves[0]) == len(halves[1]) > 2
    for k in range(len(whole)):
        counts = sum(half[k].there.sum() for half in halves)
        assert whole[k].there.sum() == counts


def test_each_piece_is_measured_once_and_in_blocks_that_follow_each_other(
    music: Music, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.tasks.composition.batches._STEPS", 64)
    form, part = FORMS[music.form], music.parts["train"]
    seen = []
    for numbers, batch in in_batches(form, part, np.arange(len(part))):
        seen += numbers.tolist()
        blocks = [*batch.blocks()]
        torch.testing.assert_close(torch.cat([block.after for block in blocks]), batch.after)
        assert max(block.there.numel() for block in blocks) <= 64
        assert batch.there.sum(0).tolist() == part.lengths[numbers].tolist()
    assert sorted(seen) == list(range(len(part)))


def test_a_window_within_a_piece_knows_the_step_before_it(music: Music) -> None:
    form, part = FORMS[music.form], music.parts["train"]
    found = set()
    for batch in Epoch(form, part, 16, 1, 0, seed=2):
        window = batch.after[:, 0].numpy()
        for k in range(len(part)):
            piece = form.together([part.of(k)])[:, 0].numpy()
            for begin in range(1, len(piece) - len(window) + 1):
                same = (piece[begin : begin + len(window)] == window).all()
                if same and (piece[begin - 1] == batch.before[0, 0].numpy()).all():
                    found.add((k, begin))
    assert len(found) > len(part)
