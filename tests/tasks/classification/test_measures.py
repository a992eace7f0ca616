"""The measures, against scikit-learn's and loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, log_loss, mean_absolute_error, r2_score

from holdfast.tasks.classification.measures import of_classes, of_numbers, reliability

Array = np.ndarray[Any, Any]


def case(classes: int, count: int = 400, seed: int = 0) -> tuple[Array, Array]:
    draw = np.random.default_rng(seed)
    return draw.dirichlet(np.full(classes, 0.5), count), draw.integers(0, classes, count)


def calibration_error(probabilities: Array, truth: Array) -> float:
    """The expected calibration error, written out."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(10)]
    for row, k in zip(probabilities.tolist(), truth.tolist()):
        confidence = max(row)
        bins[min(9, int(confidence * 10))].append((confidence, row.index(confidence) == k))
    total = 0.0
    for one in filter(None, bins):
        mean = sum(confidence for confidence, _ in one) / len(one)
        total += len(one) / len(truth) * abs(mean - sum(right for _, right in one) / len(one))
    return total


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_those_of_classes_are_scikit_learns(classes: int) -> None:
    probabilities, truth = case(classes)
    found, labels, said = of_classes(probabilities, truth), np.arange(classes), probabilities.argmax(1)
    assert found["nats"] == pytest.approx(log_loss(truth, probabilities, labels=labels))
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, said))
    assert found["f1"] == pytest.approx(f1_score(truth, said, average="macro"))
    each = [np.mean((probabilities[:, k] - (truth == k)) ** 2) for k in range(classes)]
    assert found["brier"] == pytest.approx(sum(each))
    assert found["calibration"] == pytest.approx(calibration_error(probabilities, truth))


def test_of_two_classes_the_brier_score_is_twice_that_of_one() -> None:
    probabilities, truth = case(2)
    assert of_classes(probabilities, truth)["brier"] == pytest.approx(2 * brier_score_loss(truth, probabilities[:, 1]))


def test_a_class_that_is_neither_there_nor_said_does_not_count_in_f1() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.6, 0.4, 0.0]])
    truth = np.array([0, 1, 1])
    assert of_classes(probabilities, truth)["f1"] == pytest.approx(f1_score(truth, [0, 1, 0], average="macro"))


def test_a_certain_mistake_costs_much_but_not_without_end() -> None:
    assert 20 < of_classes(np.array([[1.0, 0.0]]), np.array([1]))["nats"] < 40


def test_bins_of_confidence_hold_all_examples_once() -> None:
    probabilities, truth = case(3)
    found = reliability(probabilities, truth)
    assert sum(count for _, count, _, _ in found) == len(truth)
    for lower, _, confidence, _ in found:
        assert lower <= confidence <= lower + 0.1
    assert reliability(np.array([[1.0, 0.0]]), np.array([0])) == [(0.9, 1, 1.0, 1.0)]


def test_those_of_numbers_are_scikit_learns() -> None:
    draw = np.random.default_rng(0)
    truth = draw.normal(size=300)
    said = truth + draw.normal(size=300)
    found = of_numbers(said, truth)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((said - truth) ** 2)))
    assert found["mae"] == pytest.approx(mean_absolute_error(truth, said))
    assert found["r2"] == pytest.approx(r2_score(truth, said))


def test_numbers_that_do_not_vary_have_no_share_that_is_explained() -> None:
    assert np.isnan(of_numbers(np.array([1.0, 2.0]), np.array([3.0, 3.0]))["r2"])
