"""`holdfast evaluate`, `generate` and `info`: what a trained run is for."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import tee
from pathlib import Path
from typing import Annotated, Optional

import typer

from holdfast.data import files, lines
from holdfast.models import Sampling
from holdfast.tasks import opened, shown
from holdfast.tasks.text import TextRun

from .devices import Device
from .errors import Refused
from .progress import Bar
from .reading import ENCODING, TRUST_PATHS
from .results import print_result

_RUN = typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)


def evaluate(
    run: Annotated[Path, _RUN],
    data: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[DATA]...", help="Other data; default: the run's own test or validation part."),
    ] = None,
    split: Annotated[str, typer.Option("--split", metavar="valid|test", help="Which part of the run's data.")] = "",
    per_line: Annotated[
        bool, typer.Option("--per-line", help="Text: print each line after its nats per token and a tab.")
    ] = False,
    baselines: Annotated[bool, typer.Option(help="Measure the baselines too.")] = True,
    encoding: Annotated[str, ENCODING] = "",
    trust_paths: Annotated[bool, TRUST_PATHS] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; with --per-line, one for each line.")
    ] = False,
    device: Device = "cpu",
) -> None:
    """Measure a trained model beside simple baselines."""
    if data and split:
        raise Refused(f"--split {split} is a part of the run's own data; leave it out, or the data that are given")
    if per_line and not data:
        raise Refused("--per-line needs the files whose lines are to be scored")
    fitted = opened(run, device, trust_paths)
    if per_line:
        _print_lines(_text(fitted, "--per-line"), data or [], as_json)
        return
    with Bar(fitted.task.unit, as_json) as bar:
        result = fitted.evaluate(data or [], split, baselines, bar.busy)
    print_result(result, as_json)


def _print_lines(run: TextRun, data: list[str], as_json: bool) -> None:
    """Each line with what it takes to predict it, by the token, so that long lines are not first for being long."""
    places, texts = tee(lines(files(data)))
    for (source, number, line), (nats, count) in zip(places, run.score(text for _, _, text in texts)):
        text = line.rstrip("\r\n")
        each = nats / count
        if as_json:
            where = {"file": source, "line": number}
            typer.echo(json.dumps({**where, "nats": nats, "tokens": count, "nats_per_token": each, "text": text}))
        else:
            typer.echo(f"{each:.4f}\t{text}")


def generate(
    run: Annotated[Path, _RUN],
    prompt: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="What the text goes on from.")] = "",
    count: Annotated[int, typer.Option("--count", min=1, metavar="N", help="How many texts.")] = 1,
    length: Annotated[int, typer.Option("--length", min=1, metavar="N", help="The most tokens of each.")] = 500,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, metavar="X", help="Below 1 safer, above 1 wilder; 0: no chance.")
    ] = Sampling.temperature,
    top_k: Annotated[
        int, typer.Option("--top-k", min=0, metavar="N", help="Among the N most likely tokens only; 0: all.")
    ] = Sampling.top_k,
    top_p: Annotated[
        float, typer.Option("--top-p", metavar="P", help="Among the most likely that together have probability P.")
    ] = Sampling.top_p,
    min_p: Annotated[
        float, typer.Option("--min-p", metavar="P", help="Among those with P times the highest probability or more.")
    ] = Sampling.min_p,
    repetition_penalty: Annotated[
        float, typer.Option("--repetition-penalty", metavar="X", help="Above 1: against tokens that came lately.")
    ] = Sampling.repetition_penalty,
    stop: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--stop", metavar="TEXT", help="End before this string, several times."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", max=2**64 - 1, metavar="N", help="Of the choice.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    device: Device = "cpu",
) -> None:
    """Write text with a trained language model, as it comes."""
    fitted = _text(opened(run, device), "generate")
    try:
        sampling = Sampling(
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty
        )
        pieces = fitted.stream(prompt, count=count, length=length, sampling=sampling, seed=seed, stop=stop or ())
    except ValueError as error:
        raise Refused(str(error)) from None
    if note := fitted.unknown_note(prompt):
        typer.echo(f"holdfast: --prompt: {note}", err=True)
    if as_json:
        texts = ["".join(text) for text in zip(*pieces)]
        typer.echo(json.dumps({"task": "text", "prompt": prompt, "texts": texts}))
    else:
        _print_texts(prompt, pieces, count)


def _print_texts(prompt: str, pieces: Iterator[list[str]], count: int) -> None:
    """The first text as it comes, and then the others, which are made in the same steps."""
    others = [[prompt] for _ in range(count - 1)]
    sys.stdout.write(f"--- 1\n{prompt}" if others else prompt)
    for piece, *more in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
        for text, its in zip(others, more):
            text.append(its)
    sys.stdout.write("\n")
    for number, text in enumerate(others, 2):
        sys.stdout.write(f"--- {number}\n{''.join(text)}\n")


def info(
    run: Annotated[Path, _RUN],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a run is: its data, options and measures."""
    fitted = opened(run)
    parameters = sum(p.numel() for p in fitted.model.parameters())
    known = {
        "task": fitted.task.name,
        "step": fitted.saved["step"],
        "parameters": parameters,
        "valid": fitted.saved["valid"],
        "data": fitted.config["data"],
        "options": fitted.config["options"],
    }
    if as_json:
        typer.echo(json.dumps(known))
        return
    typer.echo(f"{run}: {fitted.task.summary}")
    steps = fitted.config["options"]["steps"]
    typer.echo(f"{parameters:,} parameters; the best of {steps:,} steps was {known['step']:,}")
    for name, value in fitted.saved["valid"].items():
        typer.echo(f"  valid {name}: {shown(value)}")
    for table in ("data", "options"):
        typer.echo(f"[{table}]")
        for name, value in fitted.config[table].items():
            typer.echo(f"  {name} = {value}")
    typer.echo(str(fitted.model))


def _text(run: object, what: str) -> TextRun:
    if not isinstance(run, TextRun):
        raise Refused(f"{what} needs a run of the task text")
    return run
