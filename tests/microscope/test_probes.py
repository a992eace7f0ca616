"""Probes, against pairs counted one by one and NumPy's correlation."""

import numpy as np
import pytest
import torch

from holdfast.microscope import MicroscopeError, probe, rank_units


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairs_in_order(unit: torch.Tensor, signal: torch.Tensor) -> float:
    """The share of pairs of a step with the signal and one without in which the unit is higher; ties count half."""
    on, off = unit[signal.bool()], unit[~signal.bool()]
    differences = on[:, None] - off[None, :]
    return ((differences > 0).double() + 0.5 * (differences == 0).double()).mean().item()


def test_the_scores_are_the_shares_of_pairs_in_order_on_each_part() -> None:
    signal = torch.rand(300, generator=draw()) < 0.3
    units = (torch.randn(300, 6, generator=draw(1)) + signal[:, None] * torch.arange(6) / 3).round(decimals=1)
    found = probe(units, signal, share=0.4)
    each = [pairs_in_order(units[:120, k], signal[:120]) for k in range(6)]
    assert found.unit == int(np.argmax(np.abs(np.array(each) - 0.5)))
    assert found.chosen == pytest.approx(each[found.unit])
    assert found.score == pytest.approx(pairs_in_order(units[120:, found.unit], signal[120:]))
    assert (found.sign, found.measure) == (1, "AUC")


def test_the_unit_is_chosen_without_the_part_it_is_scored_on() -> None:
    signal = torch.rand(200, generator=draw()) < 0.5
    units = torch.randn(200, 2, generator=draw(1))
    units[:100, 0] += 3 * signal[:100]  # tracks it in the first half only
    units[100:, 1] += 9 * signal[100:]  # in the second
    found = probe(units, signal)
    assert found.unit == 0
    assert found.chosen > 0.95
    assert 0.3 < found.score < 0.7


def test_numbers_are_tracked_by_correlation_of_either_sign() -> None:
    signal = torch.arange(400.0) % 37
    units = torch.randn(400, 4, generator=draw())
    units[:, 2] -= 0.2 * signal
    found = probe(units, signal)
    wanted = np.corrcoef(units[200:, 2].numpy(), signal[200:].numpy())[0, 1]
    assert (found.unit, found.sign, found.measure) == (2, -1, "correlation")
    assert found.score == pytest.approx(-wanted, rel=1e-5)


def test_a_unit_that_stands_still_is_never_chosen() -> None:
    signal = torch.arange(100.0) % 7
    units = torch.randn(100, 3, generator=draw())
    units[:, 0] = 1.0
    assert probe(units, signal).unit != 0
    assert probe(units, signal > 3).unit != 0


def test_units_are_ranked_by_the_part_they_are_chosen_on() -> None:
    signal = torch.rand(300, generator=draw()) < 0.5
    units = torch.randn(300, 8, generator=draw(1)) + signal[:, None] * torch.tensor([0, 1, -3, 0, 2, 0, 0, 0.0])
    units[150:, 4] += 9 * signal[150:]
    units[:, 7] = 3.0  # never moves
    found = rank_units(units, signal, most=3)
    assert [one.unit for one in found] == [2, 4, 1]
    assert [one.sign for one in found] == [-1, 1, 1]
    assert found[0] == probe(units, signal)
    assert found[1].score > found[0].score
    for one in found:
        wanted = pairs_in_order(one.sign * units[150:, one.unit], signal[150:])
        assert one.score == pytest.approx(wanted)
    everything = rank_units(units, signal, most=20)
    assert len(everything) == 8
    assert everything[-1].unit == 7


def test_bytes_score_as_the_same_numbers_do() -> None:
    signal = torch.rand(300, generator=draw()) < 0.5
    units = (torch.randint(90, (300, 5), generator=draw(1)) + 60 * signal[:, None]).byte()
    assert rank_units(units, signal) == rank_units(units.float(), signal)
    assert rank_units(units, torch.arange(300) % 9) == rank_units(units.float(), torch.arange(300) % 9)


def test_noise_tracks_nothing() -> None:
    signal = torch.rand(4000, generator=draw()) < 0.5
    assert probe(torch.randn(4000, 30, generator=draw(1)), signal).score == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("units", "signal", "share", "message"),
    [
        (torch.rand(9, 2), torch.rand(8), 0.5, r"units must be \(steps, units\) and signal \(steps,\); got \(9, 2\)"),
        (torch.rand(9), torch.rand(9), 0.5, r"got \(9,\) and \(9,\)"),
        (torch.rand(9, 2), torch.rand(9), 1.0, "share must be between 0 and 1; got 1.0"),
        (torch.rand(9, 2), torch.arange(9) > 6, 0.5, "constant in one of the two parts"),
    ],
)
def test_what_cannot_be_probed_is_refused(
    units: torch.Tensor, signal: torch.Tensor, share: float, message: str
) -> None:
    with pytest.raises(MicroscopeError, match=message):
        probe(units, signal, share)
