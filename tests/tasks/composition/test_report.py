"""The report of a composer."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import symusic

from holdfast.data.music import Tune, write_midi
from holdfast.tasks.composition import ComposeRun, Learned, fit, report
from holdfast.tasks.composition.novelty import Copied
from tests.reports import reports
from tests.tasks.composition.tunes import BEAT, TINY, folder, tune


@pytest.fixture(scope="module", params=["chord", "events"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ComposeRun:
    place = tmp_path_factory.mktemp("music")
    # What has not learned that time passes makes pieces of very many events.
    kind = (
        {"form": "events", "steps": 60, "learning_rate": 0.02} if request.param == "events" else {"head": request.param}
    )
    with reports(True):
        return fit(folder(place / "tunes"), out=place / "run", **{**TINY, **kind})


def test_it_has_all_its_sections(run: ComposeRun) -> None:
    text = (run.folder / "report.html").read_text()
    found = re.findall(r"<h2>(.*?)</h2>", text)
    expected = ["What it composes", "How much stands in the training data", "How its music differs"]
    expected += ["A melody harmonised"] if run.form.name == "frames" else []
    assert [one for one in found if one in expected] == expected
    assert "Inside the model" in found
    for what in ("pitch classes", "intervals of the highest voice", "keys that sound together"):
        assert what in text
    assert len(re.findall(r"<title>Piece \d+</title>", text)) == 10


def test_the_report_is_no_wider_than_a_phone(run: ComposeRun, fits_a_phone: Callable[[str], None]) -> None:
    fits_a_phone((run.folder / "report.html").read_text())


def test_pieces_can_be_listened_to(run: ComposeRun) -> None:
    text = (run.folder / "report.html").read_text()
    held = re.findall(r'download="piece-(\d+)\.mid" href="data:audio/midi;base64,(.*?)"', text)
    assert [number for number, _ in held] == [str(k) for k in range(1, 11)]
    samples = run.compose(16, count=10)
    for (_, encoded), sample in zip(held, samples):
        score = symusic.Score.from_midi(base64.b64decode(encoded))
        notes = sorted((note.start, note.pitch, note.duration) for track in score.tracks for note in track.notes)
        assert notes == sorted((note.start, note.pitch, note.length) for note in sample.tune.notes)


@pytest.mark.usefixtures("reported")
@pytest.mark.parametrize("meter", ["3/32", pytest.param("5/64", marks=pytest.mark.full)])
def test_sixteen_bars_of_any_meter_end_with_a_frame(meter: str, tmp_path: Path) -> None:
    run = fit(folder(tmp_path / "tunes"), out=tmp_path / "run", **TINY, meter=meter, grid=1)
    with pytest.raises(ValueError, match="end between two frames"):
        run.end_of(1, run.meter)
    assert "What it composes" in (tmp_path / "run" / "report.html").read_text()


def test_pieces_that_are_too_short_to_look_inside_say_so(tmp_path: Path) -> None:
    run = fit(folder(tmp_path / "tunes"), out=tmp_path / "run", **{**TINY, "grid": 1, "meter": "4/4"})
    part = run.data().parts["valid"]

    class Short:
        lengths = part.lengths * 0 + 2
        of = staticmethod(lambda k: part.of(k)[:2])
        name = staticmethod(part.name)

    assert "The pieces are too short" in report._inside(run, Short())  # type: ignore[arg-type]


def _with_rests(path: Path, *, last: bool, first: bool) -> Path:
    """A tune that rests for long, and many that do not."""
    tunes = folder(path, 12)
    for k in range(12):
        notes = tune(20, 44 + k % 6).notes
        late = [note for note in notes if note.start >= 16 * 4 * BEAT] if first else notes
        kept = [note for note in late if not (last and 12 * 4 * BEAT <= note.start < 17 * 4 * BEAT)]
        write_midi(Tune(tuple(kept), BEAT, 100.0), tunes / f"{k:02}.mid")
    return tunes


@pytest.mark.usefixtures("reported")
def test_a_melody_that_ends_in_a_rest_is_harmonised(tmp_path: Path) -> None:
    fit(_with_rests(tmp_path / "tunes", last=True, first=False), out=tmp_path / "run", **TINY)
    assert "% of the frames are the same" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.usefixtures("reported")
def test_a_melody_that_begins_too_late_is_not(tmp_path: Path) -> None:
    fit(_with_rests(tmp_path / "tunes", last=False, first=True), out=tmp_path / "run", **TINY)
    assert "Nothing sounds in the first 16 bars" in (tmp_path / "run" / "report.html").read_text()


def test_the_shares_in_the_report_are_those_of_the_music(run: ComposeRun) -> None:
    data = run.data()
    text = report._differences(run, [], data.parts["train"], data.parts["train"])
    rows = re.findall(r"<td>([\d.]+)</td><td>([\d.]+)</td>", text.replace("\n", ""))
    assert rows == [("1.000", "0.000")] * 3  # nothing was composed; the validation pieces are those learned from


def test_passages_are_counted_of_what_was_composed_and_of_validation_pieces(run: ComposeRun) -> None:
    data = run.data()
    train = data.parts["train"]
    learned = Learned(run, train)
    samples = run.compose(2, count=2)
    text = report._novelty(run, samples, [Copied(3, 0, 0, 0, 0), Copied(5, 0, 0, 0, 0)], learned, train)
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in text.split("<tr>")[2:]]
    lengths = [min(len(train.of(k)), max(len(sample.piece) for sample in samples)) for k in range(len(train))]
    assert rows == [["3", "4", "5"], [f"{min(lengths)}", f"{np.median(lengths):g}", f"{max(lengths)}"]]
