"""What the report says of transcripts that are known."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import jiwer
import pytest
import torch

from holdfast.data.audio import Mel
from holdfast.tasks.transcription import TranscribeRun, Transcript, report
from holdfast.tasks.transcription.run import Decoder, Decoding


def _judged(number: int, said: str, written: str) -> report._Judged:
    compared = jiwer.process_characters(said, written)
    return report._Judged(number, said, Transcript(written, [], 0.0, 1.0), [], compared)


def test_errors_are_counted_by_the_symbol_that_was_said() -> None:
    page = report._by_symbol([_judged(0, "abab", "acb"), _judged(1, "a", "ad"), _judged(2, "bc", "bc")])
    rows = re.findall(r"<tr><th scope=\"row\">(.)</th>(.*?)</tr>", page)
    cells = {symbol: re.findall("<td>(.*?)</td>", row) for symbol, row in rows}
    assert cells["a"][:2] == ["3", "33.3%"]
    assert cells["b"][:2] == ["3", "33.3%"]
    assert {cells["a"][2], cells["b"][2]} == {"∅ 1", "c 1"}
    assert cells["c"] == ["1", "0.0%", "", "0"]
    assert cells["d"] == ["0", "–", "", "1"]


def test_the_recordings_with_most_errors_are_shown_first(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = [_judged(0, "ab", "xy"), _judged(1, "abc", "axc"), _judged(2, "ab", "ab")]
    monkeypatch.setattr(report, "_one", lambda run, part, one: f"[{one.number}]")
    page = report._hardest(None, None, judged)  # type: ignore[arg-type]
    assert "2 of 3 recordings have an error" in page
    assert re.findall(r"\[(\d)\]", page) == ["0", "1", "2"]


def test_recordings_are_sorted_by_the_share_of_their_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [("ab", "ab"), ("abcd", "abxx"), ("a", "b")]

    class Said:
        def __len__(self) -> int:
            return len(texts)

        def text(self, k: int) -> str:
            return texts[k][0]

    class Known:
        def __init__(self, *given: object) -> None:
            pass

        def transcript(self, segment: report.Segment) -> Transcript:
            return Transcript(texts[segment.logs][1], [], 0.0, 1.0)  # type: ignore[call-overload]

        def placed(self, segment: report.Segment) -> list[tuple[float, str]]:
            return []

    class Run(TranscribeRun):
        def __init__(self) -> None:
            self.model, self.facts = None, {"mel": {"rate": 8000}}  # type: ignore[assignment]

    monkeypatch.setattr(report, "Decoder", Known)
    monkeypatch.setattr(report, "logs_of", lambda *given: ((k, k) for k in range(3)))
    assert [one.number for one in report._judged(Run(), Said())] == [2, 1, 0]  # type: ignore[arg-type]


def test_a_transcript_without_a_word_is_as_sure_as_that_nothing_was_said() -> None:
    run: Any = SimpleNamespace(symbols=["a", "b"], mel=Mel(rate=8000))
    decoder = Decoder(run, Decoding())
    judged = []
    for number, heard in enumerate((0.45, 0.004)):  # the probability of a symbol at one step
        logs = torch.tensor([[0.998, 0.001, 0.001], [1 - heard, heard / 2, heard / 2]]).log()
        transcript = decoder.transcript(report.Segment(0, logs))
        assert (transcript.text, transcript.words) == ("", [])
        assert transcript.confidence == pytest.approx(1 - heard)
        judged.append(report._Judged(number, "ab", transcript, [], jiwer.process_characters("ab", "")))
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td>', report._confidence(judged))
    assert rows == [("0.5 to 0.8", "1", "0.0%"), ("0.99 and above", "1", "0.0%")]
    assert decoder.transcript(report.Segment(0, torch.zeros(0, 3))).confidence == 0.0
