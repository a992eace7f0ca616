"""How good classes, probabilities and numbers are."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BINS = 10  # of probabilities, in which they are compared with how often they are right
_LEAST = 1e-12


def of_classes(probabilities: Array, truth: Array) -> dict[str, float]:
    """Measures of probabilities.

    >>> found = of_classes(np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([0, 0]))
    >>> found["accuracy"], round(found["nats"], 3), round(found["brier"], 3)
    (0.5, 0.57, 0.4)

    Args:
        probabilities: (N, K).
        truth: the classes' numbers, (N,).

    Returns:
        nats: minus the mean logarithm of the true class' probability; accuracy; f1: the mean over the classes that are
        there; brier: the mean square distance to the truth; calibration: how far confidence and accuracy are apart, the
        mean over ten bins of confidence, by the examples in each (expected calibration error).
    """
    rows = np.arange(len(truth))
    chosen = probabilities.argmax(1)
    right = chosen == truth
    hot = np.zeros_like(probabilities)
    hot[rows, truth] = 1
    gaps = [abs(share - confidence) * count for _, count, confidence, share in reliability(probabilities, truth)]
    return {
        "nats": float(-np.log(np.maximum(probabilities[rows, truth], _LEAST)).mean()),
        "accuracy": float(right.mean()),
        "f1": float(np.mean([_f1(chosen == k, truth == k) for k in np.unique(np.concatenate([truth, chosen]))])),
        "brier": float(((probabilities - hot) ** 2).sum(1).mean()),
        "calibration": float(sum(gaps) / len(truth)),
    }


def _f1(said: Array, true: Array) -> float:
    return float(2 * (said & true).sum() / max(1, said.sum() + true.sum()))


def reliability(probabilities: Array, truth: Array) -> list[tuple[float, int, float, float]]:
    """Of each bin of confidence that is not empty: its lower end, its examples, their mean confidence and accuracy."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == truth
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        (k / BINS, int(mine.sum()), float(confidence[mine].mean()), float(right[mine].mean()))
        for k in range(BINS)
        if (mine := bins == k).any()
    ]


def of_numbers(found: Array, truth: Array) -> dict[str, float]:
    """Measures of numbers.

    >>> of_numbers(np.array([1.0, 2.0]), np.array([1.0, 4.0]))["mae"]
    1.0

    Returns:
        rmse; mae; r2: the share of the truth's variance that is explained.
    """
    error = found - truth
    variance = float(np.var(truth))
    return {
        "rmse": float(np.sqrt((error**2).mean())),
        "mae": float(np.abs(error).mean()),
        "r2": 1 - float((error**2).mean()) / variance if variance else float("nan"),
    }
