import numpy as np
import pytest
import torch
from torch import Generator

from holdfast.lab import PROBLEMS
from holdfast.lab.contest import Entry, tried
from holdfast.lab.hidden_markov import HiddenMarkov
from holdfast.lab.problem import Recipe


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ["order", "reber", "copy", "noise-free", "distractors", "parity"])
def test_its_answers_are_the_conditional_probabilities_of_whole_sequences(name: str) -> None:
    problem = PROBLEMS[name](None if name == "reber" else 10)
    problem.states = 5
    problem.prepare(generator(3))
    model = HiddenMarkov(problem, seed=0)
    model.learn(problem.batch(60, generator()))
    batch = problem.batch(4, generator(1))
    answer = model(batch).softmax(-1)
    text, lengths = problem.spelled(batch)
    first = problem.alphabet - problem.outputs
    for k, length in enumerate(lengths.tolist()):
        at = int(length) - 1  # the symbol behind everything else
        # By the library's own likelihood of the sequence with each symbol in that place.
        likelihoods = []
        for symbol in range(first, problem.alphabet):
            row = text[:length, k].clone()
            row[at] = symbol
            likelihoods.append(model.model.score(row[:, None].numpy()))
        wanted = torch.tensor(np.array(likelihoods)).softmax(-1)
        found = answer[k] if problem.at_end else answer[at - (len(text) - len(batch.x)), k]
        assert torch.allclose(found, wanted, atol=1e-6)


def test_more_learning_makes_it_better() -> None:
    problem, draw = PROBLEMS["noise-free"](3), generator()
    model, fresh = HiddenMarkov(problem, seed=1), problem.batch(500, generator(9))
    errors = []
    for _ in range(15):
        model.learn(problem.batch(500, draw))
        errors.append(problem.errors(model(fresh), fresh).mean().item())
    assert errors[-1] < errors[0]


def test_it_learns_a_short_task_and_says_after_how_many_sequences() -> None:
    record = tried("noise-free", Entry("hmm", 3, 0), Recipe(sequences=20_000))
    assert record.solved
    assert 500 <= record.sequences < 20_000
    assert record.sequences % 500 == 0
    again = tried("noise-free", Entry("hmm", 3, 0), Recipe(sequences=20_000))
    assert again.curve == record.curve
