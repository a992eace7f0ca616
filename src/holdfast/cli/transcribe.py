"""`holdfast transcribe`: what is said in recordings, or in a sound that is still coming."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.cells import cell_len

from holdfast.data import DataError, Fault
from holdfast.data import files as files_of
from holdfast.data.audio import SUFFIXES, pcm_blocks
from holdfast.data.sources import is_folder, suffix
from holdfast.models import Word
from holdfast.tasks import opened
from holdfast.tasks.transcription import Decoding, TranscribeRun, Transcript, subtitles

from .devices import Device
from .errors import Refused
from .rows import STDIN, Row, check_out, replacing, writing

_TABLES, _SUBTITLES = (".csv", ".jsonl"), (".srt", ".vtt")
_LIVE_BLOCK = 0.1  # seconds of sound that are waited for from a pipe


def transcribe(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)],
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="WAV, FLAC and Ogg files, folders or globs; -: raw samples from standard input."
        ),
    ],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", metavar="FILE", help="A .csv or .jsonl; of one recording also .srt or .vtt, subtitles."),
    ] = None,
    words: Annotated[bool, typer.Option("--words", help="A row for each word, with its times and confidence.")] = False,
    beam: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            "--beam",
            min=1,
            metavar="N",
            help="Texts that are kept in mind. [default: 1; 16 with --language]",
        ),
    ] = None,
    language: Annotated[
        str, typer.Option("--language", metavar="RUN", help="A run of the task text, of characters, that helps.")
    ] = "",
    language_weight: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            "--language-weight",
            min=0.0,
            metavar="X",
            help=f"How much it counts. [default: {Decoding.language_weight}]",
        ),
    ] = None,
    insertion: Annotated[
        float, typer.Option("--insertion", metavar="X", help="What each symbol adds to a beam's score; > 0: longer.")
    ] = Decoding.insertion,
    rate: Annotated[
        int, typer.Option("--rate", min=0, metavar="N", help="Of -: samples a second. [default: the model's]")
    ] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave the text empty where a file cannot be read, and say why.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    device: Device = "cpu",
) -> None:
    """Write down what is said.

    A line for each recording: its text, after its name where there are several. Recordings of hours are read in parts,
    which end at quiet places. From standard input come raw samples of 16 bits, the lower byte first, of one channel:
    what is said is printed while it is being said, if the run was trained with --streaming.
    """
    check_out(out, (*_TABLES, *_SUBTITLES), [name for name in files if not Path(name).is_dir()], run)
    fitted = opened(run, device)
    if not isinstance(fitted, TranscribeRun):
        raise Refused(f"transcribe needs a run of the task transcribe; {run} is one of the task {fitted.task.name}")
    if language_weight is not None and not language:
        raise Refused("--language-weight is that of a language model: name one with --language")
    weight = Decoding.language_weight if language_weight is None else language_weight
    try:
        decoding = Decoding(beam or (16 if language else 1), language, weight, insertion)
    except ValueError as error:
        raise Refused(str(error)) from None
    wanted = _Wanted(out, words, skip_bad, as_json)
    if out is not None and out.suffix in _SUBTITLES and (words or as_json or skip_bad):
        raise Refused("subtitles are of one recording's words: leave out --words, --json and --skip-bad")
    if STDIN in files:
        if len(files) > 1:
            raise Refused("- is all that is read: name it without other files")
        if out is not None:
            raise Refused("--out is for files; what comes from - is printed")
        _live(fitted, decoding, rate, wanted)
    elif rate:
        raise Refused("--rate is for -, raw samples; files say themselves how many samples they have a second")
    else:
        _files(fitted, decoding, _sounds(files), wanted)


@dataclass(frozen=True)
class _Wanted:
    """What the command line says, as `transcribe` has it."""

    out: Path | None
    words: bool
    skip_bad: bool
    as_json: bool


def _sounds(given: Sequence[str]) -> list[str]:
    """The recordings that paths stand for; of a folder those that it holds.

    Raises:
        DataError: some are not there, all of which are named, or are of another kind.
    """
    found: list[str] = []
    missing: list[str] = []
    for path in given:
        try:
            names = files_of([path])
        except DataError as error:
            missing.append(str(error))
            continue
        inside = is_folder(path) or "*" in path
        sounds = [name for name in names if suffix(name) in SUFFIXES]
        if inside and not sounds:
            missing.append(f"{path} holds no recordings ({', '.join(SUFFIXES)})")
        found += sounds if inside else names
    if missing:
        raise DataError("; ".join(missing))
    return [*dict.fromkeys(found)]


# Files.


def _files(run: TranscribeRun, decoding: Decoding, sounds: Sequence[str], wanted: _Wanted) -> None:
    if wanted.out is not None and wanted.out.suffix in _SUBTITLES:
        _subtitle(run, decoding, sounds, wanted.out)
        return
    if wanted.out is None and not wanted.words and not wanted.as_json:
        faults = _print(run, decoding, sounds, wanted.skip_bad)
    else:
        faults = _write(run, decoding, sounds, wanted)
    if faults:
        typer.echo(f"{faults:,} of {len(sounds):,} recordings could not be read", err=True)


def _print(run: TranscribeRun, decoding: Decoding, sounds: Sequence[str], skip: bool) -> int:
    """A line for each recording, of one alone as it goes on; how many could not be read."""
    faults = 0
    for path in sounds:
        try:
            if len(sounds) == 1:
                for part in run.parts(path, decoding=decoding):
                    if part.text:
                        typer.echo(part.text)
                continue
            typer.echo(f"{path}\t{run.transcribe(path, decoding=decoding).text}")
        except (Fault, DataError) as error:
            faults += _failed(path, _why(path, error), skip)
    return faults


def _subtitle(run: TranscribeRun, decoding: Decoding, sounds: Sequence[str], out: Path) -> None:
    """Write subtitles of one recording."""
    if len(sounds) > 1:
        raise Refused(f"subtitles are of one recording; got {len(sounds):,}")
    try:
        said = run.transcribe(sounds[0], decoding=decoding)
    except (Fault, DataError) as error:
        raise DataError(f"{sounds[0]}: {_why(sounds[0], error)}") from None
    with replacing(out) as file:
        file.writelines(subtitles(said.words, out.suffix.removeprefix(".")))


def _write(run: TranscribeRun, decoding: Decoding, sounds: Sequence[str], wanted: _Wanted) -> int:
    """Rows for each recording; how many could not be read."""
    names = ["path", "start", "end", "word"] if wanted.words else ["path", "text", "seconds"]
    names += ["confidence", *(["fault"] if wanted.skip_bad else [])]
    faults = 0
    with writing(wanted.out, names, wanted.as_json) as (write, _):
        for path in sounds:
            try:
                rows = _rows(path, run.transcribe(path, decoding=decoding), wanted.words)
            except (Fault, DataError) as error:
                fault = _why(path, error)
                faults += _failed(path, fault, wanted.skip_bad)
                rows = [{"path": path, "fault": fault}]
            for row in rows:
                write(row)
    return faults


def _why(path: str, error: Exception) -> str:
    """Why a recording cannot be read; the recording is named beside it."""
    return str(error).removeprefix(f"{path} ")


def _failed(path: str, fault: str, skip: bool) -> int:
    """One more that could not be read.

    Raises:
        DataError: that is an error.
    """
    if not skip:
        raise DataError(f"{path}: {fault}; --skip-bad goes on with the others")
    typer.echo(f"holdfast: {path}: {fault}", err=True)
    return 1


def _rows(path: str, said: Transcript, words: bool) -> list[Row]:
    if not words:
        sure = round(said.confidence, 4)
        return [{"path": path, "text": said.text, "seconds": round(said.end, 2), "confidence": sure}]
    return [{"path": path, **_word(word)} for word in said.words]


def _word(word: Word) -> Row:
    times = {"start": round(word.start, 2), "end": round(word.end, 2)}
    return {**times, "word": word.text, "confidence": round(word.confidence, 4)}


# A sound that is still coming.


def _live(run: TranscribeRun, decoding: Decoding, rate: int, wanted: _Wanted) -> None:
    mel, live = run.mel, run.live(decoding)
    if not run.options.streaming:
        typer.echo(
            "holdfast: this run reads each part as a whole: its text comes after some seconds, at a quiet place; a run "
            "that was trained with --streaming writes at once",
            err=True,
        )
    screen = sys.stdout.isatty() and not wanted.as_json and not wanted.words
    shown = ""
    try:
        for block in pcm_blocks(sys.stdin.buffer, rate or mel.rate, mel.rate, _LIVE_BLOCK):
            for part in live.push(block):
                _say(part, wanted, shown)
                shown = ""
            if screen:
                shown = _show(live.so_far().text, shown)
    except Fault as fault:
        raise DataError(f"standard input: {fault}") from None
    finally:  # who speaks into a microphone ends with Ctrl-C, and has been heard until then
        for part in live.finish():
            _say(part, wanted, shown)


def _say(part: Transcript, wanted: _Wanted, shown: str) -> None:
    """Print a part that has ended, over what was shown of it."""
    if wanted.as_json:
        found = {"start": round(part.begin, 2), "end": round(part.end, 2), "text": part.text}
        typer.echo(json.dumps({**found, "words": [_word(word) for word in part.words]}))
    elif wanted.words:
        for word in part.words:
            typer.echo(f"{word.start:.2f}\t{word.end:.2f}\t{word.text}\t{word.confidence:.4f}")
    elif part.text or shown:
        typer.echo(f"\r{part.text}{_blanks(part.text, shown)}" if shown else part.text)
    sys.stdout.flush()


def _show(text: str, shown: str) -> str:
    """Show what is being said in the terminal's last line, over what was shown of it; what is shown now.

    Of what is wider than the line that is its end.
    """
    width = shutil.get_terminal_size().columns - 1
    while cell_len(text) > width:
        text = text[1:]
    if text != shown:
        typer.echo(f"\r{text}{_blanks(text, shown)}", nl=False)
        sys.stdout.flush()
    return text


def _blanks(text: str, shown: str) -> str:
    """What must follow a text so that it covers another one."""
    return " " * (cell_len(shown) - cell_len(text))
