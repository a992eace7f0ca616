"""How much of a piece stands in the training data."""

from __future__ import annotations

import pytest

from holdfast.tasks.composition import ComposeRun, Learned, fit
from holdfast.tasks.composition.novelty import Copied
from holdfast.tasks.composition.run import beats_of
from tests.tasks.composition.tunes import TINY, folder


@pytest.fixture(scope="module", params=["frames", "events"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ComposeRun:
    place = tmp_path_factory.mktemp("music")
    return fit(folder(place / "tunes"), out=place / "run", **{**TINY, "form": request.param})


def test_a_piece_that_was_learned_is_found_in_another_key(run: ComposeRun) -> None:
    train = run.data().parts["train"]
    learned = Learned(run, train)
    piece = run.form.transposed(train.of(3), -11)
    copied = learned.longest(piece)
    assert copied.length == len(piece)
    assert copied.by > 0
    bars = run.form.beats(piece, run.grid) / beats_of((4, 4))
    where = f"stand in {train.name(copied.piece)}, {copied.by} semitones higher"
    assert learned.words(piece, copied) == f"{len(piece):,} {run.form.unit} of it ({bars:.1f} bars) {where}"
    assert learned.longest(train.of(3)).by == 0  # at the same pitch first


def test_what_stands_nowhere_is_said(run: ComposeRun) -> None:
    train = run.data().parts["train"]
    learned = Learned(run, train)
    nothing = train.of(0)[:0]
    assert learned.words(nothing, learned.longest(nothing)) == "nothing of it stands in the training data"


def test_one_step_and_one_semitone_are_one(run: ComposeRun) -> None:
    train = run.data().parts["train"]
    said = Learned(run, train).words(train.of(0), Copied(1, 0, 0, 0, -1))
    assert said.startswith(f"1 {run.form.unit[:-1]} of it (")
    assert said.endswith(f" stands in {train.name(0)}, 1 semitone lower")


def test_of_very_much_music_the_first_pieces_are_looked_through(
    run: ComposeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = run.data().parts["train"]
    monkeypatch.setattr("holdfast.tasks.composition.learned._MOST", int(train.lengths[:2].sum()))
    learned = Learned(run, train)
    assert learned.where == f"the first 2 of {len(train)} training pieces"
    assert learned.longest(train.of(1)).length == len(train.of(1))
    assert learned.longest(train.of(0)).piece == 0
