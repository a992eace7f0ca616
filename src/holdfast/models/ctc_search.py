"""The symbols whose paths are the likeliest taken together, by prefix beam search (Graves 2014, Hannun 2014).

A prefix is what the frames so far may have spelled. The search keeps the best few, its beams, and of each how likely
its paths are: those that end with a blank and those that end with its last symbol, for where that symbol comes once
more, it begins anew after the former and goes on after the latter. A language model may say which symbols are likely to
follow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol
from weakref import WeakValueDictionary

import numpy as np
from torch import Tensor

from holdfast.layers import checks

from .ctc import BLANK, Floats, Integers, checked_logs


class PrefixScorer(Protocol):
    """What knows how likely symbols are to follow each other, as a language model does.

    A state is whatever it must know of a prefix; the search hands it back and does not look into it. It asks only for
    prefixes that it has kept and goes on from, for each once while it is kept, and for all that are new in a frame
    together.
    """

    def start(self) -> Any:
        """The state of the empty prefix."""

    def extend(self, states: Sequence[Any], symbols: Sequence[int], /) -> Sequence[Any]:
        """The states of prefixes that are longer than others by a symbol.

        Args:
            states: of the others, (N,).
            symbols: which symbol is added to each, (N,).
        """

    def scores(self, state: Any, /) -> Floats:
        """The log-probability of each symbol as the next one, (K,); that in the blank's place is not read."""

    def end(self, state: Any, /) -> float:
        """The log-probability that nothing follows."""


class Hypothesis(NamedTuple):
    """What frames may spell.

    Attributes:
        symbols: numbers from 1 to K - 1.
        score: what hypotheses are ranked by: ctc + language_weight · language + insertion · the number of symbols.
        ctc: the log-probability of the paths that spell it.
        language: its log-probability in the language; 0 without one.
    """

    symbols: tuple[int, ...]
    score: float
    ctc: float
    language: float


def beam_search(
    logs: np.ndarray[Any, Any] | Tensor,
    width: int = 16,
    language: PrefixScorer | None = None,
    language_weight: float = 0.5,
    insertion: float = 0.0,
    best: int = 1,
    floor: float = -10.0,
) -> list[Hypothesis]:
    """The likeliest symbols of some frames.

    The likeliest path is blank, blank, but more probability lies on paths that spell one symbol:

    >>> import numpy as np
    >>> [found] = beam_search(np.log([[0.6, 0.4], [0.6, 0.4]]))
    >>> found.symbols, round(math.exp(found.ctc), 2)
    ((1,), 0.64)

    Args:
        logs: log-probabilities of each frame, (T, K); the blank's first.
        width: how many beams are kept.
        language: what says which symbols are likely to follow, and to be the last.
        language_weight: how much that counts; with 0 it is not asked.
        insertion: what each symbol adds to the score; above 0 it makes up for a language's preference for short texts.
        best: how many hypotheses are wanted.
        floor: a symbol whose log-probability in a frame is below this begins no new prefix there, unless it is the
            likeliest; -inf for none.

    Returns:
        The hypotheses, best first: fewer where there are not as many beams, none if the language rules out all.
    """
    search = BeamSearch(width, language, language_weight, insertion, floor)
    search.push(logs)
    return search.hypotheses(best, ended=True)


class _Prefix:
    """Symbols, as the last of them and a link to those before; and what the language model says of them."""

    __slots__ = ("__weakref__", "_longer", "language", "length", "read", "shorter", "state", "symbol")

    def __init__(self, shorter: _Prefix | None, symbol: int, language: float, state: Any) -> None:
        self.shorter = shorter
        self.symbol = symbol
        self.length: int = 0 if shorter is None else shorter.length + 1
        self.language = language
        self.state = state  # the language model's: without the last symbol, until it has read that one
        self.read = shorter is None
        self._longer: WeakValueDictionary[int, _Prefix] | None = None

    def longer(self, symbol: int, score: float) -> _Prefix:
        """The prefix with one symbol more, which is the same one each time as long as it is kept."""
        if self._longer is None:
            self._longer = WeakValueDictionary()
        found = self._longer.get(symbol)
        if found is None:
            found = self._longer[symbol] = _Prefix(self, symbol, self.language + score, self.state)
        return found

    def beginning(self, length: int) -> _Prefix:
        """The first symbols, so many of them: fewer if there are no more, and more if those are no longer linked."""
        prefix = self
        while prefix.length > length and prefix.shorter is not None:
            prefix = prefix.shorter
        return prefix

    def symbols(self) -> list[int]:
        """All symbols, from the first that is still linked."""
        found, prefix = [], self
        while prefix.shorter is not None:
            found.append(prefix.symbol)
            prefix = prefix.shorter
        return found[::-1]


