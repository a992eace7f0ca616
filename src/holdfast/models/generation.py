"""Making text with a language model: how a token is chosen, and how tokens become text as they come."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .language import LanguageModel, state_tensors

_UNDECODED = "\ufffd"  # what a decoder gives for bytes that are no character, or none yet


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen from its distribution.

    The repetition penalty acts first, then the temperature, then top_k, top_p and min_p, each on the distribution that
    the one before has left.

    >>> Sampling(temperature=0.8, top_p=0.95)
    Sampling(temperature=0.8, top_k=0, top_p=0.95, min_p=0.0, repetition_penalty=1.0, penalised=64)

    Attributes:
        temperature: log probabilities are divided by it; 0 takes the most likely token.
        top_k: only the k most likely tokens; 0 for all.
        top_p: only the fewest most likely tokens that together have at least this probability; 1 for all.
        min_p: only tokens at least this many times as likely as the most likely one; 0 for all.
        repetition_penalty: the log probabilities of recent tokens are multiplied by it (Keskar 2019, who divided raw
            scores, whose zero point means nothing); 1 for none.
        penalised: how many tokens are recent, those of the prompt among them.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    penalised: int = 64

    def __post_init__(self) -> None:
        if not (_is_number(self.temperature) and 0 <= self.temperature < math.inf):
            raise ValueError(f"temperature must be a number of at least 0; got {self.temperature!r}")
        _check_whole("top_k", self.top_k, 0)
        if not (_is_number(self.top_p) and 0 < self.top_p <= 1):
            raise ValueError(f"top_p must be a number above 0, up to 1; got {self.top_p!r}")
        if not (_is_number(self.min_p) and 0 <= self.min_p <= 1):
            raise ValueError(f"min_p must be a number between 0 and 1; got {self.min_p!r}")
        if not (_is_number(self.repetition_penalty) and 1 <= self.repetition_penalty < math.inf):
            raise ValueError(f"repetition_penalty must be a number of at least 1; got {self.repetition_penalty!r}")
        _check_whole("penalised", self.penalised, 1)


def choose(
    log_probabilities: Tensor, sampling: Sampling, recent: Tensor | None = None, generator: Generator | None = None
) -> Tensor:
    """Choose a token from each distribution.

    >>> import torch
    >>> choose(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]).log(), Sampling(temperature=0))
    tensor([0, 2])

    Args:
        log_probabilities: (B, V); a token with -inf is never chosen.
        sampling: how.
        recent: the tokens that came last, (B, R), for the repetition penalty.
        generator: what draws; by default PyTorch's global one.

    Returns:
        The tokens, (B,).
    """
    scores = _penalised(log_probabilities.double(), sampling, recent)  # (B, V)
    best = scores.amax(-1, keepdim=True)  # NaN where there is one
    if not math.isfinite(best.sum().item()):
        wrong = best[~best.isfinite()][0].item()
        raise ValueError(f"log_probabilities must have a finite largest one in each row; got {wrong}")
    if sampling.temperature == 0:
        return scores.argmax(-1)
    scores = (scores - best) / sampling.temperature  # 0 at its largest, so that the smallest temperature can divide it
    if not sampling.top_k and sampling.top_p == 1 and not sampling.min_p:
        return _drawn(scores.exp(), generator)
    kept = min(sampling.top_k or scores.shape[-1], scores.shape[-1])
    ranked, order = scores.topk(kept)  # (B, K), falling
    probabilities = ranked.softmax(-1)
    if sampling.top_p < 1:
        likelier = F.pad(probabilities.cumsum(-1)[..., :-1], (1, 0))  # what stands before a token, together
        probabilities = probabilities.masked_fill(likelier >= sampling.top_p, 0)
    if sampling.min_p:
        probabilities = probabilities.masked_fill(probabilities < sampling.min_p * probabilities[:, :1], 0)
    return order.gather(-1, _drawn(probabilities, generator).unsqueeze(-1)).squeeze(-1)


def _drawn(weights: Tensor, generator: Generator | None) -> Tensor:
    """A place in each row, drawn in proportion to the weights, (B,).

    Of waiting times that are exponential with these rates, the shortest is each one's with that probability. It is what
    torch.multinomial does, in half its time.
    """
    where = weights.device if generator is None else generator.device  # a seed draws the same on all devices
    times = torch.empty(weights.shape, dtype=weights.dtype, device=where).exponential_(generator=generator)
    return (weights / times.to(weights.device)).argmax(-1)


def _penalised(log_probabilities: Tensor, sampling: Sampling, recent: Tensor | None) -> Tensor:
    if sampling.repetition_penalty == 1 or recent is None:
        return log_probabilities
    recent = recent[:, -sampling.penalised :]
    return log_probabilities.scatter(-1, recent, sampling.repetition_penalty * log_probabilities.gather(-1, recent))


def generate(
    model: LanguageModel,
    prompt: Sequence[int] | np.ndarray[Any, Any],
    *,
    count: int = 1,
    length: int,
    sampling: Sampling | None = None,
    seed: int = 0,
    forbidden: Sequence[int] = (),
) -> Iterator[Tensor]:
    """Continue a sequence of tokens, several times at once.

    >>> model = LanguageModel(vocabulary=11, embedding=8, hidden=16)
    >>> [tokens.shape for tokens in generate(model, [3, 1], count=2, length=3)]
    [torch.Size([2]), torch.Size([2]), torch.Size([2])]

    The model runs in evaluation, by its stream. The same seed gives the same tokens for the
    same `count`; another `count` gives others.

    Args:
        model: the model.
        prompt: what is continued, at least one token.
        count: how many continuations.
        length: how many tokens each has.
        sampling: how a token is chosen; by default from its distribution as it is.
        seed: of the draws.
        forbidden: tokens that are never chosen.

    Yields:
        The next token of each continuation, (count,).
    """
    _check_whole("count", count, 1)
    _check_whole("length", length, 1)
    _check_whole("seed", seed, 0)
    read = torch.as_tensor(np.asarray(prompt, dtype=np.int64))
    if read.dim() != 1 or not len(read):
        raise ValueError(f"prompt must hold at least one token, (T,); got shape {tuple(read.shape)}")
    for name, tokens in (("prompt", read.tolist()), ("forbidden", forbidden)):
        wrong = next((token for token in tokens if not 0 <= token < model.vocabulary), None)
        if wrong is not None:
            raise ValueError(f"{name} must hold tokens between 0 and {model.vocabulary - 1}; got {wrong}")
    if len(set(forbidden)) == model.vocabulary:
        raise ValueError("forbidden must leave a token to choose; got all of them")
    return _continuations(model, read, count, length, sampling or Sampling(), seed, list(forbidden))


def _continuations(
    model: LanguageModel, prompt: Tensor, count: int, length: int, sampling: Sampling, seed: int, forbidden: list[int]
) -> Iterator[Tensor]:
    generator = Generator().manual_seed(seed)
    reader, stream = model.stream(1), model.stream(count)
    log_probabilities = reader.read(prompt.unsqueeze(1)).repeat(count, 1)  # (count, V)
    stream.state = model.state_from([part.expand(-1, count, -1) for part in state_tensors(reader.state)])
    recent = prompt[-sampling.penalised :].repeat(count, 1).to(log_probabilities.device)  # (count, R)
    for left in reversed(range(length)):
        if forbidden:
            log_probabilities.index_fill_(1, torch.tensor(forbidden).to(log_probabilities.device), -math.inf)
        tokens = choose(log_probabilities, sampling, recent, generator)
        yield tokens
        if left:
            log_probabilities = stream.step(tokens)
            if sampling.repetition_penalty != 1:
                recent = torch.cat([recent, tokens.unsqueeze(1)], 1)[:, -sampling.penalised :]


class Encoding(Protocol):
    """How text becomes tokens and tokens text.

    What tokens stand for may depend on the tokens next to them, but more tokens never change the text of earlier ones,
    but for a U+FFFD at its end, where the bytes of a character are not complete.
    """

    @property
    def size(self) -> int:
        """The number of tokens."""

    @property
    def unknown(self) -> int | None:
        """The token of what has none, if there is one."""

    def encode(self, text: str, /) -> np.ndarray[Any, Any]:
        """The tokens of a text, (N,)."""

    def decode(self, ids: Sequence[int], /) -> str:
        """The text of some tokens."""


def write(
    model: LanguageModel,
    encoding: Encoding,
    prompt: str,
    *,
    count: int = 1,
    length: int,
    sampling: Sampling | None = None,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> Iterator[list[str]]:
    r"""Continue a text, several times at once, piece by piece.

    The unknown token is never written. Characters come out when all their bytes are there; one that is not complete at
    the end is left out. See `generate` for what a seed promises.

    >>> class Letters:
    ...     size, unknown = 27, None
    ...     def encode(self, text):
    ...         return np.array(["abcdefghijklmnopqrstuvwxyz\n".index(letter) for letter in text])
    ...     def decode(self, ids):
    ...         return "".join("abcdefghijklmnopqrstuvwxyz\n"[token] for token in ids)
    >>> model = LanguageModel(vocabulary=27, embedding=8, hidden=16)
    >>> pieces = write(model, Letters(), "hello", count=2, length=5)
    >>> [len("".join(text)) for text in zip(*pieces)]
    [5, 5]

    Args:
        model: the model.
        encoding: the one it was trained with.
        prompt: what is continued; an empty one starts as after the end of a line.
        count: how many continuations.
        length: after how many tokens they end.
        sampling: how a token is chosen; by default from its distribution as it is.
        seed: of the draws.
        stop: texts before which a continuation ends. What could become one is held back until that is decided.

    Yields:
        For each token the text that is new in each continuation, which may be empty. It ends when all have met a stop,
        or are at their length.
    """
    if isinstance(stop, str) or not all(isinstance(text, str) and text for text in stop):
        raise ValueError(f"stop must be a list of texts that are not empty; got {stop!r}")
    if encoding.size != model.vocabulary:
        raise ValueError(f"encoding must have the model's {model.vocabulary} tokens; got one of {encoding.size}")
    read = [int(token) for token in encoding.encode(prompt or "\n")]
    if not read:
        raise ValueError(f"prompt must have at least one token in this encoding; got {prompt!r}")
    forbidden = [] if encoding.unknown is None else [encoding.unknown]
    steps = generate(model, read, count=count, length=length, sampling=sampling, seed=seed, forbidden=forbidden)
    return _pieces(steps, [_Writer(encoding, read[-1], stop) for _ in range(count)], length)


def _pieces(steps: Iterator[Tensor], writers: list[_Writer], length: int) -> Iterator[list[str]]:
    for made, tokens in enumerate(steps, 1):
        pieces = [writer.take(token) for writer, token in zip(writers, tokens.tolist())]
        if made == length:
            pieces = [piece + writer.rest() for piece, writer in zip(pieces, writers)]
        yield pieces
        if all(writer.stopped for writer in writers):
            return


class _Writer:
    """One continuation: takes tokens and gives text, as soon as it is certain."""

    def __init__(self, encoding: Encoding, before: int, stop: Sequence[str]) -> None:
        self._text = _Decoder(encoding, before)
        self._stop = stop
        self._held = ""
        self.stopped = False

    def take(self, token: int) -> str:
        """What is certain now and was not before."""
        if self.stopped:
            return ""
        self._held += self._text.take(token)
        # The stop that is complete first ends the text, however the text falls into tokens.
        met = [(self._held.index(stop) + len(stop), -len(stop)) for stop in self._stop if stop in self._held]
        if met:
            end, minus = min(met)
            self.stopped = True
            return self._released(end + minus)
        return self._released(len(self._held) - max((self._begun(stop) for stop in self._stop), default=0))

    def _begun(self, stop: str) -> int:
        """How many characters at the end may be the first ones of a stop."""
        return next((n for n in range(len(stop) - 1, 0, -1) if self._held.endswith(stop[:n])), 0)

    def _released(self, characters: int) -> str:
        text, self._held = self._held[:characters], self._held[characters:]
        return text

    def rest(self) -> str:
        """What was held back, when nothing more comes."""
        return "" if self.stopped else self._released(len(self._held))


class _Decoder:
    """Tokens to text, one by one: each is decoded next to the one before it, and not the whole text anew."""

    def __init__(self, encoding: Encoding, before: int) -> None:
        self._encoding = encoding
        self._begin_at(before)

    def _begin_at(self, token: int) -> None:
        self._ids = [token]
        self._shown = len(self._encoding.decode(self._ids))

    def take(self, token: int) -> str:
        self._ids.append(token)
        text = self._encoding.decode(self._ids)
        complete = not text.endswith(_UNDECODED)
        certain = text if complete else text[:-1]
        new = certain[self._shown :]
        self._shown = max(self._shown, len(certain))
        if complete:
            self._begin_at(token)
        return new


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}")
