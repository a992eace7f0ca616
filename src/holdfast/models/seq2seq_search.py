"""Writing targets with an encoder–decoder: the likeliest ones, found by a beam, or ones that are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from .generation import Sampling, choose
from .language import ModelState
from .seq2seq import EncoderDecoder, Memory

_HARDEST = 100  # penalty
_TIMES, _MORE = 2, 10  # a target has at most so many times the tokens of its source, and so many more


@dataclass(frozen=True)
class Beam:
    """How the likeliest targets are looked for.

    A target's score is the logarithm of its probability over ((5 + its tokens) / 6)**length_penalty, and
    coverage_penalty times the sum, over the steps of the source, of the logarithm of how much each was attended to, but
    1 at most (Wu 2016).

    Attributes:
        width: how many beginnings are kept at a time; 1 takes the likeliest token each time.
        length_penalty: 0 prefers short targets, 1 long ones.
        coverage_penalty: 0: steps of the source may be passed over; needs attention.
    """

    width: int = 5
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width must be at least 1; got {self.width}")
        for name in ("length_penalty", "coverage_penalty"):
            value = getattr(self, name)
            if not 0 <= value <= _HARDEST:
                raise ValueError(f"{name} must be a number from 0 to {_HARDEST}; got {value}")


class Against(NamedTuple):
    """What speaks against a token: that it would be as likely whatever the source says (Li 2016).

    Attributes:
        source: tokens of a source that says nothing, (S,).
        weight: how much of the logarithm of the probability that a token has after it is taken away.
        first: of so many tokens at the beginning of each target.
    """

    source: Tensor
    weight: float
    first: int = 5


class Candidate(NamedTuple):
    """A target that was found.

    Attributes:
        tokens: without the end.
        score: as `Beam` says; targets of one source are compared by it.
        log_probability: of the tokens and the end, in nats.
    """

    tokens: list[int]
    score: float
    log_probability: float


def limits(lengths: Tensor) -> Tensor:
    """How many tokens, the end among them, a target has at most, (B,), for sources of some lengths."""
    return _TIMES * lengths + _MORE


@torch.no_grad()
def beam_decode(
    model: EncoderDecoder, source: Tensor, lengths: Tensor, beam: Beam | None = None, most: Tensor | None = None
) -> list[list[Candidate]]:
    """The likeliest targets of each source, the best first, at most as many as the beam is wide.

    A source is done when so many targets have ended; it is not computed with any more.

    >>> model = EncoderDecoder(sources=11, embedding=8, hidden=16).eval()
    >>> found = beam_decode(model, torch.randint(11, (6, 2)), torch.tensor([6, 4]), Beam(width=3))
    >>> [len(each) for each in found]
    [3, 3]

    Args:
        model: in evaluation mode.
        source: tokens, (S, B).
        lengths: (B,).
        beam: how.
        most: how many tokens each target has at most, the end among them, (B,); by default `limits`.
    """
    beam = beam or Beam()
    if beam.coverage_penalty and model.attention is None:
        raise ValueError("a coverage penalty needs a model with attention")
    search = _Search(model, model.read(source, lengths), beam, limits(lengths) if most is None else most)
    while search.unfinished:
        search.step()
    return search.found()


class _Search:
    """A beam search over several sources, of which those that are done are dropped."""

    def __init__(self, model: EncoderDecoder, memory: Memory, beam: Beam, most: Tensor) -> None:
        batch, device = len(memory.there), memory.values.device
        self._model, self._beam, self._memory, self._most = model, beam, memory, most
        self._state = memory.state
        self._which = list(range(batch))  # the source that each row is of
        self._ended: list[list[Candidate]] = [[] for _ in range(batch)]
        self._scores = memory.values.new_zeros(batch, 1)  # (B, K), logarithms of probabilities so far
        self._texts = torch.zeros(batch, 1, 0, dtype=torch.int64, device=device)  # (B, K, T)
        self._seen = memory.values.new_zeros(batch, 1, memory.values.shape[1])  # (B, K, S), attention so far

    @property
    def unfinished(self) -> bool:
        return bool(self._which)

    def found(self) -> list[list[Candidate]]:
        """What has ended, the best first."""
        return [sorted(each, key=lambda one: -one.score)[: self._beam.width] for each in self._ended]

    def step(self) -> None:
        """One more token of each beginning."""
        model, end = self._model, self._model.end
        length = self._texts.shape[-1]
        last = self._texts[..., -1] if length else torch.full_like(self._scores, end, dtype=torch.int64)
        done = model.step(self._memory, last.T, self._state)
        logs = model.log_probabilities(done.features).transpose(0, 1)  # (B, K, V + 1)
        must_end = length + 1 >= self._most  # (B,)
        if must_end.any():
            only = torch.full_like(logs[0, 0], -math.inf)
            only[end] = 0.0
            logs = torch.where(must_end[:, None, None], logs + only, logs)
        sums = (self._scores[..., None] + logs).flatten(1)  # (B, K · (V + 1))
        # Of so many, as many as the beam is wide have not ended.
        best, at = sums.topk(min(2 * self._beam.width, sums.shape[1]))  # (B, 2K), falling
        before, tokens = at // logs.shape[-1], at % logs.shape[-1]
        seen = self._seen + done.weights.to(self._seen) if done.weights is not None else self._seen
        self._end(best, before, tokens, seen)
        going = [k for k, source in enumerate(self._which) if len(self._ended[source]) < self._beam.width]
        going = [k for k in going if not must_end[k]]
        self._go_on(going, best, before, tokens, seen, done.state)

    def _end(self, best: Tensor, before: Tensor, tokens: Tensor, seen: Tensor) -> None:
        """Keep what ends with this step, if it is among as many of the best as the beam is wide."""
        ends = (tokens == self._model.end) & (best > -math.inf)
        rows, columns = ends[:, : self._beam.width].nonzero(as_tuple=True)
        for row, column in zip(rows.tolist(), columns.tolist()):
            k, log = int(before[row, column]), float(best[row, column])
            text = self._texts[row, k].tolist()
            score = log / ((5 + len(text) + 1) / 6) ** self._beam.length_penalty
            if self._beam.coverage_penalty:
                heeded = seen[row, k][self._memory.there[row]].clamp(1e-12, 1.0)
                score += self._beam.coverage_penalty * float(heeded.log().sum())
            self._ended[self._which[row]].append(Candidate(text, score, log))

    def _go_on(
        self, going: list[int], best: Tensor, before: Tensor, tokens: Tensor, seen: Tensor, state: ModelState
    ) -> None:
        """Keep the best beginnings that have not ended, of the sources that are not done."""
        rows = torch.tensor(going, dtype=torch.int64, device=best.device)
        best, before, tokens = best[rows], before[rows], tokens[rows]
        # Those that have ended come last; the others stay in their order.
        order = (tokens == self._model.end).to(torch.int8).argsort(dim=-1, stable=True)[:, : self._beam.width]
        tokens, before = tokens.gather(1, order), before.gather(1, order)  # (B', K)
        scores = best.gather(1, order)
        self._scores = scores.masked_fill(tokens == self._model.end, -math.inf)
        texts = self._texts[rows[:, None], before]  # (B', K, T)
        self._texts = torch.cat([texts, tokens[..., None]], -1)
        self._seen = seen[rows[:, None], before]
        columns = (before * len(self._which) + rows[:, None]).T.flatten()  # of the states, (K · B',)
        self._state = selected(state, columns)
        if len(going) < len(self._which):
            self._memory, self._most = self._memory.rows(rows), self._most[rows]
            self._which = [self._which[k] for k in going]


def selected(state: ModelState, columns: Tensor) -> ModelState:
    """The state of some of the targets, (R,), each tensor (1, R, H)."""

    return tuple(
        layer[:, columns] if isinstance(layer, Tensor) else tuple(part[:, columns] for part in layer) for layer in state
    )


@torch.no_grad()
def sample_decode(
    model: EncoderDecoder,
    source: Tensor,
    lengths: Tensor,
    sampling: Sampling | None = None,
    seed: int = 0,
    most: Tensor | None = None,
    against: Against | None = None,
) -> Iterator[list[int | None]]:
    """Draw a target of each source, token by token.

    >>> model = EncoderDecoder(sources=11, embedding=8, hidden=16).eval()
    >>> steps = list(sample_decode(model, torch.randint(11, (6, 2)), torch.tensor([6, 4])))
    >>> len(steps) <= 2 * 6 + 10
    True

    Args:
        model: in evaluation mode.
        source: tokens, (S, B).
        lengths: (B,).
        sampling: how a token is chosen; by default from its distribution as it is.
        seed: of the draws.
        most: how many tokens each target has at most, (B,); by default `limits`.
        against: what speaks against tokens that fit every source.

    Yields:
        the next token of each target; None where it has ended.
    """
    sampling = sampling or Sampling()
    generator = Generator().manual_seed(seed)  # draws the same on all devices
    memory = model.read(source, lengths)
    left = (limits(lengths) if most is None else most).tolist()
    which, state = list(range(len(left))), memory.state
    plain = _Plain(model, against, len(left)) if against is not None and against.weight else None
    texts = torch.full((len(left), 1), model.end, device=source.device)  # (B', T)
    while which:
        done = model.step(memory, texts[None, :, -1], state)
        logs = model.log_probabilities(done.features)[0]  # (B', V + 1)
        if plain is not None and against is not None:
            logs = (logs - against.weight * plain.step(texts[:, -1])).log_softmax(-1)
            plain = plain if texts.shape[1] < against.first else None
        chosen = choose(logs, sampling, texts[:, 1:], generator)
        said: list[int | None] = [None] * len(left)
        for source_number, token in zip(which, chosen.tolist()):
            said[source_number] = None if token == model.end else token
        yield said
        length = texts.shape[1]  # with the tokens of this step
        going = [k for k, number in enumerate(which) if said[number] is not None and length < left[number]]
        rows = torch.tensor(going, dtype=torch.int64, device=source.device)
        texts = torch.cat([texts, chosen[:, None]], 1)[rows]
        state, memory = selected(done.state, rows), memory.rows(rows)
        if plain is not None:
            plain.keep(rows)
        which = [which[k] for k in going]


class _Plain:
    """What would be said after a source that says nothing, target by target."""

    def __init__(self, model: EncoderDecoder, against: Against, batch: int) -> None:
        self._model = model
        source = against.source[:, None].expand(-1, batch)
        self._memory = model.read(source, torch.full((batch,), len(source), device=source.device))
        self._state = self._memory.state

    def step(self, tokens: Tensor) -> Tensor:
        """The logarithms of the probabilities after one more token of each, (B, V + 1)."""
        done = self._model.step(self._memory, tokens[None], self._state)
        self._state = done.state
        return self._model.log_probabilities(done.features)[0]

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the targets."""
        self._state, self._memory = selected(self._state, rows), self._memory.rows(rows)