class BeamSearch:
    """Prefix beam search over frames that come in pieces: the same, to the last bit, however they are cut.

    >>> import numpy as np
    >>> logs = np.log([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1]])
    >>> search = BeamSearch()
    >>> search.push(logs[:1])
    >>> search.hypotheses()[0].symbols
    ()
    >>> search.push(logs[1:])
    >>> search.hypotheses()[0].symbols
    (1,)

    The arguments are those of `beam_search`. Memory grows with the symbols that beams hold: where frames come for
    hours, take the settled ones out with `settled`.
    """

    def __init__(
        self,
        width: int = 16,
        language: PrefixScorer | None = None,
        language_weight: float = 0.5,
        insertion: float = 0.0,
        floor: float = -10.0,
    ) -> None:
        checks.whole("width", width)
        if not 0 <= language_weight < math.inf:
            raise ValueError(f"language_weight must be a number of at least 0; got {language_weight!r}")
        if not math.isfinite(insertion):
            raise ValueError(f"insertion must be a number; got {insertion!r}")
        if not floor <= 0:
            raise ValueError(f"floor must be at most 0, or -inf; got {floor!r}")
        self._width, self._floor = width, floor
        self._language = language if language_weight else None
        self._language_weight, self._insertion = language_weight, insertion
        self._size: int | None = None  # K
        start = None if self._language is None else self._language.start()
        self._keep([_Prefix(None, BLANK, 0.0, start)], np.zeros(1), np.full(1, -np.inf))

    def _keep(self, beams: list[_Prefix], blank: Floats, other: Floats) -> None:
        """Go on from these beams, best first.

        Args:
            beams: N of them.
            blank: the log-probability of the paths of each that end with a blank, (N,).
            other: of those that end with its last symbol, (N,).
        """
        self._beams, self._blank, self._other = beams, blank, other
        places = {prefix: k for k, prefix in enumerate(beams)}
        self._last = np.array([prefix.symbol for prefix in beams], np.int64)
        # Which beam is without its last symbol which other beam, and the place of that one, side by side.
        pairs = [(k, places[p.shorter]) for k, p in enumerate(beams) if p.shorter in places]
        self._inside, self._shorter = np.array(pairs, np.int64).reshape(-1, 2).T
        language, length = self._language_weight, self._insertion
        self._prior = np.array([language * p.language + length * p.length for p in beams], np.float64)

    def push(self, logs: np.ndarray[Any, Any] | Tensor) -> None:
        """Take in frames.

        Args:
            logs: log-probabilities of each, (T, K); the blank's first.
        """
        frames = checked_logs(logs)
        size = frames.shape[1]
        if self._size is not None and size != self._size:
            raise ValueError(f"logs must have K = {self._size} columns, as before; got {size}")
        self._size = size
        likely = (frames >= self._floor) & (frames > -np.inf)
        likely[np.arange(len(frames)), frames.argmax(1)] = True
        likely[:, BLANK] = False
        for frame, which in zip(frames, likely):
            self._step(frame, np.flatnonzero(which))

    def _step(self, frame: Floats, symbols: Integers) -> None:
        """One frame, (K,), in which these symbols may begin, (C,)."""
        blank, other = self._stayed(frame)  # (N,)
        begun = self._begun(frame, symbols)  # (N, C)
        following = self._following(symbols)  # (N, C)
        scores = np.logaddexp(blank, other) + self._prior
        new = begun + self._prior[:, None] + self._language_weight * following + self._insertion
        order = self._best(np.concatenate([scores, new.ravel()]))
        beams = []
        for k in order.tolist():
            if k < len(scores):
                beams.append(self._beams[k])
            else:
                beam, column = divmod(k - len(scores), len(symbols))
                beams.append(self._beams[beam].longer(int(symbols[column]), float(following[beam, column])))
        none = np.full(begun.size, -np.inf)
        self._keep(beams, np.concatenate([blank, none])[order], np.concatenate([other, begun.ravel()])[order])

    def _stayed(self, frame: Floats) -> tuple[Floats, Floats]:
        """The log-probabilities of the beams' paths with this frame: of those that end with a blank, and of the others.

        The others are those that go on with the last symbol, and those of a beam without it to which it is added now.
        """
        last, inside, shorter = self._last, self._inside, self._shorter
        total = np.logaddexp(self._blank, self._other)
        other = self._other + frame[last]  # the empty prefix ends with no symbol: -inf
        if len(inside):
            before = np.where(last[inside] == last[shorter], self._blank[shorter], total[shorter])
            other[inside] = np.logaddexp(other[inside], before + frame[last[inside]])
        return total + frame[BLANK], other

    def _begun(self, frame: Floats, symbols: Integers) -> Floats:
        """The log-probabilities of the paths of new prefixes, each beam with each symbol, (N, C); -inf for old ones."""
        total = np.logaddexp(self._blank, self._other)
        before = np.where(self._last[:, None] == symbols, self._blank[:, None], total[:, None])
        begun = before + frame[symbols]
        row, column = np.nonzero(self._last[self._inside][:, None] == symbols)
        begun[self._shorter[row], column] = -np.inf  # `_stayed` has counted them
        return begun

    def _best(self, scores: Floats) -> Integers:
        """Where the best are that are possible, best first; of equal ones the first."""
        order = np.argsort(-scores, kind="stable")[: self._width]
        return order[scores[order] > -np.inf]

    def _following(self, symbols: Integers) -> Floats:
        """The language's log-probability of each of the symbols after each beam, (N, C)."""
        if self._language is None or not self._beams or not len(symbols):
            return np.zeros((len(self._beams), len(symbols)))
        rows = [np.asarray(self._language.scores(state), np.float64) for state in self._states()]
        if rows[0].shape != (self._size,):
            raise ValueError(f"language must give K = {self._size} scores, as logs have columns; got {rows[0].shape}")
        return np.stack(rows)[:, symbols]

    def _states(self) -> list[Any]:
        """The language model's state of each beam; it reads those that are new."""
        assert self._language is not None
        unread = [prefix for prefix in self._beams if not prefix.read]
        if unread:
            states = self._language.extend([p.state for p in unread], [p.symbol for p in unread])
            for prefix, state in zip(unread, states, strict=True):
                prefix.state, prefix.read = state, True
        return [prefix.state for prefix in self._beams]

    def hypotheses(self, best: int = 1, ended: bool = False) -> list[Hypothesis]:
        """The best hypotheses for the frames so far, best first, without the symbols that `settled` has given.

        Args:
            best: how many.
            ended: whether nothing more comes, so that the language model is asked how likely that is.
        """
        checks.whole("best", best)
        language = [prefix.language for prefix in self._beams]
        if ended and self._language is not None:
            language = [own + self._language.end(state) for own, state in zip(language, self._states())]
        ctc = np.logaddexp(self._blank, self._other).tolist()
        found = []
        for prefix, paths, own in zip(self._beams, ctc, language):
            score = paths + self._language_weight * own + self._insertion * prefix.length
            found.append((score, paths, own, prefix))
        found.sort(key=lambda each: -each[0])
        return [
            Hypothesis(tuple(prefix.symbols()), score, paths, own)
            for score, paths, own, prefix in found[:best]
            if score > -math.inf
        ]

    def settled(self, open_symbols: int | None = None) -> list[int]:
        """The symbols that all beams begin with, which no frame can change any more, and that were not given before.

        They are forgotten here: from now on hypotheses begin after them. Their scores remain those of the whole.

        Args:
            open_symbols: at most so many symbols of the best beam stay open: beams that differ from it before those are
                dropped. By default none is, and where two readings of a place are about as likely, it may never settle.
        """
        if open_symbols is not None:
            checks.whole("open_symbols", open_symbols)
            self._agree(open_symbols)
        if not self._beams:
            return []
        prefixes = set(self._beams)
        while len(prefixes) > 1:
            longest = max(prefixes, key=lambda prefix: prefix.length)
            prefixes.remove(longest)
            assert longest.shorter is not None  # of prefixes of one length at most one is the empty one
            prefixes.add(longest.shorter)
        [common] = prefixes
        symbols = common.symbols()
        common.shorter = None
        return symbols

    def _agree(self, open_symbols: int) -> None:
        """Drop the beams that differ from the best one before its last symbols, so many of them."""
        if not self._beams:
            return
        length = self._beams[0].length - open_symbols
        beginnings = [prefix.beginning(length) for prefix in self._beams]
        same = np.array([beginning is beginnings[0] for beginning in beginnings])
        if not same.all():
            beams = [prefix for prefix, kept in zip(self._beams, same) if kept]
            self._keep(beams, self._blank[same], self._other[same])
