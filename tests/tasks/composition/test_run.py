"""What a trained composer writes."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.data.music import EVENTS, SHIFT, SHIFTS, Tune, roll_of
from holdfast.models import FrameModel, LanguageModel, Sampling
from holdfast.tasks.composition import Composed, ComposeRun, fit
from holdfast.tasks.composition import run as module
from holdfast.tasks.composition.run import highest
from tests.tasks.composition.tunes import TINY, folder, tune


@pytest.fixture(scope="module")
def tunes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("music") / "tunes")


@pytest.fixture(scope="module", params=["chord", "independent", "events"])
def run(request: pytest.FixtureRequest, tunes: Path, tmp_path_factory: pytest.TempPathFactory) -> ComposeRun:
    kind = {"form": "events"} if request.param == "events" else {"head": request.param}
    return fit(tunes, out=tmp_path_factory.mktemp("runs") / "run", **TINY, **kind)


def _same(one: Composed, other: Composed) -> bool:
    return one.tune.notes == other.tune.notes


def test_pieces_are_as_long_as_was_asked_for(run: ComposeRun) -> None:
    pieces = run.compose(3, count=4, seed=1)
    assert len(pieces) == 4
    for piece in pieces:
        assert piece.bars == 3
        assert piece.ticks == 3 * 4 * piece.tune.beat
        assert piece.tune.end <= piece.ticks
        assert all(21 <= note.pitch <= 108 for note in piece.tune.notes)
        assert piece.tune.meter == (4, 4)
    assert not _same(*pieces[:2])


def test_the_same_seed_draws_the_same(run: ComposeRun) -> None:
    first, again, other = (run.compose(2, seed=seed)[0] for seed in (5, 5, 6))
    assert _same(first, again)
    assert not _same(first, other)


def test_a_prompt_is_the_beginning_and_its_last_bar_is_filled(run: ComposeRun) -> None:
    prompt = tune(2, root=50)
    cut = Tune(tuple(note for note in prompt.notes if note.start < 5 * 480 and note.pitch > 60), 480, 77.0)
    assert cut.end == 5 * 480  # a bar and a beat
    (piece,) = run.compose(1, prompt=cut, seed=2)
    assert piece.bars == 3
    assert piece.tune.tempo == 77.0
    known = roll_of(cut, piece.grid)[0]
    assert piece.given == len(known)
    assert (piece.roll[: len(known) - 1] == known[:-1]).all()


def test_what_comes_next_depends_on_what_was_given() -> None:
    torch.manual_seed(0)
    model = FrameModel(keys=3, hidden=8, embedding=8).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=1.5)
    low, high = np.tile([1, 0, 0], (6, 1)).astype(np.uint8), np.tile([0, 0, 1], (6, 1)).astype(np.uint8)
    with torch.no_grad():
        found = [
            module._frames(model, given, 50, 1, Sampling(), torch.Generator().manual_seed(0))[0]
            for given in (low, high)
        ]
    assert (found[0][:6] == low).all()
    assert (found[1][:6] == high).all()
    assert (found[0][6:] != found[1][6:]).any()


def test_a_melody_stays_the_highest_voice(run: ComposeRun) -> None:
    melody = tune(3, root=55)
    if run.form.name == "events":
        with pytest.raises(ValueError, match="only a run of frames can harmonise"):
            run.harmonise(melody)
        return
    found = run.harmonise(melody, count=2, seed=4)
    expected = highest(roll_of(melody, run.grid)[0])
    for one in found:
        assert one.melody
        assert (highest(one.piece) == expected).all()
    assert (found[0].piece != found[1].piece).any()


def test_what_cannot_be_composed_is_refused(run: ComposeRun) -> None:
    silent = Tune((tune().notes[0]._replace(pitch=5),))
    with pytest.raises(ValueError, match="the prompt has no note on the piano's keys"):
        run.compose(1, prompt=silent)
    if run.form.name == "frames":
        with pytest.raises(ValueError, match="the melody has no note on the piano's keys"):
            run.harmonise(silent)
    if run.options.head == "independent":
        with pytest.raises(ValueError, match="top_p chooses among many keys"):
            run.compose(1, sampling=Sampling(top_p=0.5))


def test_bars_must_end_with_a_frame(tunes: Path, tmp_path: Path) -> None:
    run = fit(tunes, out=tmp_path / "run", **TINY, meter="3/8", grid=1)
    with pytest.raises(ValueError, match=r"3 bars of 3/8 end between two frames.* choose 4 bars"):
        run.compose(3)
    assert run.compose(2)[0].bars == 2
    prompt = tune(1, meter=(7, 8))  # 3.5 beats a bar; its seven notes are 7 beats, two bars
    with pytest.raises(ValueError, match=r"1 bars of 7/8 end between two frames.* choose 2 bars"):
        run.compose(1, prompt=prompt)
    assert run.compose(2, prompt=prompt)[0].bars == 4


def test_what_goes_with_a_tune_has_its_meter(run: ComposeRun) -> None:
    given = tune(2, root=50, meter=(3, 4))
    (piece,) = run.compose(2, prompt=given)
    assert piece.tune.meter == (3, 4)
    assert piece.bars == 4
    if run.form.name == "frames":
        (voices,) = run.harmonise(given)
        assert voices.tune.meter == (3, 4)
        assert voices.bars == 2


def test_a_piece_without_a_prompt_has_the_tempo_of_the_data(run: ComposeRun) -> None:
    assert run.compose(1)[0].tune.tempo == 100.0


def test_where_too_much_happens_at_once_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CROWD", 3)
    model = LanguageModel(vocabulary=EVENTS + 1, hidden=4, embedding=4).eval()
    with torch.no_grad():
        model.output_bias[:SHIFT] = 5.0  # keys go down and up all the time
        piece = module._events(model, None, 500, 1000, Sampling(), torch.Generator().manual_seed(0))
    passing = (piece >= SHIFT) & (piece < SHIFT + SHIFTS)
    crowds = [len([*group]) for passes, group in itertools.groupby(passing.tolist()) if not passes]
    assert max(crowds) == 3
    assert passing[-1]
    assert (piece[passing] - SHIFT + 1).sum() == 500


def test_a_key_that_is_down_goes_up_before_it_goes_down_again_and_in_time() -> None:
    torch.manual_seed(1)
    model = LanguageModel(vocabulary=EVENTS + 1, hidden=4, embedding=4).eval()
    with torch.no_grad():
        model.output_bias[:SHIFT] = 3.0
        model.output_bias[88:SHIFT] = 1.0  # keys are seldom let go
        given = np.array([5, 9, SHIFT + 3])
        piece = module._events(model, given, 2000, 150, Sampling(), torch.Generator().manual_seed(0))
    assert piece[:3].tolist() == given.tolist()
    now, down, held = 0, {}, []
    for token in piece.tolist():
        if token < 88:
            assert token not in down
            down[token] = now
        elif token < SHIFT:
            held.append(now - down.pop(token - 88))
        elif token < SHIFT + SHIFTS:
            now += token - SHIFT + 1
    assert now == 2004
    assert max(held) == 150


def test_the_longest_note_is_that_of_what_was_learned_from(run: ComposeRun) -> None:
    assert run.facts.get("longest", 48) == 4 * 12  # the bass, a bar
    assert ("longest" in run.facts) == (run.form.name == "events")


@pytest.mark.full
def test_harmonies_are_drawn_as_the_model_says_they_go_with_the_whole_melody() -> None:
    """On three keys and three frames every harmonisation can be written down."""
    torch.manual_seed(2)
    model = FrameModel(keys=3, hidden=6, embedding=4).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.9)
    top = torch.tensor([1, 2, 2])
    frames = torch.tensor([*itertools.product([0.0, 1.0], repeat=3)])
    choices = [frames[torch.from_numpy(highest(frames.numpy())) == key] for key in top]
    sequences = torch.stack([torch.stack(one) for one in itertools.product(*choices)], 1)  # (3, S, 3)
    before = torch.cat([torch.zeros_like(sequences[:1]), sequences[:-1]])
    with torch.no_grad():
        nats = model.nats(model(before).features, before, sequences).sum(0)
    expected = (-nats).softmax(0)
    names = [one.to(torch.uint8).numpy().tobytes() for one in sequences.unbind(1)]
    count = 1500
    with torch.no_grad():
        drawn = module._harmonised(model, top, count, Sampling(), torch.Generator().manual_seed(0))
    found = Counter(np.ascontiguousarray(one).tobytes() for one in drawn)
    assert sum(found.values()) == count == sum(found[name] for name in names)
    for name, chance in zip(names, expected.tolist()):
        assert abs(found[name] / count - chance) < 5 * (chance * (1 - chance) / count) ** 0.5 + 0.01
    # Without regard to what comes later they would be drawn otherwise.
    alone = []
    with torch.no_grad():
        for one in sequences.unbind(1):
            chance, state = 1.0, torch.zeros(1, 1, 3)
            for t in range(3):
                here = torch.stack([one[t], *choices[t]])
                prefix = torch.cat([torch.zeros(1, 3), one[:t]])[:, None]
                features = model(prefix).features[-1].expand(len(here), -1)
                each = (-model.nats(features[None], prefix[-1].expand(1, len(here), -1), here[None])[0]).exp()
                chance *= float(each[0] / each[1:].sum())
            alone.append(chance)
            del state
    assert np.abs(np.array(alone) - expected.numpy()).max() > 0.05
