"""`holdfast compose`: new music, more of a tune, or voices below a melody; as MIDI and as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from holdfast.data import Fault
from holdfast.data.music import Tune, midi_bytes, on_the_piano, pitch_name, read_midi
from holdfast.models import Sampling
from holdfast.tasks import opened
from holdfast.tasks.composition import Composed, ComposeRun, Learned, drawn
from holdfast.training import write_atomically

from .devices import Device
from .errors import Refused
from .reading import TRUST_PATHS
from .rows import check_out

_KINDS = (".mid", ".midi")


def compose(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A .mid; beside it comes a picture, .svg.")],
    bars: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--bars", min=1, metavar="N", help="How many are composed. [default: 16]"),
    ] = None,
    prompt: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--prompt", metavar="FILE", help="A MIDI file that the music begins with and goes on from."),
    ] = None,
    harmonise: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--harmonise", metavar="FILE", help="A MIDI file whose highest notes get voices below them."),
    ] = None,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, metavar="X", help="Below 1 safer, above 1 wilder; 0: no chance.")
    ] = Sampling.temperature,
    top_p: Annotated[
        float, typer.Option("--top-p", metavar="P", help="Among the likeliest notes that together have probability P.")
    ] = Sampling.top_p,
    count: Annotated[
        int, typer.Option("--count", min=1, metavar="N", help="How many pieces; from two on FILE gets their numbers.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32, metavar="N", help="Of what is drawn.")] = 0,
    check: Annotated[
        bool, typer.Option("--check", help="Say how much of each piece stands in the training data.")
    ] = False,
    trust_paths: Annotated[bool, TRUST_PATHS] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each piece.")] = False,
    device: Device = "cpu",
) -> None:
    """Compose music: a MIDI file and a piano roll."""
    for name, value in (("--prompt", prompt), ("--harmonise", harmonise)):
        if value == "":
            raise Refused(f"{name} names no file")
    paths = [out] if count == 1 else [_numbered(out, k, count) for k in range(count)]
    for path in paths:
        check_out(path, _KINDS, [name for name in (prompt, harmonise) if name], run)
        check_out(path.with_suffix(".svg"), (".svg",), (), run, "the picture of --out")
    if prompt and harmonise:
        raise Refused("--prompt goes on from a tune and --harmonise goes along with one: give one of them")
    if harmonise and bars:
        raise Refused("--harmonise takes as many bars as the melody has: leave out --bars")
    fitted = opened(run, device, trust_paths)
    if not isinstance(fitted, ComposeRun):
        raise Refused(f"compose needs a run of the task compose; {run} is one of the task {fitted.task.name}")
    try:
        sampling = Sampling(temperature=temperature, top_p=top_p)
        how: dict[str, Any] = {"count": count, "sampling": sampling, "seed": seed}
        if harmonise:
            made = fitted.harmonise(_tune(harmonise), **how)
        else:
            made = fitted.compose(bars or 16, prompt=_tune(prompt) if prompt else None, **how)
    except ValueError as error:
        raise Refused(str(error)) from None
    learned = Learned(fitted, fitted.data().parts["train"]) if check else None
    for one, path in zip(made, paths):
        copied = learned.words(one.piece, learned.longest(one.piece)) if learned else ""
        _write(one, path, copied, as_json)


def _tune(path: str) -> Tune:
    """A tune from a MIDI file; what of it is not used goes to standard error."""
    try:
        tune = on_the_piano(read_midi(path))
    except Fault as fault:
        raise Refused(f"{path}: {fault}") from None
    for remark in tune.remarks:
        typer.echo(f"holdfast: {path}: {remark}", err=True)
    return tune


def _numbered(out: Path, k: int, count: int) -> Path:
    """The file of one of several pieces."""
    return out.with_name(f"{out.stem}-{k + 1:0{len(str(count))}}{out.suffix}")


def _write(made: Composed, path: Path, copied: str, as_json: bool) -> None:
    """The MIDI file and the picture, and a line that says what they are."""
    picture = path.with_suffix(".svg")
    write_atomically(path, midi_bytes(made.tune, made.ticks))
    write_atomically(picture, drawn(made, path.stem))
    notes = made.tune.notes
    above, below = made.tune.meter
    pitches = [note.pitch for note in notes]
    if as_json:
        said: dict[str, Any] = {
            "midi": str(path),
            "picture": str(picture),
            "bars": made.bars,
            "meter": f"{above}/{below}",
        }
        said |= {"notes": len(notes), "lowest": min(pitches, default=None), "highest": max(pitches, default=None)}
        typer.echo(json.dumps({**said, "copied": copied} if copied else said))
        return
    compass = f", {pitch_name(min(pitches))} to {pitch_name(max(pitches))}" if notes else ""
    bars = f"{made.bars:g} bar{'' if made.bars == 1 else 's'} of {above}/{below}"
    line = f"{path}: {bars}, {len(notes):,} notes{compass}; the picture is {picture}"
    typer.echo(f"{line}; {copied}" if copied else line)
