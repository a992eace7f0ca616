"""`holdfast translate`: texts in another language or form, line by line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Annotated, Optional, TextIO

import typer

from holdfast.data import DataError, files
from holdfast.data.sources import decoded, numbered, text_within
from holdfast.models import Beam, Sampling
from holdfast.tasks import opened
from holdfast.tasks.translation import TranslateRun, Translation

from .devices import Device
from .errors import Refused
from .reading import ENCODING
from .rows import STDIN, check_out, replacing

_KINDS = (".txt", ".tsv", ".jsonl")


def translate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)],
    given: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="[FILE]...", help="Files of lines, globs or URLs, .gz too; -, the default: standard input."
        ),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--out", metavar="FILE", help="A .txt, or with scores a .tsv or .jsonl; default: standard output."
        ),
    ] = None,
    beam: Annotated[
        int,
        typer.Option("--beam", min=1, metavar="N", help="Translations that are kept in mind; 1: the likeliest word."),
    ] = Beam.width,
    length_penalty: Annotated[
        float, typer.Option("--length-penalty", min=0.0, metavar="X", help="0 prefers short translations, 1 long ones.")
    ] = Beam.length_penalty,
    coverage_penalty: Annotated[
        float, typer.Option("--coverage-penalty", min=0.0, metavar="X", help="> 0: against passing over words.")
    ] = Beam.coverage_penalty,
    n_best: Annotated[
        int,
        typer.Option("--n-best", min=1, metavar="N", help="How many of the beam, with line and score."),
    ] = 1,
    temperature: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--temperature", min=0.0, metavar="X", help="Draw words at this temperature instead of a beam."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32, metavar="N", help="Of what is drawn.")] = 0,
    encoding: Annotated[str, ENCODING] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each line.")] = False,
    device: Device = "cpu",
) -> None:
    """Translate text, a line for a line.

    An empty line stays empty. A line that is longer than all that was learned from is translated in parts, and the
    command says so.
    """
    names = given or [STDIN]
    check_out(out, _KINDS, names, run)
    if STDIN in names and len(names) > 1:
        raise Refused("- is all that is read: name it without files")
    if n_best > beam:
        raise Refused(f"--n-best {n_best} needs a beam that is as wide: --beam {n_best}")
    if temperature is not None and n_best > 1:
        raise Refused("--temperature draws one translation; leave out --n-best")
    fitted = opened(run, device)
    if not isinstance(fitted, TranslateRun):
        raise Refused(f"translate needs a run of the task translate; {run} is one of the task {fitted.task.name}")
    try:
        how = Beam(beam, length_penalty, coverage_penalty)
        sampling = None if temperature is None else Sampling(temperature=temperature)
    except ValueError as error:
        raise Refused(str(error)) from None
    wanted = _Wanted(
        how,
        sampling,
        seed,
        n_best,
        as_json or (out is not None and out.suffix == ".jsonl"),
        n_best > 1 or (out is not None and out.suffix == ".tsv"),
    )
    read = _stdin() if names == [STDIN] else _lines(names)
    if out is None:
        _write(fitted, read, wanted, sys.stdout, one_by_one=names == [STDIN] and sys.stdin.isatty())
    else:
        with replacing(out) as file:
            _write(fitted, read, wanted, file)


@dataclass(frozen=True)
class _Wanted:
    """What the command line says."""

    beam: Beam
    sampling: Sampling | None
    seed: int
    n_best: int
    as_json: bool
    scored: bool


def _lines(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The lines of files, and where they stand."""
    for name in files(names):
        empty = True
        for number, line in numbered(text_within(name)):
            yield f"{name}, line {number}", line
            empty = False
        if empty:
            raise DataError(f"{name} is empty")


def _stdin() -> Iterator[tuple[str, str]]:
    """The lines of standard input as they come."""
    for number, line in numbered(decoded("standard input", sys.stdin.buffer)):
        yield f"standard input, line {number}", line


def _write(
    run: TranslateRun, read: Iterator[tuple[str, str]], wanted: _Wanted, file: TextIO, one_by_one: bool = False
) -> None:
    places, texts = tee(read)
    try:
        found = run.translations((line for _, line in texts), wanted.beam, wanted.sampling, wanted.seed, one_by_one)
        for number, ((where, line), made) in enumerate(zip(places, found), 1):
            file.writelines(_rows(number, line.rstrip("\r"), made, wanted))
            if one_by_one:
                file.flush()
            if made.parts > 1:
                said = f"longer than all that was learned from, translated in {made.parts:,} parts"
                typer.echo(f"holdfast: {where}: {said}", err=True)
    except ValueError as error:
        raise error if isinstance(error, DataError) else Refused(str(error)) from None


def _rows(number: int, line: str, made: Translation, wanted: _Wanted) -> Iterator[str]:
    every = [(made.text, made.score), *made.others][: wanted.n_best]
    if wanted.as_json:
        rows = [{"text": text, "score": round(score, 4)} for text, score in every]
        yield json.dumps({"source": line, **rows[0], **({"others": rows[1:]} if len(rows) > 1 else {})}) + "\n"
        return
    before = f"{number}\t" if wanted.n_best > 1 else ""  # what was translated in parts has fewer than it was asked for
    for text, score in every:
        yield f"{before}{score:.4f}\t{text}\n" if wanted.scored else f"{text}\n"
