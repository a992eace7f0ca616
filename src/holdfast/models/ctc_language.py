"""A language model that says which symbols of a recogniser are likely to follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from .ctc import BLANK, Floats
from .generation import Encoding
from .language import LanguageModel, LanguageStream, state_tensors

_LEVELS = ("char", "byte")  # whose tokens do not depend on what comes after them
_BEFORE = _AFTER = "\n"  # an utterance is a line

Tokens = tuple[int, ...]
Memory = tuple[Tensor, ...]  # a model's state for one sequence; each tensor (1, H)


class LevelEncoding(Encoding, Protocol):
    """How text becomes tokens, which says what they are."""

    @property
    def level(self) -> str:
        """What a token is: "char", "byte", "bpe", "word" or "prose"."""


class Read(NamedTuple):
    """A prefix that a language model has read.

    Attributes:
        memory: its state.
        scores: the log-probability of each symbol as the next one, (K,).
        end: the log-probability that the line ends.
    """

    memory: Memory
    scores: Floats
    end: float


class LanguageScorer:
    r"""A language model of characters or bytes, for `beam_search`: a `PrefixScorer`.

    An utterance is a line: it begins as after the end of one, and ends where the model expects the next newline. What
    the encoding does not know has the probability of its unknown token.

    >>> class Letters:
    ...     level, size, unknown = "char", 28, None
    ...     def encode(self, text):
    ...         return np.array(["abcdefghijklmnopqrstuvwxyz \n".index(letter) for letter in text])
    ...     def decode(self, ids):
    ...         return "".join("abcdefghijklmnopqrstuvwxyz \n"[token] for token in ids)
    >>> model = LanguageModel(vocabulary=28, embedding=8, hidden=16)
    >>> scorer = LanguageScorer(model, Letters(), ["a", "b", "ch", " "])
    >>> after_a, after_ch = scorer.extend([scorer.start()] * 2, [1, 3])
    >>> scorer.scores(after_ch).shape
    (5,)

    Args:
        model: the model; on the CPU.
        encoding: the one it was trained with, of characters or bytes.
        alphabet: what the recogniser's symbols stand for, (K - 1,): the text of symbol 1 first. A text may take several
            tokens.
    """

    def __init__(self, model: LanguageModel, encoding: LevelEncoding, alphabet: Sequence[str]) -> None:
        if encoding.level not in _LEVELS:
            raise ValueError(
                f"encoding must be of level {' or '.join(_LEVELS)}, for a recogniser writes symbol by symbol and a "
                f"token must not depend on the ones to come; got level {encoding.level}"
            )
        if encoding.size != model.vocabulary:
            raise ValueError(f"encoding must have the model's {model.vocabulary} tokens; got one of {encoding.size}")
        empty = [k for k, text in enumerate(alphabet, 1) if not text]
        if empty:
            raise ValueError(f"alphabet must give each symbol a text that is not empty; got '' for symbol {empty[0]}")
        self._model = model
        self._streams: dict[int, LanguageStream] = {}  # by how many sequences run side by side
        self._tokens: list[Tokens] = [(), *(_tokens(encoding, text) for text in alphabet)]  # of each symbol, (K,)
        self._before, self._after = _tokens(encoding, _BEFORE), _tokens(encoding, _AFTER)
        # Symbols of several tokens: what they begin with must be read to score them. The shorter beginnings come first.
        begun = {tokens[:k] for tokens in [*self._tokens, self._after] for k in range(1, len(tokens))}
        self._beginnings = sorted(begun, key=lambda tokens: (len(tokens), tokens))

    def start(self) -> Read:
        """The state of the empty prefix."""
        self._stream(1).reset()
        nothing = _memories(self._stream(1))
        return self._read(nothing, [self._before])[0]

    def extend(self, states: Sequence[Read], symbols: Sequence[int], /) -> list[Read]:
        """The states of prefixes that are longer than others by a symbol.

        Args:
            states: of the others, (N,).
            symbols: which symbol is added to each, (N,).
        """
        return self._read([state.memory for state in states], [self._tokens[symbol] for symbol in symbols])

    def scores(self, state: Read, /) -> Floats:
        """The log-probability of each symbol as the next one, (K,); -inf in the blank's place."""
        return state.scores

    def end(self, state: Read, /) -> float:
        """The log-probability that the line ends."""
        return state.end

    def _read(self, memories: Sequence[Memory], tokens: Sequence[Tokens]) -> list[Read]:
        """What is known once each sequence has read its tokens, of which there is at least one."""
        held = list(memories)
        following = torch.empty(len(held), self._model.vocabulary, dtype=self._model.embedding.weight.dtype)  # (N, V)
        for place in range(max(map(len, tokens))):
            rows = [k for k, own in enumerate(tokens) if place < len(own)]
            new, following[rows] = self._step([held[k] for k in rows], [tokens[k][place] for k in rows])
            for k, memory in zip(rows, new):
                held[k] = memory
        scores = self._scores(held, following)  # (N, K + 1)
        return [Read(memory, row[:-1], float(row[-1])) for memory, row in zip(held, scores)]

    def _scores(self, memories: Sequence[Memory], following: Tensor) -> Floats:
        """The log-probability of each symbol, and at last of the line's end, (N, K + 1).

        Args:
            memories: of N sequences.
            following: the log-probabilities of the next token in each, (N, V).
        """
        after: dict[Tokens, tuple[Sequence[Memory], Tensor]] = {(): (memories, following)}
        for tokens in self._beginnings:
            after[tokens] = self._step(after[tokens[:-1]][0], [tokens[-1]] * len(memories))
        scores = np.zeros((len(memories), len(self._tokens) + 1))
        for column, tokens in enumerate([*self._tokens, self._after]):
            for k, token in enumerate(tokens):
                scores[:, column] += after[tokens[:k]][1][:, token].double().numpy()
        scores[:, BLANK] = -np.inf
        return scores

    def _step(self, memories: Sequence[Memory], tokens: Sequence[int]) -> tuple[list[Memory], Tensor]:
        """Read one token in each of N sequences; the log-probabilities of the next ones, (N, V)."""
        stream = self._stream(len(memories))
        stream.state = self._model.state_from([torch.stack(parts, 1) for parts in zip(*memories)])
        following = stream.step(torch.tensor(tokens))
        return _memories(stream), following

    def _stream(self, size: int) -> LanguageStream:
        if size not in self._streams:
            self._streams[size] = self._model.stream(size)
        return self._streams[size]


def _memories(stream: LanguageStream) -> list[Memory]:
    """The state of each of a stream's sequences, in memory of its own: one that is kept does not hold the others."""
    columns = [[row.clone() for row in part.unbind(1)] for part in state_tensors(stream.state)]
    return list(zip(*columns))


def _tokens(encoding: Encoding, text: str) -> Tokens:
    return tuple(int(token) for token in encoding.encode(text))
