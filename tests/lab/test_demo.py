from dataclasses import replace

import pytest
import torch

from holdfast.lab import Point
from holdfast.lab.demo import Contest, Result, Settings, run, verdict
from holdfast.lab.lesson import Lesson

TINY = Settings(lag=6, hidden_size=3, lesson=Lesson(steps=4, batch_size=5, evaluate_every=2))


@pytest.fixture(scope="module")
def contest() -> Contest:
    return run(TINY)


def ending_at(result: Result, error: float) -> Result:
    return replace(result, curve=[Point(0, 1.0), Point(20, error)])


def test_both_see_as_many_sequences_with_as_many_units(contest: Contest) -> None:
    assert [result.name for result in contest.results] == ["LSTM", "RNN"]
    for result in contest.results:
        assert [point.sequences for point in result.curve] == [0, 10, 20]
        assert result.model.layer.hidden_size == 3
        assert result.reach_before.shape == result.reach_after.shape == (6,)
        assert result.seconds > 0
    assert [result.parameters for result in contest.results] == [4 * 3 * (2 + 3 + 2) + 4, 3 * (2 + 3 + 2) + 4]
    assert contest.example.shape == (6, 1, 2)


def test_the_same_seed_gives_the_same_figures_and_another_seed_others(contest: Contest) -> None:
    again, other = run(TINY), run(replace(TINY, seed=1))
    for result, same, different in zip(contest.results, again.results, other.results):
        assert result.curve == same.curve
        assert torch.equal(result.reach_after, same.reach_after)
        assert result.curve != different.curve
    assert torch.equal(contest.example, again.example)


def test_threads_and_the_global_generator_are_left_as_they_were() -> None:
    torch.set_num_threads(2)
    before = torch.get_rng_state()
    run(TINY)
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_threads_are_left_as_they_were_even_when_interrupted() -> None:
    def stop(name: str, step: int, error: float) -> None:
        raise KeyboardInterrupt

    torch.set_num_threads(2)
    with pytest.raises(KeyboardInterrupt):
        run(TINY, stop)
    assert torch.get_num_threads() == 2


def test_progress_tells_whose_step_it_is() -> None:
    told = []
    run(TINY, lambda name, step, error: told.append((name, step)))
    assert told == [(name, step) for name in ("LSTM", "RNN") for step in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (0.0042, "the LSTM's error is 0.0042, under 0.01: it learned the task;"),
        (0.01, "0.010, below the 0.167 of guessing the mean but not under 0.01: it learned a part of the task;"),
        (0.16, "0.160, near the 0.167 of guessing the mean: it did not learn the task;"),
        (0.5, "0.500, above the 0.167 of guessing the mean: it did not learn the task;"),
        (float("nan"), "nan: its training broke down;"),
    ],
)
def test_the_verdict_follows_from_the_error(contest: Contest, error: float, words: str) -> None:
    said = verdict(replace(contest, lstm=ending_at(contest.lstm, error), rnn=ending_at(contest.rnn, 0.163)))
    assert said.startswith("After 20 sequences the LSTM's error is ")
    assert words in said
    assert said.endswith("; the RNN's error is 0.163, near the 0.167 of guessing the mean: it did not learn the task.")


def test_the_verdict_judges_the_rnn_by_the_same_measure(contest: Contest) -> None:
    said = verdict(replace(contest, lstm=ending_at(contest.lstm, 0.2), rnn=ending_at(contest.rnn, 0.001)))
    assert "the LSTM's error is 0.200, near" in said
    assert said.endswith("the RNN's error is 0.0010, under 0.01: it learned the task.")
