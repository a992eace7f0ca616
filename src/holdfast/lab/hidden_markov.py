"""A hidden Markov model as a contestant: discrete states, learned by expectation maximisation."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.extras import require

from .problem import Batch, Problem

PRIOR = 1e-3  # counts that no probability becomes 0 by
UNEVEN = 0.3  # of the Dirichlet distribution that it starts from
LEAST = 1e-30  # a probability below is as good as none


class HiddenMarkov:
    """A hidden Markov model over a task's sequences, the answers written behind or among the questions.

    >>> import torch
    >>> from holdfast.lab import PROBLEMS
    >>> problem, draw = PROBLEMS["order"](lag=10), torch.Generator().manual_seed(0)
    >>> model = HiddenMarkov(problem, seed=0)
    >>> model.learn(problem.batch(50, draw))
    >>> model(problem.batch(3, draw)).shape
    torch.Size([3, 4])

    Args:
        problem: a task of symbols.
        seed: of what it starts from.
    """

    batch_size = 500  # of one step of expectation maximisation

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem = problem
        logging.getLogger("hmmlearn").setLevel(logging.ERROR)  # it calls fresh sequences a lack of convergence
        states, alphabet = problem.states, problem.alphabet
        self.model: Any = require("hmmlearn.hmm", "lab").CategoricalHMM(
            n_components=states,
            n_features=alphabet,
            n_iter=1,
            init_params="",  # each call of fit goes on from where the one before ended
            implementation="scaling",  # several times as fast as logarithms
            startprob_prior=1 + PRIOR,
            transmat_prior=1 + PRIOR,
            emissionprob_prior=1 + PRIOR,
        )
        draw = np.random.default_rng(seed)
        self.model.startprob_ = _distributions(draw, 1, states)[0]
        self.model.transmat_ = _distributions(draw, states, states)
        self.model.emissionprob_ = _distributions(draw, states, alphabet)

    def learn(self, batch: Batch) -> None:
        """One step of expectation maximisation."""
        text, lengths = self.problem.spelled(batch)
        symbols = torch.cat([row[:n] for row, n in zip(text.T, lengths)])
        self.model.fit(symbols[:, None].numpy(), lengths.numpy())

    def __call__(self, batch: Batch) -> Tensor:
        """The logarithms of the probabilities of the answers, (B, O) at the end or (T, B, O) at every step."""
        text, lengths = self.problem.spelled(batch)
        found = torch.from_numpy(np.log(np.maximum(self._forecasts(text.numpy()), LEAST)))  # (T', B, alphabet)
        problem = self.problem
        chosen = found[:, :, problem.alphabet - problem.outputs :]  # the answers are the last symbols
        if problem.at_end:
            return chosen[lengths - 1, torch.arange(len(lengths))]
        return chosen[len(chosen) - len(batch.x) :]

    def _forecasts(self, text: NDArray[np.int64]) -> NDArray[np.float64]:
        """The probabilities of each symbol at each step, from the symbols before it."""
        state = np.repeat(self.model.startprob_[None], text.shape[1], 0)  # (B, S)
        found = []
        for symbols in text:
            found.append(state @ self.model.emissionprob_)
            seen = state * self.model.emissionprob_[:, symbols].T
            seen /= np.maximum(seen.sum(1, keepdims=True), LEAST)
            state = seen @ self.model.transmat_
        return np.stack(found)


def _distributions(draw: np.random.Generator, count: int, size: int) -> NDArray[np.float64]:
    """Random distributions, (count, size), uneven ones: from nearly even ones the states hardly ever part."""
    found = draw.dirichlet(np.full(size, UNEVEN), count) + PRIOR / size
    return found / found.sum(1, keepdims=True)
