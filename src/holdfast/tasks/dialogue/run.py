"""A run that was trained on dialogues, and a conversation with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from holdfast.data import Encoding, encoding_from
from holdfast.data.pairs import context_of, sentence, spaced, written
from holdfast.models import Against, EncoderDecoder, Sampling, sample_decode

from ..fitting import Fitted
from ..lengths import in_order
from ..paired import sources_together
from .options import ChatOptions

_TOGETHER = 64  # replies that are drawn side by side
_UNDECODED = "\ufffd"  # what a decoder gives for bytes that are no character yet


@dataclass(frozen=True)
class Manners:
    """How replies are chosen.

    Attributes:
        temperature: below 1 safer, above 1 wilder; 0: the likeliest token each time.
        top_p: only the fewest likeliest tokens that together have this probability.
        repetition_penalty: above 1: against tokens that the reply has already.
        against_empty: how much it counts against a reply's first tokens that they would be as likely whatever was said
            before, as those of "I don't know" are (Li 2016); 0: not at all.
        longest: tokens of a reply.
    """

    temperature: float = 0.7
    top_p: float = 0.9
    repetition_penalty: float = 1.1
    against_empty: float = 0.3
    longest: int = 80

    def __post_init__(self) -> None:
        if not 0 <= self.against_empty < 1:
            raise ValueError(f"against_empty must lie from 0 to below 1; got {self.against_empty}")
        if self.longest < 1:
            raise ValueError(f"longest must be at least 1; got {self.longest}")
        self.sampling()

    def sampling(self) -> Sampling:
        """How a token is drawn."""
        return Sampling(
            temperature=self.temperature, top_p=self.top_p, repetition_penalty=self.repetition_penalty, penalised=128
        )


class ChatRun(Fitted):
    """A model that was trained on dialogues."""

    model: EncoderDecoder
    options: ChatOptions

    @property
    def encoding(self) -> Encoding:
        """What turns text into tokens."""
        return encoding_from(self.facts["encoding"])

    def conversation(self, manners: Manners | None = None, seed: int = 0) -> Conversation:
        """A conversation that begins.

        Args:
            manners: how replies are chosen.
            seed: of what is drawn.
        """
        return Conversation(self, manners or Manners(), seed)

    def replies(self, contexts: Sequence[Sequence[str]], manners: Manners | None = None, seed: int = 0) -> list[str]:
        """A reply to each of several contexts.

        Args:
            contexts: of each the turns before the reply.
            manners: how replies are chosen.
            seed: of what is drawn.
        """
        turns = self.options.context
        sources = [context_of([sentence(turn) for turn in each][-turns:]) for each in contexts]
        return replies(self.model, self.encoding, sources, manners or Manners(), seed, self.options.longest)


class Conversation:
    """What was said, and what is replied to it.

    Args:
        run: whose model replies.
        manners: how replies are chosen; may be set anew.
        seed: of what is drawn.

    Attributes:
        turns: what was said, the person first.
        read: how many turns at the end are read before a reply.
    """

    def __init__(self, run: ChatRun, manners: Manners, seed: int) -> None:
        self._run, self._encoding, self._seed = run, run.encoding, seed
        self.manners = manners
        self.turns: list[str] = []
        self.read = run.options.context

    def cut(self, text: str) -> bool:
        """Whether of what somebody says and the turns before only the end would be read: no more was ever learned."""
        return len(self._encoding.encode(spaced(self._source(text), self._encoding.level))) > self._run.options.longest

    def _source(self, text: str) -> str:
        return context_of([*self.turns, sentence(text)][-self.read :])

    def reset(self) -> None:
        """Forget what was said."""
        self.turns = []

    def say(self, text: str) -> Iterator[str]:
        """The reply to what somebody says, piece by piece as it comes; both are turns when it has ended."""
        shown, whole = "", ""
        tokens: list[int] = []
        options = self._run.options
        steps = _drawn(self._run.model, self._encoding, [self._source(text)], self.manners, self._seed, options.longest)
        self._seed += 1
        for (token,) in steps:
            if token is None:
                break
            tokens.append(token)
            whole = self._encoding.decode(tokens)
            if not whole.endswith(_UNDECODED):
                yield written(whole)[len(shown) :]
                shown = written(whole)
        self.turns = [*self.turns, sentence(text), written(whole)]


def replies(
    model: EncoderDecoder, encoding: Encoding, sources: Sequence[str], manners: Manners, seed: int, longest: int
) -> list[str]:
    """A reply to each of several sources, of which the last tokens are read, those of like length side by side."""
    found = [""] * len(sources)
    lengths = np.array([len(encoding.encode(spaced(source, encoding.level))) for source in sources], np.int64)
    order = np.concatenate(in_order(lengths, 1)) if len(sources) else lengths
    for begin in range(0, len(order), _TOGETHER):
        some = order[begin : begin + _TOGETHER]
        steps = list(_drawn(model, encoding, [sources[k] for k in some], manners, seed + begin, longest))
        for k, tokens in zip(some, zip(*steps)):
            found[k] = written(encoding.decode([token for token in tokens if token is not None]))
    return found


def _drawn(
    model: EncoderDecoder, encoding: Encoding, sources: Sequence[str], manners: Manners, seed: int, longest: int
) -> Iterator[list[int | None]]:
    """The next token of the reply to each source, None where it has ended."""
    read = [encoding.encode(spaced(each, encoding.level))[-longest:] for each in sources]
    source, lengths = (each.to(model.device) for each in sources_together(read))
    nothing = torch.from_numpy(encoding.encode(spaced("", encoding.level))).to(model.device)
    against = Against(nothing, manners.against_empty)
    most = torch.full_like(lengths, manners.longest)
    return sample_decode(model, source, lengths, manners.sampling(), seed, most, against)
