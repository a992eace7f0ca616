"""Pictures by matplotlib, by what they are made of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import holdfast
from holdfast.extras import MissingExtra
from holdfast.layers import LayerTrace
from holdfast.microscope import (
    Horizon,
    MicroscopeError,
    Probe,
    plot_heat_map,
    plot_horizon,
    plot_probe,
    plot_saturation,
    plot_time_constants,
    plot_units,
    record,
)


def seen(**series: Tensor) -> LayerTrace:
    gates = {name: values for name, values in series.items() if name not in "hc"}
    return LayerTrace("l0", gates, {name: values for name, values in series.items() if name in "hc"})


@pytest.fixture
def ax() -> Axes:
    return Figure().subplots()


SEEN = record(holdfast.LSTM(3, 5), torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(0)))["l0"]
HORIZON = Horizon({"a": torch.tensor([[1.0], [0.4], [0.05], [0.001], [0.0]])}, {}, [0, 2, 4, 6, 8])
DRAWN: dict[str, Callable[..., Axes]] = {
    "heat map": lambda **how: plot_heat_map(SEEN, "f", **how),
    "units": lambda **how: plot_units(SEEN, "c", [1], **how),
    "horizon": lambda **how: plot_horizon(HORIZON, **how),
    "time constants": lambda **how: plot_time_constants(SEEN, **how),
    "saturation": lambda **how: plot_saturation(SEEN, **how),
    "probe": lambda **how: plot_probe(Probe(0, 1, 1.0, 1.0, "AUC"), torch.rand(9, 2), torch.arange(9) > 4, **how),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_it_is_drawn_into_the_axes_that_are_given_or_into_new_ones(draw: Callable[..., Axes], ax: Axes) -> None:
    assert draw(ax=ax) is ax
    ax.figure.canvas.draw()
    try:
        new = draw()
        assert new is not ax
        assert pyplot.fignum_exists(new.figure.number)  # type: ignore[union-attr]
    finally:
        pyplot.close("all")


def test_a_heat_map_has_a_row_a_unit_and_a_column_a_step(ax: Axes) -> None:
    plot_heat_map(SEEN, "f", [4, 1], sequence=1, ax=ax)
    (image,) = ax.images
    assert np.array_equal(image.get_array(), SEEN.gates["f"][:, 1][:, [4, 1]].T)
    assert image.get_clim() == (0.0, 1.0)


def test_signed_values_have_their_neutral_colour_at_zero(ax: Axes) -> None:
    plot_heat_map(seen(c=torch.tensor([[[-3.0, 1.0]]])), "c", ax=ax)
    assert ax.images[0].get_clim() == (-3.0, 3.0)
    red, green, blue, _ = ax.images[0].cmap(0.5)
    assert min(red, green, blue) > 0.9


def test_the_lines_are_the_units_that_were_chosen(ax: Axes) -> None:
    plot_units(SEEN, "c", torch.tensor([3, 0]), ax=ax)  # type: ignore[arg-type]
    assert [line.get_label() for line in ax.lines] == ["unit 3", "unit 0"]
    assert np.array_equal(ax.lines[0].get_ydata(), SEEN.states["c"][:, 0, 3])


def test_the_horizon_marks_where_a_half_nine_tenths_and_all_but_a_hundredth_are_gone(ax: Axes) -> None:
    plot_horizon(HORIZON, ax=ax)
    line, *dots = ax.lines
    assert line.get_label() == "a"
    assert np.asarray(line.get_ydata())[:4] == pytest.approx([1, 0.4, 0.05, 0.001])
    assert np.isnan(np.asarray(line.get_ydata())[4]), "0 has no place on a logarithmic axis"
    assert [float(np.asarray(dot.get_xdata())[0]) for dot in dots] == [2, 4, 6]
    assert [text.get_text() for text in ax.texts] == ["50%", "90%", "99%"]


def test_a_lag_beyond_the_sequence_is_not_marked(ax: Axes) -> None:
    plot_horizon(Horizon({"a": torch.tensor([[1.0], [0.4], [0.3]])}, {}, range(3)), ax=ax)
    assert [text.get_text() for text in ax.texts] == ["50%"]


def test_every_unit_is_in_the_histogram_or_counted_in_the_title(ax: Axes) -> None:
    f = torch.tensor([0.5, 0.9, 0.99, 1.0]).expand(6, 1, 4)
    plot_time_constants(seen(f=f), ax=ax)
    bars = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches if bar.get_height()]  # type: ignore[attr-defined]
    expected = [1.4427, 9.4912, 99.4992]
    assert all(low < tau < high for (low, high), tau in zip(bars, expected, strict=True))
    assert ax.get_title() == "l0: time constants by f; 1 of 4 units forget nothing"


@pytest.mark.parametrize("f", [torch.full((6, 1, 4), 0.9), torch.ones(6, 1, 4)], ids=["all alike", "all for ever"])
def test_time_constants_that_have_no_range_are_drawn(f: Tensor, ax: Axes) -> None:
    plot_time_constants(seen(f=f), ax=ax)
    assert sum(bar.get_height() for bar in ax.patches) == (0 if (f == 1).all() else 4)  # type: ignore[attr-defined]


def test_a_point_of_the_saturation_is_a_unit(ax: Axes) -> None:
    i = torch.tensor([[0.05, 0.95], [0.05, 0.95], [0.05, 0.5], [0.5, 0.95]]).view(4, 1, 2)
    plot_saturation(seen(i=i, g=2 * i - 1), ax=ax)
    (points,) = ax.collections
    assert points.get_label() == "i"
    assert np.asarray(points.get_offsets()).tolist() == [[0.0, 0.75], [0.75, 0.0]]


def test_a_probe_is_drawn_beside_a_signal_of_two_values(ax: Axes) -> None:
    units, signal = torch.rand(50, 3), torch.arange(50) // 5 % 2
    plot_probe(Probe(2, 1, 0.9, 0.876, "AUC"), units, signal, 20, 40, ax=ax)
    assert np.array_equal(ax.lines[0].get_xdata(), np.arange(20, 40))
    assert np.array_equal(ax.lines[0].get_ydata(), units[20:40, 2])
    assert ax.get_title() == "AUC 0.876"
    (shade,) = ax.collections
    starts = sorted(path.vertices[:, 0].min() for path in shade.get_paths())  # type: ignore[index]
    assert starts == [25, 35]


def test_a_stretch_without_the_signal_is_not_shaded(ax: Axes) -> None:
    plot_probe(Probe(0, 1, 0.9, 0.9, "AUC"), torch.rand(50, 1), torch.arange(50) > 30, 0, 20, ax=ax)
    assert not any(len(path.vertices) for shade in ax.collections for path in shade.get_paths())  # type: ignore[arg-type]


def test_a_probe_is_drawn_beside_numbers(ax: Axes) -> None:
    units, signal = torch.rand(50, 3), torch.arange(50) % 7
    plot_probe(Probe(1, -1, 0.9, 0.8, "correlation"), units, signal, ax=ax)
    _, beside = ax.figure.axes
    assert np.array_equal(beside.lines[0].get_ydata(), signal)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda ax: plot_heat_map(SEEN, "k", ax=ax), "there is no series 'k' in l0; there are i, f, g, o, h, c"),
        (lambda ax: plot_units(SEEN, "c", [0], sequence=2, ax=ax), "sequence must be from 0 to 1; got 2"),
        (lambda ax: plot_saturation(seen(h=torch.rand(3, 1, 2)), ax=ax), "l0 has no gate between 0 and 1"),
        (
            lambda ax: plot_probe(Probe(0, 1, 1.0, 1.0, "AUC"), torch.rand(9, 2), torch.arange(9) > 4, 9, 12, ax=ax),
            "the stretch must lie within the 9 steps; got 9 to 12",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: Callable[[Axes], Any], message: str, ax: Axes) -> None:
    with pytest.raises(MicroscopeError, match=message):
        draw(ax)


def test_what_is_not_there_to_draw_with_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"this needs matplotlib.*: pip install 'holdfast\[plot\]'"):
        plot_heat_map(SEEN, "f")


@pytest.mark.full
def test_the_microscope_alone_imports_neither_matplotlib_nor_pandas() -> None:
    program = "import sys, holdfast.microscope; print({'matplotlib', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
