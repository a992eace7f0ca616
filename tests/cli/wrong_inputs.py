"""Wrong inputs, as people give them: each a path, written into a folder."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

Writer = Callable[[Path], str | Path]


def _file(name: str, content: bytes | str) -> Writer:
    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def _half(name: str, whole: Callable[[Path], Any], kept: float = 0.5) -> Writer:
    """A file that ends too early, as a download does that was broken off."""

    def write(folder: Path) -> Path:
        path = folder / name
        whole(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * kept)])
        return path

    return write


def _given(path: str) -> Writer:
    return lambda folder: path.format(folder=folder)


def _made(make: Callable[[Path], str | Path]) -> Writer:
    return make


def _sound(path: Path, samples: np.ndarray, **how: Any) -> Path:
    soundfile.write(path, samples, 8000, **how)
    return path


def _folder(folder: Path, *names: str) -> Path:
    path = folder / "folder"
    path.mkdir()
    for name in names:
        (path / name).write_text("to be")
    return path


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "fifo.csv")
    return folder / "fifo.csv"


def _odd_name(folder: Path) -> str:
    path = os.fsdecode(os.fsencode(folder / "caf") + b"\xe9.csv")
    Path(path).write_text("text,label\na,b\n")
    return path


def _packed(content: bytes) -> bytes:
    held = io.BytesIO()
    with gzip.GzipFile(fileobj=held, mode="wb", mtime=0) as file:
        file.write(content)
    return held.getvalue()


def _objects(path: Path) -> None:
    np.savez(path, x=np.array([{"a": 1}, {"b": 2}], object), y=np.array([0, 1]))


def _no_numbers(path: Path) -> None:
    np.savez(path, x=np.full((20, 2), np.nan), lengths=np.full(4, 5), y=np.array([0, 1, 0, 1]))


def _written(name: str, write: Callable[[Path], Any]) -> Writer:
    def make(folder: Path) -> Path:
        write(folder / name)
        return folder / name

    return make


_NOISE = np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8).tobytes()
_DAYS = [f"2024-01-{k:02}" for k in range(1, 29)]


def _series(cells: list[str], times: list[str] = _DAYS) -> str:
    return "ds,y\n" + "".join(f"{time},{cell}\n" for time, cell in zip(times, cells))


WRONG: dict[str, Writer] = {
    # Nothing there.
    "a file that is not there": _given("{folder}/none.csv"),
    "a glob without a match": _given("{folder}/*.none"),
    "a folder without files": _made(lambda folder: _folder(folder)),
    "a folder of hidden files": _made(lambda folder: _folder(folder, ".a.txt", ".b.csv")),
    "a pipe with nobody at its other end": _made(_fifo),
    "a file that cannot be read": _given("/proc/self/mem"),
    "a name that is too long": _given("{folder}/" + "x" * 300 + ".csv"),
    "a name that is not UTF-8": _made(_odd_name),
    "a protocol that is none": _given("nothing://server/a.csv"),
    "a server that does not answer": _given("http://127.0.0.1:9/a.csv"),
    "an archive that is none": _made(lambda folder: f"zip://a.txt::{_file('a.zip', b'no zip')(folder)}"),
    "a file that an archive lacks": _written("a.zip", lambda path: zipfile.ZipFile(path, "w").close()),
    # Empty.
    "an empty table": _file("empty.csv", ""),
    "an empty text": _file("empty.txt", ""),
    "blank lines": _file("blank.txt", "\n \n\n"),
    "a header alone": _file("header.csv", "text,label\n"),
    "an empty recording": _file("empty.wav", b""),
    "an empty tune": _file("empty.mid", b""),
    # Other encodings, and no text.
    "latin-1": _file("latin.csv", "text,label\nna\u00efve,1\nf\u00efne,2\n".encode("latin-1")),
    "UTF-16": _file("wide.txt", "to be or not to be\n".encode("utf-16")),
    "Cyrillic": _file(
        "cyrillic.txt", ("\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440\n" * 9).encode("cp1251")
    ),
    "bytes": _file("noise.bin", _NOISE),
    "bytes as a table": _file("noise.csv", _NOISE),
    "a NUL in a table": _file("nul.csv", b"text,label\na\0b,1\n"),
    # Torn.
    "a packed table that is torn": _file("torn.csv.gz", _packed(b"text,label\n" + b"a,b\n" * 500)[:30]),
    "a packed text that is not packed": _file("plain.txt.gz", "to be"),
    "a Parquet file that is none": _file("no.parquet", "text,label\n"),
    "a Parquet file that is torn": _half(
        "torn.parquet", lambda path: pd.DataFrame({"text": ["a", "b"] * 50, "label": ["c", "d"] * 50}).to_parquet(path)
    ),
    "a recording that is torn": _half("torn.wav", lambda path: _sound(path, np.zeros(4000)), 0.4),
    "a recording that is text": _file("text.wav", "to be or not to be"),
    "a recording of no samples": _written("none.wav", lambda path: _sound(path, np.zeros(0))),
    "a recording of NaN": _written("nan.wav", lambda path: _sound(path, np.full(4000, np.nan), subtype="FLOAT")),
    "a tune that is torn": _file("torn.mid", b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\1\0\0\x90"),
    "a tune that is text": _file("text.mid", "to be or not to be"),
    # Tables that are wrong.
    "a quotation mark that is not closed": _file("open.csv", 'text,label\n"a,b\nc,d\n'),
    "a row that is too long": _file("long.csv", "text,label\na,b\nc,d,e,f\n"),
    "two columns of one name": _file("double.csv", "text,text\na,b\n"),
    "no names of columns": _file("numbers.csv", "1,2,3\n4,5,6\n"),
    "other columns": _file("other.csv", "colour,shape\nred,round\nblue,square\n"),
    "a cell of megabytes": _file("cell.csv", "text,label\n" + "x" * 1_000_000 + ",a\nb,c\n"),
    "a line of megabytes": _file("line.txt", "to be or not " * 100_000),
    "no known value": _file("unknown.csv", _series(["nan"] * 28)),
    "an infinite value": _file("infinite.csv", _series(["1", "inf", *"123" * 8])),
    "a word among numbers": _file("word.csv", _series(["1", "two", *"123" * 8])),
    "a time that is there twice": _file("twice.csv", _series([*"123456"], [_DAYS[0], _DAYS[0], *_DAYS[2:6]])),
    "a time that is none": _file("notime.csv", _series([*"1234"], ["2024-01-01", "soon", "2024-01-03", "2024-01-04"])),
    "a value alone": _file("one.csv", _series(["1"])),
    # JSON, arrays, lists.
    "JSON lines that are broken": _file("broken.jsonl", '{"text": "a", "label": "b"}\n{"text": "a", '),
    "JSON lines of no objects": _file("list.jsonl", "[1, 2]\n3\n"),
    "JSON of many brackets": _file("deep.jsonl", "[" * 100_000),
    "half a character in JSON": _file("half.jsonl", json.dumps({"text": "\ud800", "label": "a"}) + "\n"),
    "arrays that are none": _file("no.npz", "to be"),
    "arrays of objects": _written("objects.npz", _objects),
    "arrays of no numbers": _written("nan.npz", _no_numbers),
    "a .ts of no series": _file("none.ts", "@problemName a\n@classLabel true a b\n@data\n"),
    "a list of recordings that are not there": _file("list.csv", "path,text\nno.wav,one\nnor.wav,two\n"),
    "a list of recordings that are text": _made(
        lambda folder: (
            _file("a.wav", "no sound")(folder),
            _file("sounds.csv", "path,text\na.wav,one\na.wav,two\n")(folder),
        )[1]
    ),
}
