"""From a manifest to a run, and from a run to texts."""

from __future__ import annotations

import csv
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import holdfast
from holdfast.data import DataError
from holdfast.models import BeamSearch
from holdfast.tasks import Sources, fit, opened, resume
from holdfast.tasks.text import fit as fit_text
from holdfast.tasks.transcription import Decoding, Transcribe, TranscribeRun, baselines
from holdfast.training import Interrupted, RunError
from tests.reports import reports
from tests.support import own_cache
from tests.tasks.transcription import tones

LEARNED = baselines._LEARNED
TINY = {"hidden": 32, "layers": 1, "channels": 4, "bands": 24, "batch_size": 8, "evaluations": 2, "steps": 12}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        own_cache(patch, tmp_path_factory.mktemp("cache"))
        patch.setattr(baselines, "_LEARNED", 20)  # a linear map that is compared with is no better for learning long
        yield


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones.write(tmp_path_factory.mktemp("tones"), 80, seed=1)


@pytest.fixture(scope="module")
def run(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> TranscribeRun:
    folder = tmp_path_factory.mktemp("run") / "run"
    quick = {"steps": 200, "learning_rate": 0.01, "average": 0.05, "augment": False, "dropout": 0.0, "weight_drop": 0.0}
    options = {**TINY, **quick, "streaming": True}
    with reports(True):
        fit(Transcribe(), Sources((str(manifest),)), folder, options)
    found = opened(folder)
    assert isinstance(found, TranscribeRun)
    return found


def recordings(manifest: Path) -> list[tuple[Path, str]]:
    with manifest.open(newline="") as file:
        return [(manifest.parent / row["path"], row["text"]) for row in csv.DictReader(file)]


def test_it_learns_to_write_what_is_said(run: TranscribeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_LEARNED", LEARNED)
    result = run.evaluate()
    assert result.measures["cer"] < 0.1
    commonest, linear = result.baselines.values()  # tones can be told apart without memory
    assert commonest["cer"] > 0.5
    assert linear["cer"] < 0.5


def test_the_loss_of_a_batch_is_that_of_each_recording(manifest: Path) -> None:
    task, place = Transcribe(), holdfast.training.Devices(torch.device("cpu"))
    options = task.options(**{**TINY, "augment": False, "dropout": 0.0, "weight_drop": 0.0})
    data = task.read(Sources((str(manifest),)), options, lambda _: None)
    problem = task.problem(data, options, place)
    model = task.build(problem.facts, options)
    batch = problem.epoch(0)[0]
    together = problem.loss(model, batch, ()).value.item()
    nats = 0.0
    for k in range(len(batch.lengths)):
        logs, steps = model(batch.frames[: batch.lengths[k], k : k + 1], batch.lengths[k : k + 1])
        said = batch.said[k : k + 1, : batch.said_lengths[k]]
        nats += torch.nn.functional.ctc_loss(logs, said, steps, batch.said_lengths[k : k + 1], reduction="sum").item()
    assert together == pytest.approx(nats / batch.said_lengths.sum().item(), rel=1e-4)
    hasty = batch._replace(
        said=torch.ones(len(batch.said), 300, dtype=torch.int64), said_lengths=torch.full_like(batch.said_lengths, 300)
    )
    assert problem.loss(model, hasty, ()).value.item() == 0, "what is too short for its text teaches nothing"


def test_a_batch_is_the_same_whenever_it_is_asked_for_and_another_in_another_epoch(manifest: Path) -> None:
    task, place = Transcribe(), holdfast.training.Devices(torch.device("cpu"))
    options = task.options(**TINY)
    problem = task.problem(task.read(Sources((str(manifest),)), options, lambda _: None), options, place)
    first, again, other = problem.epoch(3)[2], problem.epoch(3)[2], problem.epoch(4)[2]
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, other))


