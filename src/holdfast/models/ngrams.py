"""N-gram models: what counting alone achieves, to compare a language model with.

The smoothing is Witten and Bell's (1991), interpolated. A context h that was followed N(h) times, by D(h) different
tokens, gives w the probability

    p(w | h) = (count(h w) + D(h) p(w | h')) / (N(h) + D(h))

with h' the context without its oldest token. A context never seen gives what h' gives. Below the empty context lies the
uniform distribution, so that nothing has probability 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Integers = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

_KEYS = 2**63  # an n-gram is one int64: its tokens are the digits of a number to the base of the vocabulary's size


@dataclass(frozen=True)
class _Counts:
    """All n-grams of one length that were seen, and their contexts; each n-gram and context as its key, rising."""

    grams: Integers
    gram_counts: Integers
    contexts: Integers
    followed: Integers  # N(h)
    different: Integers  # D(h)

    @classmethod
    def of(cls, keys: Integers, vocabulary: int) -> _Counts:
        grams, gram_counts = np.unique(keys, return_counts=True)
        # The last token is the last digit: n-grams of one context lie side by side.
        contexts, first, different = np.unique(grams // vocabulary, return_index=True, return_counts=True)
        followed = np.add.reduceat(gram_counts, first) if len(first) else first
        return cls(grams, gram_counts, contexts, followed, different)


class NGram:
    """An n-gram model.

    >>> import numpy as np
    >>> text = np.frombuffer(b"to be or not to be", dtype=np.uint8)
    >>> model = NGram(order=3, vocabulary=256).fit(text)
    >>> bool(model.nats(text).mean() < NGram(order=1, vocabulary=256).fit(text).nats(text).mean())
    True

    Args:
        order: n, how many tokens an n-gram has: a token is predicted from the n - 1 before it.
        vocabulary: the number of tokens.
    """

    def __init__(self, order: int, vocabulary: int) -> None:
        for name, value in (("order", order), ("vocabulary", vocabulary)):
            _check_size(name, value)
        if order > (largest := largest_order(vocabulary, order)):
            raise ValueError(f"order must be at most {largest} for a vocabulary of {vocabulary}; got {order}")
        self.order = order
        self.vocabulary = vocabulary
        self._counts: list[_Counts] = []

    def fit(self, tokens: np.ndarray[Any, Any]) -> NGram:
        """Count the n-grams of a text, (N,); an earlier text is forgotten.

        Returns:
            The model itself.
        """
        tokens = self._checked("tokens", tokens)
        if not len(tokens):
            raise ValueError("tokens must hold at least one token; got none")
        self._counts, keys = [], np.zeros(len(tokens) + 1, np.int64)
        for length in range(1, self.order + 1):
            keys = self._longer(keys[1:], tokens, length)
            self._counts.append(_Counts.of(keys, self.vocabulary))
        return self

    def nats(self, tokens: np.ndarray[Any, Any], context: np.ndarray[Any, Any] | None = None) -> Floats:
        """The loss of each token of a text given those before it, in nats.

        >>> import numpy as np
        >>> NGram(order=2, vocabulary=2).fit(np.array([0, 0, 1])).nats(np.array([0])).round(4)  # log(5 / 3)
        array([0.5108])

        Args:
            tokens: the text, (N,).
            context: what went before it; by default nothing.

        Returns:
            Minus the logarithm of each token's probability, (N,).
        """
        if not self._counts:
            raise RuntimeError("an n-gram model must be fitted to a text before it can measure one")
        tokens = self._checked("tokens", tokens)
        before = self._checked("context", context)[-self.order :] if context is not None else tokens[:0]
        whole = np.concatenate([before, tokens])
        probability = np.full(len(whole), 1 / self.vocabulary)
        keys = np.zeros(len(whole) + 1, np.int64)
        for length, counts in enumerate(self._counts, 1):
            keys = self._longer(keys[1:], whole, length)
            _interpolate(probability[length - 1 :], keys, counts, self.vocabulary)
        return -np.log(probability[len(before) :])

    def _longer(self, keys: Integers, tokens: Integers, length: int) -> Integers:
        """The keys of all n-grams of one length from those that are one token shorter, of which the first is left out.

        They lie in the order of their last token; the token that is added is the oldest.
        """
        oldest = tokens[: max(len(tokens) - length + 1, 0)]
        return oldest * np.int64(self.vocabulary ** (length - 1)) + keys

    def _checked(self, name: str, given: np.ndarray[Any, Any]) -> Integers:
        array = np.asarray(given)
        if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
            raise ValueError(f"{name} must be whole numbers (N,); got {array.dtype} of shape {array.shape}")
        if array.size and not (array.min() >= 0 and array.max() < self.vocabulary):
            low, high = array.min(), array.max()
            raise ValueError(f"{name} must lie between 0 and {self.vocabulary - 1}; got {low} to {high}")
        return array.astype(np.int64)


def largest_order(vocabulary: int, wanted: int) -> int:
    """The largest order up to a wanted one whose n-grams can be counted: each must fit in 63 bits.

    >>> largest_order(256, wanted=5), largest_order(267_735, wanted=5)
    (5, 3)
    """
    _check_size("vocabulary", vocabulary)
    _check_size("wanted", wanted)
    order = wanted
    while order > 1 and vocabulary**order > _KEYS:
        order -= 1
    return order


def _interpolate(probability: Floats, keys: Integers, counts: _Counts, vocabulary: int) -> None:
    """Go from the probabilities of one order to those of the next, in place."""
    at, known = _found(counts.contexts, keys // vocabulary)
    followed, different = counts.followed[at], counts.different[at]
    place, seen = _found(counts.grams, keys[known])
    count = np.zeros(len(at), np.int64)
    count[seen] = counts.gram_counts[place]
    probability[known] = (count + different * probability[known]) / (followed + different)


def _found(among: Integers, keys: Integers) -> tuple[Integers, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Where those of the keys stand that are there, and which those are; `among` rises."""
    at = np.searchsorted(among, keys)
    known = at < len(among)
    known[known] = among[at[known]] == keys[known]
    return at[known], known


def _check_size(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}")
