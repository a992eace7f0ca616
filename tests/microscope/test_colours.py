import numpy as np
import pytest

from holdfast.microscope import colour_map


def lightness(palette: str, places: list[float]) -> np.ndarray:
    """CIE L* of the colours at some places."""
    srgb = colour_map(places, palette)[:, :3] / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    y = linear @ np.array([0.2126, 0.7152, 0.0722])
    return 116 * np.cbrt(y) - 16


def test_the_sequential_map_grows_evenly_lighter() -> None:
    steps = np.diff(lightness("sequential", np.linspace(0, 1, 9).tolist()))
    assert steps.min() > 6
    assert steps.max() < 13


def test_the_diverging_map_darkens_alike_from_the_middle_to_both_ends() -> None:
    levels = lightness("diverging", np.linspace(0, 1, 9).tolist())
    assert (np.diff(levels[:5]) > 0).all()
    assert (np.diff(levels[4:]) < 0).all()
    assert np.abs(levels - levels[::-1]).max() < 8


def test_numbers_outside_take_the_nearest_end_and_nan_is_transparent() -> None:
    colours = colour_map([-1.0, 0.0, 1.0, float("inf"), float("nan")])
    assert (colours[0] == colours[1]).all()
    assert (colours[2] == colours[3]).all()
    assert colours[:, 3].tolist() == [255, 255, 255, 255, 0]


def test_the_shape_is_kept() -> None:
    assert colour_map(np.zeros((2, 5))).shape == (2, 5, 4)


def test_an_unknown_palette_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"\['diverging', 'sequential'\]; got 'jet'"):
        colour_map([0.0], "jet")
