"""The task compose: from files to a run that measures as the published protocol does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch

import holdfast
from holdfast.data import DataError
from holdfast.data.music import Tune, chorales, write_midi
from holdfast.models import FrameModel, LanguageModel
from holdfast.tasks import TASKS, Sources, fit, opened, resume
from holdfast.tasks.composition import ComposeRun
from holdfast.tasks.composition import task as module
from holdfast.training import Devices, Interrupted, OptionError, make
from tests.support import own_cache
from tests.tasks.composition.tunes import TINY, folder, tune

TASK = TASKS["compose"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_cache(monkeypatch, tmp_path / "cache")


def _fitted(out: Path, *data: Path, valid: tuple[Path, ...] = (), test: tuple[Path, ...] = (), **options: Any) -> Any:
    sources = Sources(*(tuple(map(str, paths)) for paths in (data, valid, test)))
    fit(TASK, sources, out, {**TINY, **options})
    return opened(out)


def _mat(path: Path, seed: int = 0) -> Path:
    draw = np.random.default_rng(seed)
    parts = {}
    for name, count in (("traindata", 8), ("validdata", 3), ("testdata", 2)):
        pieces = np.empty((1, count), object)
        for k in range(count):
            roll = np.zeros((int(draw.integers(5, 40)), 88), np.uint8)
            roll[np.arange(len(roll)), 40 + draw.integers(0, 5, len(roll))] = 1
            pieces[0, k] = roll
        parts[name] = pieces
    scipy.io.savemat(path, parts)
    return path


@pytest.mark.parametrize("kind", [{"head": "chord"}, {"head": "independent"}, {"form": "events"}])
def test_nats_are_those_of_all_steps_but_the_first_of_a_piece(tmp_path: Path, kind: dict[str, str]) -> None:
    run = _fitted(tmp_path / "run", folder(tmp_path / "tunes"), **kind)
    part = run.data().parts["valid"]
    total, count = 0.0, 0
    with torch.no_grad():
        for k in range(len(part)):
            piece = torch.from_numpy(part.of(k).astype(np.float32))
            if isinstance(run.model, FrameModel):
                before = torch.cat([torch.zeros(1, 88), piece[:-1]])
                features = run.model(before[:, None]).features
                nats = [
                    run.model.nats(features[t : t + 1], before[t][None, None], piece[t][None, None]).item()
                    for t in range(1, len(piece))
                ]
            else:
                assert isinstance(run.model, LanguageModel)
                tokens = torch.cat([torch.tensor([304]), piece.long()])
                logs = run.model.log_probabilities(run.model(tokens[:-1, None]).features)[:, 0]
                nats = [-logs[t, tokens[t + 1]].item() for t in range(1, len(piece))]
            total, count = total + sum(nats), count + len(nats)
    measures = run.evaluate(split="valid").measures
    assert measures["nats"] == pytest.approx(total / count, rel=1e-5)
    assert run.saved["valid"]["nats"] == pytest.approx(total / count, rel=1e-5)


def test_blocks_in_time_measure_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _fitted(tmp_path / "run", folder(tmp_path / "tunes"))
    expected = run.evaluate(split="valid", baselines=False).measures["nats"]
    monkeypatch.setattr("holdfast.tasks.composition.batches._STEPS", 7)
    assert run.evaluate(split="valid", baselines=False).measures["nats"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("form", [pytest.param("frames", marks=pytest.mark.full), "events"])
def test_it_learns_music_that_repeats_itself(tmp_path: Path, form: str) -> None:
    more = {
        "steps": 150,
        "hidden": 48,
        "dropout": 0.0,
        "learning_rate": 0.02,
        "transpose": 0,
        "batch_size": 16,
        "embedding": 32,
    }
    run = _fitted(tmp_path / "run", folder(tmp_path / "tunes", 20), form=form, **more)
    result = run.evaluate(split="valid")
    assert set(result.baselines) == (
        {"each key by how often it sounds", "each key by itself before"}
        if form == "frames"
        else {"events by how often they come", "5-grams of events"}
    )
    simple, better = (baseline["nats"] for baseline in result.baselines.values())
    assert better < simple
    assert result.measures["nats"] < (better / 4 if form == "frames" else simple / 2)


def test_a_mat_file_brings_its_own_parts(tmp_path: Path) -> None:
    run = _fitted(tmp_path / "run", _mat(tmp_path / "music.mat"))
    parts = run.data().parts
    assert {name: len(part) for name, part in parts.items()} == {"train": 8, "valid": 3, "test": 2}
    assert run.evaluate().split == "test"
    assert (run.grid, run.meter) == (1, (4, 4))
    assert run.compose(2)[0].bars == 2


def test_a_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    tunes = folder(tmp_path / "tunes")

    class Stopping:
        def __init__(self) -> None:
            self.left = 3

        def __getattr__(self, name: str) -> Any:
            return lambda *_: None

        def step(self, *_: Any) -> None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    whole = _fitted(tmp_path / "whole", tunes, steps=6, checkpoint_every=2)
    with pytest.raises((KeyboardInterrupt, Interrupted)):
        fit(TASK, Sources((str(tunes),)), tmp_path / "run", {**TINY, "steps": 6, "checkpoint_every": 2}, Stopping())
    resume(TASK, tmp_path / "run")
    for name, tensor in opened(tmp_path / "run").model.state_dict().items():
        assert torch.equal(tensor, whole.model.state_dict()[name]), name


def test_other_music_is_measured_in_the_form_that_was_learned(tmp_path: Path) -> None:
    run = _fitted(tmp_path / "run", folder(tmp_path / "tunes"), grid=2)
    other = folder(tmp_path / "other", 3, meter=(3, 4))
    result = run.evaluate(other)
    assert result.split == "given"
    assert np.isfinite(result.measures["nats"])
    assert run.task.given(run.facts, [str(other)], lambda _: None).grid == 2


def test_the_meter_and_the_grid_are_settled_by_the_data(tmp_path: Path) -> None:
    run = _fitted(tmp_path / "run", folder(tmp_path / "tunes", meter=(3, 4)))
    assert run.meter == (3, 4)
    assert run.config["options"]["meter"] == "3/4"
    assert run.config["options"]["grid"] == 4
    (piece,) = run.compose(2)
    assert piece.beats == 6


def test_without_music_it_learns_from_what_is_at_hand_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chorales, "available", lambda: False)
    monkeypatch.setattr("holdfast.data.music.build._TUNES", {"train": (40, 0), "valid": (5, 1), "test": (5, 2)})
    result = fit(TASK, Sources(), tmp_path / "run", {**TINY, "steps": 2})
    assert result is not None
    assert any("made by rules, not by people" in note for note in result.notes)
    run = opened(tmp_path / "run")
    assert run.config["data"]["data"] == ["builtin:tunes"]
    assert "builtin:tunes" in (tmp_path / "run" / "README.md").read_text()
    monkeypatch.setattr(chorales, "available", lambda: True)  # what is at hand later does not matter
    assert run.evaluate(baselines=False).split == "test"


def test_what_was_left_out_is_said(tmp_path: Path) -> None:
    tunes = folder(tmp_path / "tunes")
    (tunes / "bad.mid").write_bytes(b"MThd nonsense")
    with pytest.raises(DataError, match=r"bad\.mid.*--skip-bad"):
        _fitted(tmp_path / "run", tunes)
    result = fit(TASK, Sources((str(tunes),)), tmp_path / "run", {**TINY, "skip_bad": True})
    assert result is not None
    assert any("bad.mid" in note or "left out" in note for note in result.notes)
    assert any("the second and all after it" in note for note in result.notes)


def test_long_validation_parts_are_read_in_part_at_each_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BRIEF", 100)
    result = fit(TASK, Sources((str(folder(tmp_path / "tunes", 20)),)), tmp_path / "run", {**TINY, "valid_share": 0.5})
    assert result is not None
    run = opened(tmp_path / "run")
    part = run.data().parts["valid"]
    assert result.measures["nats"] == pytest.approx(module.nats_of(run.model, run.form, part, np.arange(2)))
    assert result.measures["nats"] != pytest.approx(module.nats_of(run.model, run.form, part, np.arange(10)))
    assert any("At each evaluation the first 2 of 10 pieces were read" in note for note in result.notes)


def test_a_head_belongs_to_frames(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="events are no frames"):
        _fitted(tmp_path / "run", folder(tmp_path / "tunes"), form="events", head="independent")


@pytest.mark.full
def test_a_tune_of_hours_is_not_too_long(tmp_path: Path) -> None:
    tunes = folder(tmp_path / "tunes")
    notes = tuple(note._replace(start=note.start + 1920 * 4 * k) for k in range(400) for note in tune(4).notes)
    write_midi(Tune(tuple(sorted(notes))), tunes / "long.mid")
    run = _fitted(tmp_path / "run", tunes)
    assert max(part.lengths.max() for part in run.data().parts.values()) > 20_000
    assert np.isfinite(run.evaluate(split="valid").measures["nats"])


def test_it_is_found_by_load_and_told_in_json(tmp_path: Path) -> None:
    run = holdfast.tasks.composition.fit(folder(tmp_path / "tunes"), out=tmp_path / "run", **TINY)
    assert isinstance(run, ComposeRun)
    assert isinstance(holdfast.load(tmp_path / "run"), ComposeRun)
    assert json.loads(json.dumps(run.evaluate().to_dict()))["task"] == "compose"


def _problem(tmp_path: Path, **options: Any) -> tuple[Any, Any]:
    """What the loop trains, and its data."""
    given = make(TASK.options, {**TINY, "batch_size": 8, **options})
    data = TASK.read(Sources((str(folder(tmp_path / "tunes")),)), given, lambda _: None)
    return TASK.problem(data, given, Devices(torch.device("cpu"))), data


@pytest.mark.parametrize("form", ["frames", "events"])
def test_each_epoch_moves_and_cuts_the_pieces_anew(tmp_path: Path, form: str) -> None:
    problem, _ = _problem(tmp_path, form=form, transpose=5)
    first, again, second = (problem.epoch(number)[0] for number in (0, 0, 1))
    assert torch.equal(first.after, again.after)
    assert first.after.shape != second.after.shape or not torch.equal(first.after, second.after)


def test_pieces_are_moved_as_far_as_was_asked_for(tmp_path: Path) -> None:
    highest = []
    for transpose in (0, 3, 6):
        (tmp_path / str(transpose)).mkdir()
        problem, _ = _problem(tmp_path / str(transpose), transpose=transpose)
        batches = (batch for number in range(20) for batch in problem.epoch(number))
        highest.append(max(int(batch.after.flatten(0, 1).any(0).nonzero().max()) for batch in batches))
    assert np.diff(highest).tolist() == [3, 3]


def test_the_loss_is_the_mean_over_what_is_there(tmp_path: Path) -> None:
    problem, data = _problem(tmp_path, transpose=0)
    torch.manual_seed(0)
    model = TASK.build(TASK.facts(data, problem._options), problem._options).eval()
    batch = problem.epoch(0)[0]
    assert not batch.there.all()
    each = [
        model.nats(model(before[:, None]).features, before[:, None], after[:, None])[:, 0]
        for before, after in (
            (batch.before[: int(n), k], batch.after[: int(n), k]) for k, n in enumerate(batch.there.sum(0))
        )
    ]
    torch.testing.assert_close(problem.loss(model, batch, ()).value, torch.cat(each).mean())


def test_dropout_and_weight_drop_reach_the_model(tmp_path: Path) -> None:
    for form in ("frames", "events"):
        (tmp_path / form).mkdir()
        problem, data = _problem(tmp_path / form, form=form, dropout=0.4, weight_drop=0.2)
        model = TASK.build(TASK.facts(data, problem._options), problem._options)
        assert model.layers[0].weight_drop == 0.2
        dropped = [model.dropout, model.head.dropout] if form == "frames" else [model.dropout, model.input_dropout]
        assert dropped == [0.4, 0.4]


def test_the_preset_for_folk_tunes_leaves_them_in_their_keys(tmp_path: Path) -> None:
    result = fit(
        TASK, Sources((str(folder(tmp_path / "tunes")),)), tmp_path / "run", {"steps": 1, "hidden": 4}, preset="folk"
    )
    assert result is not None
    options = opened(tmp_path / "run").options
    found = (options.transpose, options.dropout, options.weight_drop, options.batch_size, options.window)
    assert found == (0, 0.4, 0.3, 16, 128)
