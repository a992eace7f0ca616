"""Sequences for the tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence as Several
from typing import Any

import numpy as np

from holdfast.data import Encoding, Labelled, Sequences, build_encoding
from holdfast.data.strings import Strings

Array = np.ndarray[Any, Any]


def of_texts(texts: Several[str], said: Several[float], encoding: Encoding) -> Sequences:
    """Texts, and of each what is said of it."""
    tokens = [encoding.encode(text) for text in texts]
    written = [text.encode() for text in texts]
    return Sequences(
        np.concatenate(tokens),
        _starts(tokens),
        np.array(said, np.float64),
        np.arange(len(texts)),
        Strings(np.frombuffer(b"".join(written), np.uint8), _starts(written)),
    )


def of_series(series: Several[Array], said: Several[float]) -> Sequences:
    """Series (T, C), and of each what is said of it."""
    return Sequences(np.concatenate(series), _starts(series), np.array(said, np.float64), np.arange(len(series)))


def labelled(
    train: Sequences, valid: Sequences, classes: Several[str] = (), encoding: Encoding | None = None, channels: int = 0
) -> Labelled:
    """Both parts."""
    return Labelled({"train": train, "valid": valid}, tuple(classes), encoding, channels, "digest")


def prose(texts: Several[str]) -> Encoding:
    """The encoding of some texts."""
    return build_encoding("prose", [text + "\n" for text in texts])


def random_texts(count: int, seed: int, telling: Several[str], noise: float = 0.2) -> tuple[list[str], list[int]]:
    """Texts of everyday words, and in each some that tell its class, if they do not lie."""
    draw = np.random.default_rng(seed)
    texts, said = [], []
    for _ in range(count):
        k = int(draw.integers(len(telling)))
        words = draw.choice(["the", "a", "it", "was", "not", "very", "can't", "film"], draw.integers(3, 30)).tolist()
        for _ in range(3):
            kind = int(draw.integers(len(telling))) if draw.random() < noise else k
            words.insert(int(draw.integers(len(words))), f"{telling[kind]}{draw.integers(3)}")
        texts.append(" ".join(words))
        said.append(k)
    return texts, said


def _starts(parts: Several[Any]) -> Array:
    return np.cumsum([0, *(len(part) for part in parts)])
