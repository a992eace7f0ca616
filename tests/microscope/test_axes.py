import pytest

from holdfast.microscope.axes import Axis

NAN, INF = float("nan"), float("inf")


def names(axis: Axis) -> list[str]:
    return [name for _, name in axis.ticks()]


def test_a_linear_axis_holds_its_values_and_has_round_ticks() -> None:
    axis = Axis.around([3, 48_000])
    assert (axis.low, axis.high) == (3, 48_000)
    assert names(axis) == ["10,000", "20,000", "30,000", "40,000"]
    assert names(Axis(0, 1)) == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert names(Axis(-1, 1)) == ["−1.0", "−0.5", "0.0", "0.5", "1.0"]


def test_a_logarithmic_axis_has_ticks_at_powers_of_ten_inside_it() -> None:
    assert names(Axis.around([0.0003, 0.78], log=True)) == ["0.001", "0.01", "0.1", "1"]
    assert names(Axis.around([1e-3, 1.0], log=True)) == ["0.001", "0.01", "0.1", "1"]


def test_a_decade_or_two_have_ticks_between_the_powers_of_ten() -> None:
    assert names(Axis.around([2.1, 43], log=True)) == ["2", "5", "10", "20", "50"]
    assert names(Axis.around([0.3], log=True)) == ["0.2", "0.5", "1", "2"]
    assert names(Axis.around([3e-8, 2e-7], log=True)) == ["2·10⁻⁸", "5·10⁻⁸", "10⁻⁷", "2·10⁻⁷"]


def test_many_decades_are_named_by_powers_and_some_left_out() -> None:
    assert names(Axis.around([3e-22, 2.0], log=True)) == ["10⁻²⁰", "10⁻¹⁶", "10⁻¹²", "10⁻⁸", "10⁻⁴", "10⁰"]


@pytest.mark.parametrize("value", [0.2, 0.5, 1.0, 3.0])
def test_a_logarithmic_axis_is_never_without_a_tick(value: float) -> None:
    axis = Axis.around([value], log=True)
    assert axis.low <= value <= axis.high
    assert axis.ticks()


@pytest.mark.parametrize("log", [False, True])
def test_values_that_cannot_be_drawn_do_not_stretch_an_axis(log: bool) -> None:
    assert Axis.around([1.0, NAN, 100.0, INF, -INF], log) == Axis.around([1.0, 100.0], log)
    assert Axis.around([0.0, -3.0, 1.0, 100.0], log=True) == Axis.around([1.0, 100.0], log=True)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[], [NAN], [2.0, 2.0]])
def test_an_axis_around_one_value_or_none_is_still_an_axis(values: list[float], log: bool) -> None:
    axis = Axis.around(values, log)
    assert axis.low < axis.high
    assert axis.ticks()


def test_places_are_measured_by_ratio_on_a_logarithmic_axis_only() -> None:
    assert Axis(1, 100, log=True).place(10) == pytest.approx(0.5)
    assert Axis(1, 100).place(10) == pytest.approx(9 / 99)