class _StopsAt:
    """Whoever watches presses Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, position: object, loss: float, units: int, seconds: float) -> None:
        if position.step == self.at:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    def evaluated(self, *_: object) -> None: ...
    def skipped(self, *_: object) -> None: ...
    def busy(self, *_: object) -> None: ...


def test_recordings_are_changed_while_it_learns_unless_that_is_not_wanted(manifest: Path) -> None:
    task, place = Transcribe(), holdfast.training.Devices(torch.device("cpu"))
    batches, losses = {}, {}
    for augment in (False, True):
        options = task.options(**{**TINY, "augment": augment, "dropout": 0.0, "weight_drop": 0.0})
        problem = task.problem(task.read(Sources((str(manifest),)), options, lambda _: None), options, place)
        model = task.build(problem.facts, options)
        batches[augment] = problem.epoch(0)[0]
        losses[augment] = {problem.loss(model, batches[False], ()).value.item() for _ in range(3)}
    assert (batches[False].lengths != batches[True].lengths).any()  # faster and slower
    assert (len(losses[False]), len(losses[True])) == (1, 3)  # bands and stretches that are blanked


def test_a_training_that_was_stopped_ends_with_the_same_weights(manifest: Path, tmp_path: Path) -> None:
    sources = Sources((str(manifest),))
    fit(Transcribe(), sources, tmp_path / "whole", TINY)
    with pytest.raises((Interrupted, KeyboardInterrupt)):
        fit(Transcribe(), sources, tmp_path / "stopped", TINY, _StopsAt(7))
    resume(Transcribe(), tmp_path / "stopped")
    whole, stopped = (opened(tmp_path / name).model.state_dict() for name in ("whole", "stopped"))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_files_samples_and_streams_give_the_same_text(run: TranscribeRun, manifest: Path) -> None:
    for path, _ in recordings(manifest)[:8]:
        samples, rate = soundfile.read(path, dtype="float32")
        from_file = run.transcribe(path)
        assert run.transcribe(samples, rate) == from_file
        live = run.live()
        parts = [part for piece in np.array_split(samples, 9) for part in live.push(piece)] + live.finish()
        assert "".join(part.text for part in parts) == from_file.text
        words = [word for part in parts for word in part.words]
        assert [word[:3] for word in words] == [word[:3] for word in from_file.words]
        assert [word.confidence for word in words] == pytest.approx([word.confidence for word in from_file.words])
        assert from_file.end == pytest.approx(len(samples) / rate, abs=0.1)


def test_what_is_heard_so_far_grows_to_the_whole(run: TranscribeRun, manifest: Path) -> None:
    path, _ = max(recordings(manifest), key=lambda one: len(run.transcribe(one[0]).text))
    samples, _ = soundfile.read(path, dtype="float32")
    live, heard = run.live(), []
    for piece in np.array_split(samples, 20):
        live.push(piece)
        heard.append(live.so_far().text)
    assert heard[0] == ""
    assert all(len(a) <= len(b) for a, b in pairwise(heard))
    assert run.transcribe(path).text.startswith(heard[-1])
    assert len(heard[-1]) >= 1


def test_what_is_heard_so_far_is_searched_once_however_often_it_is_asked_for(
    run: TranscribeRun, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.concatenate([soundfile.read(path, dtype="float32")[0] for path, _ in recordings(manifest)[:24]])
    assert len(samples) / tones.RATE > 20  # more than a segment
    live, searched, push = run.live(Decoding(beam=4)), [], BeamSearch.push

    def pushed(search: BeamSearch, logs: torch.Tensor) -> None:
        searched.append(len(logs))
        push(search, logs)

    parts, shown = [], []
    for block in np.array_split(samples, 100):
        parts += live.push(block)
        with monkeypatch.context() as patch:
            patch.setattr(BeamSearch, "push", pushed)
            shown.append(live.so_far().text)
    last = live.finish()
    whole = [part.text for part in run.parts(samples, tones.RATE, Decoding(beam=4))]
    assert [part.text for part in parts + last] == whole
    assert shown[-1] == whole[-1] != ""
    assert sum(searched) < 2 * len(samples) / tones.RATE / 0.04


def test_what_each_symbol_adds_makes_texts_longer_or_shorter(run: TranscribeRun, manifest: Path) -> None:
    sound, _ = recordings(manifest)[0]
    texts = [run.transcribe(sound, decoding=Decoding(beam=4, insertion=each)).text for each in (-100.0, 0.0, 20.0)]
    assert texts[0] == ""
    assert 0 < len(texts[1]) < len(texts[2])


def test_a_moment_is_spoken_of_once_the_latency_has_passed(run: TranscribeRun) -> None:
    heard = round(run.latency * run.mel.rate)
    for samples, steps in ((heard - 1, 0), (heard, 1)):
        live = run.live()
        live.push(np.zeros(samples, np.float32))
        assert live.so_far().end == pytest.approx(0.04 * steps)


def test_words_lie_in_the_sound_with_a_confidence(run: TranscribeRun, manifest: Path) -> None:
    said = run.transcribe(recordings(manifest)[0][0])
    for word in said.words:
        assert 0 <= word.start < word.end <= said.end + 1e-9
        assert 0 < word.confidence <= 1
    assert 0 < said.confidence <= 1


def test_a_long_sound_is_written_in_parts_with_times_of_the_whole(run: TranscribeRun, manifest: Path) -> None:
    sounds = [soundfile.read(path, dtype="float32")[0] for path, _ in recordings(manifest)[:40]]
    samples = np.concatenate(sounds)
    parts = [*run.parts(samples, 8000)]
    assert len(parts) > 2
    assert all(part.end - part.begin <= 20 for part in parts)
    for before, after in pairwise(parts):
        assert before.end == pytest.approx(after.begin)
    assert parts[-1].end == pytest.approx(len(samples) / 8000, abs=0.1)
    for part in parts:
        assert all(part.begin <= word.start < word.end <= part.end + 1e-9 for word in part.words)
    assert run.transcribe(samples, 8000).text == "".join(part.text for part in parts)


def test_a_language_model_of_characters_decides_between_what_sounds_alike(
    run: TranscribeRun, manifest: Path, tmp_path: Path
) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"{k % 4}{(k + 1) % 4}\n" for k in range(3000)))
    small = {"steps": 60, "hidden": 16, "embedding": 8, "batch_size": 8, "window": 16, "level": "char"}
    language = fit_text(lines, out=tmp_path / "lm", **small)
    path = recordings(manifest)[0][0]
    plain = run.transcribe(path, decoding=Decoding(beam=8))
    helped = run.transcribe(path, decoding=Decoding(8, str(language.folder), language_weight=50.0))
    assert plain.text != helped.text
    assert all((int(a) + 1) % 4 == int(b) for a, b in pairwise(helped.text))
    with pytest.raises(ValueError, match="a language model needs a beam"):
        Decoding(language="lm")
    with pytest.raises(RunError, match="a run of the task transcribe"):
        run.transcribe(path, decoding=Decoding(8, str(run.folder)))


def test_a_language_model_of_words_is_refused(run: TranscribeRun, manifest: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("one two three\n" * 300)
    small = {"steps": 2, "hidden": 8, "embedding": 4, "batch_size": 2, "window": 8, "level": "word"}
    language = fit_text(lines, out=tmp_path / "lm", **small)
    with pytest.raises(RunError, match="cannot help to transcribe"):
        run.transcribe(recordings(manifest)[0][0], decoding=Decoding(8, str(language.folder)))


def test_what_is_too_long_or_too_hasty_is_said(manifest: Path, tmp_path: Path) -> None:
    rows = recordings(manifest)[:30]
    hasty = tmp_path / "hasty.csv"
    with hasty.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "text"])
        writer.writerows([(path, text) for path, text in rows])
        writer.writerows([(path, "1" * 300) for path, _ in rows[:5]])
    longest = float(np.median([soundfile.info(path).duration for path, _ in rows]))
    fit(Transcribe(), Sources((str(hasty),)), tmp_path / "run", {**TINY, "steps": 2, "longest": longest})
    notes = " ".join(opened(tmp_path / "run").evaluate().notes)
    assert "longer than" in notes
    assert "too short for their text" in notes
    measured = opened(tmp_path / "run").evaluate([str(hasty)], baselines=False)
    plain = tmp_path / "plain.csv"
    plain.write_text("".join(f"{line}\n" for line in hasty.read_text().splitlines()[:31]))
    alone = opened(tmp_path / "run").evaluate([str(plain)], baselines=False)
    # Batched otherwise, numbers are summed in another order.
    assert measured.measures["nats"] == pytest.approx(alone.measures["nats"], rel=2e-5)
    assert any("5 of 35 recordings of the part given are too short for their text" in note for note in measured.notes)
    with pytest.raises(DataError, match="all recordings are longer"):
        fit(Transcribe(), Sources((str(hasty),)), tmp_path / "none", {**TINY, "longest": 0.2})
    assert not (tmp_path / "none").exists()


def test_other_recordings_are_measured_with_the_symbols_that_were_learned(
    run: TranscribeRun, manifest: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    path, text = recordings(manifest)[0]
    other.write_text(f"path,text\n{path},{text}\n{path},{text}x\n")
    with pytest.raises(DataError, match=r"line 3.*'x'"):
        run.evaluate(other)
    other.write_text(f"path,text\n{path},{text}\n")
    assert run.evaluate(other, baselines=False).measures["exact"] in (0.0, 1.0)


def test_the_report_is_no_wider_than_a_phone(run: TranscribeRun, fits_a_phone: Callable[[str], None]) -> None:
    fits_a_phone((run.folder / "report.html").read_text())


def test_the_report_shows_the_hardest_recordings_and_the_errors(run: TranscribeRun) -> None:
    page = (run.folder / "report.html").read_text()
    assert "nats, of training steps" in page, "a step's loss is no share of wrong symbols"
    headings = ["The hardest recordings", "Errors by symbol", "How far its confidence can be trusted"]
    for expected in [*headings, "<audio", "data:image/png"]:
        assert expected in page
