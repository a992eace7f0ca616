from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor

import holdfast
from holdfast.lab import AddingProblem, Recipe, SumReader, evaluate, initialised, train


def generator(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def lstm() -> SumReader:
    return SumReader(holdfast.LSTM(2, 12, init="chrono", max_lag=10))


@pytest.mark.parametrize(("lag", "size"), [(2, 5), (7, 1), (100, 3)])
def test_a_batch_is_values_and_markers_with_time_first(lag: int, size: int) -> None:
    x, target = AddingProblem(lag).batch(size, generator(0))
    assert x.shape == (lag, size, 2)
    assert target.shape == (size,)
    assert x.dtype == target.dtype == torch.float32


@pytest.mark.parametrize("lag", [2, 7, 10])
def test_each_half_has_one_marker_that_can_stand_anywhere_in_it(lag: int) -> None:
    markers = AddingProblem(lag).batch(500, generator(0))[0][..., 1]
    assert set(markers.unique().tolist()) <= {0.0, 1.0}
    assert (markers[: lag // 2].sum(0) == 1).all()
    assert (markers[lag // 2 :].sum(0) == 1).all()
    assert (markers.sum(1) > 0).all()


def test_the_target_is_the_sum_of_the_marked_values() -> None:
    x, target = AddingProblem(9).batch(50, generator(0))
    for sequence, wanted in zip(x.unbind(1), target.tolist()):
        marked = [value for value, marker in sequence.tolist() if marker]
        assert len(marked) == 2
        assert sum(marked) == pytest.approx(wanted, abs=1e-6)


def test_values_are_uniform_and_guessing_the_mean_scores_the_baseline() -> None:
    problem = AddingProblem(20)
    x, target = problem.batch(20_000, generator(0))
    values = x[..., 0]
    assert 0 <= values.min() < 0.001
    assert 0.999 < values.max() <= 1
    assert values.mean().item() == pytest.approx(1 / 2, abs=0.005)
    assert target.mean().item() == pytest.approx(1, abs=0.01)
    assert target.var().item() == pytest.approx(problem.baseline, rel=0.03)


def test_a_seed_gives_the_same_sequences_and_another_seed_others() -> None:
    def draw(seed: int) -> Tensor:
        return AddingProblem(6).batch(4, generator(seed))[0]

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


@pytest.mark.parametrize("lag", [1, 0, -3])
def test_a_lag_without_room_for_two_markers_is_refused(lag: int) -> None:
    with pytest.raises(ValueError, match=f"at least 2.*got {lag}"):
        AddingProblem(lag)


def test_the_reader_takes_projected_outputs_too() -> None:
    assert SumReader(holdfast.LSTM(2, 8, proj_size=3))(torch.rand(5, 4, 2)).shape == (4,)


def test_weights_come_from_the_generator_and_the_global_one_is_left_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (initialised(lstm, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name]), name
    assert not torch.equal(one.layer.weight_ih_l0, other.layer.weight_ih_l0)


def trained(
    recipe: Recipe, seed: int = 0, progress: Callable[[int, float], None] | None = None
) -> tuple[SumReader, list[tuple[int, float]]]:
    problem = AddingProblem(10)
    model = initialised(lstm, generator(seed))
    held_out = problem.batch(300, generator(100))
    curve = train(model, problem, recipe, generator(seed), held_out, progress)
    assert curve[-1].error == evaluate(model, held_out)
    return model, [(point.sequences, point.error) for point in curve]


def test_a_small_model_learns_a_short_lag() -> None:
    _, curve = trained(Recipe(steps=400, evaluate_every=100))
    assert curve[0][1] > 0.1
    assert curve[-1][1] < 0.02


def test_training_is_the_same_for_the_same_seed_and_leaves_the_global_generator_alone() -> None:
    recipe = Recipe(steps=6, batch_size=5)
    before = torch.get_rng_state()
    assert trained(recipe)[1] == trained(recipe)[1]
    assert trained(recipe)[1] != trained(recipe, seed=1)[1]
    assert torch.equal(torch.get_rng_state(), before)


def test_the_curve_starts_before_training_and_ends_with_it() -> None:
    _, curve = trained(Recipe(steps=7, batch_size=5, evaluate_every=3))
    assert [sequences for sequences, _ in curve] == [0, 15, 30, 35]


def test_progress_is_told_every_step_with_the_error_last_measured() -> None:
    told: list[tuple[int, float]] = []
    _, curve = trained(Recipe(steps=5, batch_size=4, evaluate_every=2), progress=lambda *step: told.append(step))
    errors = [error for _, error in curve]
    assert told == list(zip([1, 2, 3, 4, 5], [errors[k] for k in (0, 1, 1, 2, 3)]))


def test_the_learning_rate_halves_three_quarters_through_and_ends_near_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    step = torch.optim.Adam.step

    def noted(self: torch.optim.Adam) -> None:
        rates.append(self.param_groups[0]["lr"])
        step(self)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    trained(Recipe(steps=8, batch_size=2, learning_rate=0.1))
    assert rates == pytest.approx([0.1] * 5 + [0.075, 0.05, 0.025])
