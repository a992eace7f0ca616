"""What a run says of sequences that are in memory: of each as a whole, or after each of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from holdfast.data import Content, Sequences, tokens_of
from holdfast.data.encodings import WordEncoding

from .batches import read_together, side_by_side
from .reading import said_of
from .task import SequenceRun, kind_of

Array = np.ndarray[Any, Any]


class Answers:
    """What a run says of sequences: the probabilities of its classes, (…, K), or a number of each, (…,).

    Args:
        run: the run.

    Attributes:
        encoding: what turns texts into tokens; None if the run reads series.
    """

    def __init__(self, run: SequenceRun) -> None:
        self.run, self.encoding = run, run.encoding
        self._kind = kind_of(run.facts)

    def fault_of(self, content: Content) -> str:
        """Why the run cannot read a sequence, in a few words; empty if it can."""
        return self._kind.fault_of(content)

    def of(self, contents: Sequence[Content]) -> Array:
        """What it says of each sequence, (N, …)."""
        return self._meant(said_of(self.run.model, self._sequences(contents), self.run.options.longest))

    def by_step(self, contents: Sequence[Content]) -> list[Array]:
        """What it would say of each sequence if that ended with each of its steps, (T, …) of each.

        All steps are read, however many: `longest` does not hold.

        Raises:
            ValueError: it reads from the end too.
        """
        model = self.run.model
        model.refuse_both_directions()
        data = self._sequences(contents)
        longest = int(data.lengths.max(initial=1))
        found: list[Array] = [np.empty(0)] * len(data)
        for which in read_together(data, longest):
            batch = side_by_side([data.of(k) for k in which], np.zeros(len(which)), longest)
            with torch.no_grad():
                said = self._meant(
                    model.after_each_step(batch.x.to(self.run.device), batch.lengths.to(self.run.device))
                )  # (T, B, …)
            for column, k in enumerate(which):
                found[k] = said[: batch.lengths[column], column]
        return found

    def pieces(self, content: Content) -> list[str]:
        """The steps of a text as a person reads them: its words, or what its tokens stand for; of a series, nothing."""
        if not isinstance(content, str) or self.encoding is None:
            return [""] * len(content)
        if isinstance(self.encoding, WordEncoding) and (words := [*self.encoding.words_in(content)]):
            return words  # those that are not known too
        return [self.encoding.text_of(int(token)) for token in tokens_of(content, self.encoding)]

    def stream(self) -> AnswerStream:
        """One sequence, step by step.

        Raises:
            ValueError: the run reads from the end too.
        """
        return AnswerStream(self)

    def _sequences(self, contents: Sequence[Content]) -> Sequences:
        """Sequences in memory, as they are kept on the disk."""
        encoding = self.encoding
        flat: list[Any] = [*contents] if encoding is None else [tokens_of(str(text), encoding) for text in contents]
        starts = np.cumsum([0, *map(len, flat)])
        return Sequences(np.concatenate(flat), starts, np.full(len(flat), np.nan), np.arange(len(flat)))

    def _meant(self, said: Tensor) -> Array:
        """What a model's outputs mean, (…, K)."""
        said, facts = said.double().cpu(), self.run.facts
        if facts["classes"]:
            probabilities: Array = self.run.model.probabilities(said).numpy()
            return probabilities
        mean, deviation = facts["said"]
        numbers: Array = said[..., 0].numpy() * deviation + mean
        return numbers


class AnswerStream:
    """A run that reads one sequence step by step, and says after each what it would say if the sequence ended there.

    Args:
        answers: of the run.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._stream = answers.run.model.stream()

    def step(self, x: Any) -> Array:
        """The probabilities of the classes, (K,), or a number, (), after one more step.

        Args:
            x: of a text the next piece, such as a word, which may be several tokens; of a series the next row, (C,), or
                a number where there is one channel.

        Raises:
            ValueError: it is no step of what the model reads.
        """
        for row in self._rows(x):
            said = self._stream.step(row)
        found: Array = self._answers._meant(said)[0]
        return found

    def reset(self) -> None:
        """Begin a new sequence."""
        self._stream.reset()

    def _rows(self, x: Any) -> Tensor:
        """The model's steps, (S, 1) or (1, 1, C)."""
        encoding = self._answers.encoding
        if encoding is None:
            return torch.from_numpy(self._row(x))[None, None]
        if not isinstance(x, str):
            raise ValueError(f"a step of a text is a string, such as a word; got {x!r}")
        tokens = encoding.encode(x)
        if not len(tokens):
            raise ValueError(f"a step of a text holds a word at least; got {x!r}")
        return torch.from_numpy(tokens.astype(np.int64))[:, None]

    def _row(self, x: Any) -> Array:
        """A row of a series, (C,)."""
        try:
            row = np.atleast_1d(np.asarray(x, np.float32))
        except (TypeError, ValueError):
            row = np.array([[np.inf]])
        if row.ndim != 1 or np.isinf(row).any():
            raise ValueError(f"a step of a series is a row of finite numbers, one for each channel; got {x!r}")
        if fault := self._answers.fault_of(row[None]):
            raise ValueError(f"the step has {fault}")
        return row
