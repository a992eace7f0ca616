"""All that the microscope's page shows of one model on one input, as numbers."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.language.typeset import equation_parts, expression
from holdfast.layers import LayerTrace
from holdfast.microscope import MicroscopeError, colour_map, dead_units, saturation, time_constants
from holdfast.microscope.colours import suited
from holdfast.microscope.diagram import diagram
from holdfast.microscope.horizon import SHARES, horizon_chart
from holdfast.microscope.steps import LayerSteps, record_steps
from holdfast.microscope.subject import Subject

MOST_STEPS = 20_000
COMPARED = 1000  # steps by which units are compared
_NUMBERS = itertools.count(1)


class View:
    """A model on one input.

    >>> import torch, holdfast
    >>> from holdfast.microscope.subject import subject_of
    >>> view = View(subject_of(holdfast.LSTM(2, 5), torch.randn(30, 1, 2)))
    >>> about = view.about()
    >>> about["steps"], about["layers"][0]["units"], [s["name"] for s in about["layers"][0]["series"]][:6]
    (30, 5, ['h', 'c', 'i', 'f', 'g', 'o'])
    >>> view.bytes(0, about["layers"][0]["series"][0]["node"]).shape
    (5, 30)

    Args:
        subject: what is looked at.

    Attributes:
        number: another one for each view.

    Raises:
        MicroscopeError: there is nothing to look at, or too much.
    """

    def __init__(self, subject: Subject) -> None:
        if not 0 < subject.steps <= MOST_STEPS:
            raise MicroscopeError(f"1 to {MOST_STEPS:,} steps can be looked at; got {subject.steps:,}")
        self.subject = subject
        self.number = next(_NUMBERS)
        steps = record_steps(subject.model, *subject.inputs)
        for name, layer in steps.layers.items():
            shapes = {tuple(values.shape[:2]) for values in layer.values.values()}
            if shapes != {(subject.steps, 1)}:
                raise MicroscopeError(
                    f"the input has {subject.steps:,} steps, but the layer {name} ran over "
                    f"{' or '.join(f'{steps:,} steps of {batch:,} sequences' for steps, batch in sorted(shapes))}"
                )
        if not steps.layers:
            raise MicroscopeError("the model called none of its recurrent layers")
        self.guesses = subject.guesses(steps.output) if subject.guesses else []
        self.layers = [_Layer(name, layer) for name, layer in steps.layers.items()]

    def about(self) -> dict[str, Any]:
        """All but the series, as JSON."""
        subject = self.subject
        return {
            "number": self.number,
            "title": subject.title,
            "steps": subject.steps,
            "pieces": list(subject.pieces),
            "values": None if subject.values is None else _numbers(subject.values.T),
            "columns": list(subject.columns),
            "guesses": self.guesses,
            "layers": [layer.about() for layer in self.layers],
            "note": subject.note,
            "horizon": subject.horizon is not None,
            "typed": subject.other is not None,
            "palettes": {name: _palette(name) for name in ("sequential", "diverging")},
        }

    def layer(self, number: int) -> _Layer:
        """One layer.

        Raises:
            MicroscopeError: there is none of that number.
        """
        if not 0 <= number < len(self.layers):
            raise MicroscopeError(f"there is no layer {number}; there are {len(self.layers)}")
        return self.layers[number]

    def bytes(self, layer: int, node: int, bits: int = 8) -> NDArray[Any]:
        """A series in 8 or 16 bits, (units, steps): levels from the low to the high end of its scale.

        The highest number of so many bits stands for what is no number.
        """
        return self.layer(layer).quantised(node, bits)

    def unit(self, layer: int, unit: int) -> NDArray[np.float32]:
        """Every series of one unit, in the order of `about`, (series, steps); NaN where it has none."""
        return self.layer(layer).unit(unit)

    def horizon(self, step: int) -> dict[str, Any]:
        """The memory horizon at a step: a figure, and by layer the lags at which so much of the gradient is gone.

        Raises:
            MicroscopeError: there is no such step, or this input has no horizon.
        """
        if self.subject.horizon is None:
            raise MicroscopeError("there is no memory horizon for this model: nothing says what output is meant")
        if not 0 <= step < self.subject.steps:
            raise MicroscopeError(f"there is no step {step}; there are {self.subject.steps:,}")
        found = self.subject.horizon(step)
        lags = {place: {f"{share:.0%}": found.lag(share, place) for share in SHARES} for place in found.states}
        return {"step": step, "figure": horizon_chart(found), "lags": lags}


class _Layer:
    """One layer of a view."""

    def __init__(self, name: str, steps: LayerSteps) -> None:
        steps = replace(steps, values={node: values.cpu() for node, values in steps.values.items()})
        self.name, self.program, self.steps = name, steps.program, steps
        named = steps.named()
        self.labels = {node: name for name, node in named.items()} | {
            node: expression(self.program, node) for node in steps.values if node not in named.values()
        }
        self.values = {node: steps.values[node][:, 0].float() for node in self.labels}  # (T, H) each
        self.limits = {node: suited(series.double().numpy())[1] for node, series in self.values.items()}

    @property
    def units(self) -> int:
        """As many as gates have; with a projection there are fewer outputs."""
        return self._shown.shape[1]

    @property
    def _shown(self) -> Tensor:
        """What a unit shows to others: its output, or where that is projected what the projection reads."""
        result = self.program.results[0]
        node = self.program.nodes[result]
        return self.values[node.args[0] if node.op == "project" else result]

    def about(self) -> dict[str, Any]:
        """All but the series, as JSON."""
        program, values, keeping = self.program, self.steps.values, self.steps.keeping()
        gates = {name: values[node] for name, node in self.steps.shares().items()}
        trace = LayerTrace(self.name, gates, {"shown": self._shown[:, None]})
        constants = time_constants(trace, keeping) if keeping else None
        shut = saturation(trace)
        return {
            "name": self.name,
            "cell": program.cell,
            "units": self.units,
            "series": [
                {"node": node, "name": label, "low": self.limits[node][0], "high": self.limits[node][1]}
                for node, label in self.labels.items()
            ],
            "orders": self._orders(constants, [s.low + s.high for s in shut.values()]),
            "keeping": keeping,
            "constants": None if constants is None else _numbers(constants),
            "saturation": {name: [_numbers(one.low), _numbers(one.high)] for name, one in shut.items()},
            "dead": dead_units(trace),
            "equations": [[[part.text, part.node] for part in line] for line in equation_parts(program)],
            "diagram": diagram(program),
        }

    def _orders(self, constants: Tensor | None, shut: Sequence[Tensor]) -> dict[str, list[int]]:
        """The units in the orders by which the heat map can be sorted."""
        orders = {"number": list(range(self.units))}
        if constants is not None:
            orders["time constant"] = constants.argsort(descending=True, stable=True).tolist()
        if shut:
            orders["saturation"] = torch.stack(list(shut)).sum(0).argsort(descending=True, stable=True).tolist()
        orders["similarity"] = _alike(self._shown)
        return orders

    def quantised(self, node: int, bits: int) -> NDArray[Any]:
        """See `View.bytes`."""
        if node not in self.values:
            raise MicroscopeError(f"there is no series {node} in {self.name}")
        low, high = self.limits[node]
        missing = 2**bits - 1
        places = ((self.values[node] - low) * ((missing - 1) / (high - low)) + 0.5).clamp_(0, missing - 1)
        places = torch.where(self.values[node].isfinite(), places, missing)
        return np.ascontiguousarray(places.numpy().T.astype(np.uint8 if bits == 8 else np.uint16))

    def unit(self, unit: int) -> NDArray[np.float32]:
        """See `View.unit`."""
        if not 0 <= unit < self.units:
            raise MicroscopeError(f"there is no unit {unit} in {self.name}; there are {self.units:,}")
        missing = torch.full((len(self._shown),), torch.nan)
        rows = [series[:, unit] if unit < series.shape[1] else missing for series in self.values.values()]
        return torch.stack(rows).numpy()


def _alike(series: Tensor) -> list[int]:
    """Units in an order in which those that do alike are near: by their angle in the plane of the two main components.

    (The angular order of eigenvectors, Friendly 2002.)
    """
    apart = max(1, len(series) // COMPARED)
    some = series[::apart].double()
    some = some - some.mean(0)
    some = (some / some.norm(dim=0).clamp_min(1e-12)).nan_to_num(0, 0, 0)  # (T, H)
    if min(some.shape) < 3:
        return list(range(some.shape[1]))
    _, main = torch.linalg.eigh(some @ some.T)
    across, up = (some.T @ main[:, -2:]).unbind(1)  # (H,) each
    angles = torch.atan2(up, across)
    order = angles.argsort(stable=True)
    gaps = torch.cat([angles[order][1:], angles[order][:1] + 2 * torch.pi]) - angles[order]
    begin = int(gaps.argmax()) + 1  # the circle is cut where it is emptiest
    return torch.cat([order[begin:], order[:begin]]).tolist()


def _numbers(values: Tensor) -> Any:
    """As JSON has them: short, and None for what is not finite."""

    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(one) for one in value]
        return float(f"{value:.5g}") if np.isfinite(value) else None

    return short(values.tolist())


def _palette(name: str) -> str:
    """256 colours as bytes of red, green and blue, in base64."""
    colours = colour_map(np.linspace(0, 1, 256), name)[:, :3]
    return base64.b64encode(np.ascontiguousarray(colours).tobytes()).decode()
