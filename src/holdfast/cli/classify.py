"""`holdfast classify` and `regress`: what a trained run says of sequences, a row for each in the order of the input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from holdfast.data import DataError, Example, Fault, Reading, content_of, examples, recordings
from holdfast.data.charsets import UTF_8, charset
from holdfast.data.sources import decoded, numbered
from holdfast.tasks import opened
from holdfast.tasks.classification import Answers, Classify, Regress, SequenceRun

from .devices import Device
from .errors import Refused
from .reading import ENCODING
from .rows import STDIN, Row, check_out, writing

_TOGETHER = 4096  # examples that are read, sorted by length and answered at a time
_HELD = 1 << 24  # numbers or characters of them at most
_DIGITS = 7  # of a figure

_RUN = typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)
_FILES = typer.Argument(
    metavar="FILE...", help="Files or folders of any kind that fit reads, labels or not; -: texts, a line each."
)
_OUT = typer.Option("--out", metavar="FILE", help="A file that ends in .csv or .jsonl; default: the terminal.")
_TEXT = typer.Option(
    "--text", metavar="COLUMN", help="The column of texts, if it is called otherwise than in training."
)
_SKIP_BAD = typer.Option("--skip-bad", help="Leave the answer empty where one cannot be read, and say why.")
_EACH_STEP = typer.Option("--each-step", help="A row for each step: the answer if the sequence ended there.")
_JSON = typer.Option("--json", help="Print JSON lines; with --out, one JSON object that says how many there were.")


def classify(
    run: Annotated[Path, _RUN],
    files: Annotated[list[str], _FILES],
    out: Annotated[Optional[Path], _OUT] = None,  # noqa: UP045
    text: Annotated[str, _TEXT] = "",
    skip_bad: Annotated[bool, _SKIP_BAD] = False,
    each_step: Annotated[bool, _EACH_STEP] = False,
    encoding: Annotated[str, ENCODING] = "",
    as_json: Annotated[bool, _JSON] = False,
    device: Device = "cpu",
) -> None:
    """Say of which class sequences are, and how sure that is.

    A row for each sequence: its number from 1 on, the class, its probability, and that of each class as p_NAME.
    Sequences are read some thousand at a time, so that files may be of any size; texts from - are answered line by
    line.
    """
    _answer(_opened(run, Classify.name, device), files, _Wanted(out, text, skip_bad, each_step, as_json))


def regress(
    run: Annotated[Path, _RUN],
    files: Annotated[list[str], _FILES],
    out: Annotated[Optional[Path], _OUT] = None,  # noqa: UP045
    text: Annotated[str, _TEXT] = "",
    skip_bad: Annotated[bool, _SKIP_BAD] = False,
    each_step: Annotated[bool, _EACH_STEP] = False,
    encoding: Annotated[str, ENCODING] = "",
    as_json: Annotated[bool, _JSON] = False,
    device: Device = "cpu",
) -> None:
    """Say a number of each sequence.

    A row for each sequence: its number from 1 on, and the prediction. Sequences are read some thousand at a time, so
    that files may be of any size; texts from - are answered line by line.
    """
    _answer(_opened(run, Regress.name, device), files, _Wanted(out, text, skip_bad, each_step, as_json))


@dataclass(frozen=True)
class _Wanted:
    """What the command line says, as `classify` has it."""

    out: Path | None
    text: str
    skip_bad: bool
    each_step: bool
    as_json: bool


def _opened(folder: Path, task: str, device: str) -> SequenceRun:
    found = opened(folder, device)
    if not isinstance(found, SequenceRun) or found.task.name != task:
        raise Refused(f"{task} needs a run of the task {task}; {folder} is one of the task {found.task.name}")
    return found


def _answer(run: SequenceRun, files: Sequence[str], wanted: _Wanted) -> None:
    """Read, answer and write, a part after the other."""
    answers = Answers(run)
    _check(run, answers, files, wanted)
    by_line = STDIN in files
    found = _lines() if by_line else _examples(run, files, wanted)
    rows = _Rows(answers, wanted)
    with writing(wanted.out, rows.names, wanted.as_json) as (write, file):
        for part in _parts(_sieved(answers, found, wanted.skip_bad), 1 if by_line else _TOGETHER):
            for row in rows.of(part):
                write(row)
            if by_line:
                file.flush()
    if wanted.as_json and wanted.out is not None:
        done = {"task": run.task.name, "sequences": rows.count, "faults": rows.faults, "out": str(wanted.out)}
        typer.echo(json.dumps(done))
    elif wanted.out is not None:
        typer.echo(f"{rows.count:,} sequences are answered in {wanted.out}", err=True)
    if rows.faults:
        typer.echo(
            f"{rows.faults:,} of {rows.count:,} sequences could not be read: their column fault says why", err=True
        )


def _check(run: SequenceRun, answers: Answers, files: Sequence[str], wanted: _Wanted) -> None:
    """Refuse what cannot be before there is much work."""
    check_out(wanted.out, (".csv", ".jsonl"), files, run.folder)
    if STDIN in files and len(files) > 1:
        raise Refused("- is all that is read: name it without other files")
    if STDIN in files and answers.encoding is None:
        raise Refused("- is for texts, but the run reads series: name a file")
    if wanted.each_step:
        try:
            run.model.refuse_both_directions()
        except ValueError as error:
            raise Refused(f"--each-step: {error}") from None


# Reading.


def _examples(run: SequenceRun, files: Sequence[str], wanted: _Wanted) -> Iterator[Example]:
    """The sequences of files, whose labels, if there are any, mean nothing.

    Raises:
        DataError: recordings are not there, all of which are named at once, and `skip_bad` is not set.
    """
    known = Reading.from_dict(run.facts["reading"]["reading"])
    reading = replace(known, text=wanted.text or known.text, labelled=False, numeric=False)
    recordings({"given": files}, reading, wanted.skip_bad)
    return examples(files, reading)


def _lines() -> Iterator[Example]:
    """The lines of the standard input, as they come; of UTF-8, one that is not has a fault."""
    for number, line in _numbered_lines():
        where = f"line {number} of the standard input"
        try:
            yield Example(where, content_of(line.decode() if isinstance(line, bytes) else line), None)
        except UnicodeDecodeError:
            yield Example(where, None, None, "it is not UTF-8 text")
        except Fault as fault:
            yield Example(where, None, None, str(fault))


def _numbered_lines() -> Iterator[tuple[int, str | bytes]]:
    """The lines without their newlines; of UTF-8 as they stand there."""
    if charset() == UTF_8:
        yield from enumerate((line.rstrip(b"\r\n") for line in sys.stdin.buffer), 1)
    else:  # the bytes of a newline may be others
        for number, line in numbered(decoded("standard input", sys.stdin.buffer)):
            yield number, line.rstrip("\r")


def _sieved(answers: Answers, found: Iterable[Example], skip: bool) -> Iterator[Example]:
    """The same, where those that the run cannot read have a fault too.

    Raises:
        DataError: one has, and `skip` is not set.
    """
    for one in found:
        if one.content is not None and (fault := answers.fault_of(one.content)):
            one = one._replace(content=None, fault=fault)
        if one.fault and not skip:
            raise DataError(f"{one.where}: {one.fault}; --skip-bad leaves the answer empty")
        yield one


def _parts(found: Iterable[Example], most: int) -> Iterator[list[Example]]:
    """Some at a time: so many at most, and not too long together."""
    part: list[Example] = []
    held = 0
    for one in found:
        part.append(one)
        held += 0 if one.content is None else len(one.content) if isinstance(one.content, str) else one.content.size
        if len(part) == most or held >= _HELD:
            yield part
            part, held = [], 0
    if part:
        yield part


# Rows.


class _Rows:
    """What is written of each sequence.

    Attributes:
        names: of the columns.
        count, faults: how many sequences there were until now, and how many could not be read.
    """

    def __init__(self, answers: Answers, wanted: _Wanted) -> None:
        self._answers, self._wanted = answers, wanted
        self._classes: list[str] = list(answers.run.facts["classes"])
        text = answers.encoding is not None
        self.names = ["row"]
        self.names += (["step", "token"] if text else ["step"]) if wanted.each_step else []
        self.names += ["prediction"]
        self.names += ["probability", *(f"p_{name}" for name in self._classes)] if self._classes else []
        self.names += ["fault"] if wanted.skip_bad else []
        self.count = self.faults = 0

    def of(self, part: Sequence[Example]) -> Iterator[Row]:
        """The rows of some sequences, in their order."""
        contents = [one.content for one in part if one.content is not None]
        said = iter(self._said(contents)) if contents else iter(())
        for one in part:
            self.count += 1
            if one.content is None:
                self.faults += 1
                yield {"row": self.count, "fault": one.fault}
            elif not self._wanted.each_step:
                yield {"row": self.count, **self._cells(next(said))}
            else:
                for step, (token, each) in enumerate(zip(self._answers.pieces(one.content), next(said)), 1):
                    yield {"row": self.count, "step": step, "token": token, **self._cells(each)}

    def _said(self, contents: Sequence[Any]) -> Sequence[Any]:
        return self._answers.by_step(contents) if self._wanted.each_step else [*self._answers.of(contents)]

    def _cells(self, said: Any) -> Row:
        """What is said at one place: probabilities, (K,), or a number."""
        if not self._classes:
            return {"prediction": _figure(said)}
        chosen = int(said.argmax())
        found: Row = {"prediction": self._classes[chosen], "probability": _figure(said[chosen])}
        return {**found, **{f"p_{name}": _figure(p) for name, p in zip(self._classes, said)}}


def _figure(value: Any) -> float:
    return float(f"{value:.{_DIGITS}g}")
