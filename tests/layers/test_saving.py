"""A layer that is saved whole, loaded by `torch.load(weights_only=True)` in a process that knows nothing of it."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import holdfast
from holdfast import cells
from holdfast.language import Cell, tanh
from holdfast.layers.holding import hold
from holdfast.layers.saving import CELLS, LAYERS

MANY: dict[str, Any] = {
    "layer_norm": True,
    "zoneout": (0.1, 0.0),
    "heads": 2,
    "grad_clip": 1.0,
}
MORE: dict[str, Any] = {
    **MANY,
    "num_layers": 2,
    "bidirectional": True,
    "dropout": 0.1,
    "recurrent_dropout": 0.1,
    "weight_drop": 0.1,
    "recompute": True,
    "learn_state": True,
}


def layers() -> dict[str, Any]:
    """Every class with its options, and every cell."""
    found: dict[str, Any] = {}
    for kind in LAYERS:
        first = (cells.GRU(reset_after=False),) if kind in (holdfast.Recurrent, holdfast.RecurrentCell) else ()
        many = MORE if issubclass(kind, holdfast.Recurrent) else MANY
        found[kind.__name__] = kind(*first, 3, 4)
        found[f"{kind.__name__} with options"] = kind(*first, 3, 4, **many)
    for cell in CELLS:
        found[f"Recurrent of {cell.__name__}"] = holdfast.Recurrent(cell(), 3, 4)
        found[f"RecurrentCell of {cell.__name__}"] = holdfast.RecurrentCell(cell(), 3, 4)
    own = {"gate_activation": "hard_sigmoid", "activation": "relu"}
    found["LSTM's own options"] = holdfast.LSTM(3, 4, peephole=True, cell_clip=1, proj_size=2, forget_bias=1.0, **own)  # type: ignore[arg-type]
    found["LSTM with chrono"] = holdfast.LSTM(3, 4, coupled=True, init="chrono", max_lag=9)
    found["SLSTM's own options"] = holdfast.SLSTM(3, 4, forget_gate="exp", **own)  # type: ignore[arg-type]
    found["GRU's own options"] = holdfast.GRU(3, 4, reset_after=False, **own)  # type: ignore[arg-type]
    found["RNN's own options"] = holdfast.RNN(3, 4, nonlinearity="relu")
    found["held"] = holdfast.LSTM(3, 4)
    hold(found["held"], "l0", "f", 0.5, units=[1])
    return found


def outputs(layer: Any) -> list[torch.Tensor]:
    x = torch.linspace(-1, 1, 18).view(3, 2, 3)
    layer.eval()
    result = layer(x if isinstance(layer, holdfast.Recurrent) else x[0])
    return [t.detach() for t in torch.utils._pytree.tree_leaves(result)]


READ = """
import sys, torch, holdfast
layers = torch.load(sys.argv[1], weights_only=True)
x = torch.linspace(-1, 1, 18).view(3, 2, 3)
found = {}
for name, layer in layers.items():
    layer.eval()
    with torch.no_grad():
        result = layer(x if isinstance(layer, holdfast.Recurrent) else x[0])
    found[name] = torch.utils._pytree.tree_leaves(result), repr(layer)
torch.save(found, sys.argv[2])
"""


def test_every_layer_loads_as_weights_only_in_a_fresh_process_and_is_the_same(tmp_path: Path) -> None:
    saved = layers()
    torch.save(saved, tmp_path / "layers.pt")
    command = [sys.executable, "-c", READ, "layers.pt", "outputs.pt"]
    subprocess.run(command, cwd=tmp_path, check=True)
    found = torch.load(tmp_path / "outputs.pt", weights_only=True)
    for name, layer in saved.items():
        expected = outputs(layer)
        assert found[name][1] == repr(layer), name
        for one, other in zip(found[name][0], expected, strict=True):
            assert torch.equal(one, other), name


def again(layer: Any, **changed: Any) -> Any:
    """A layer after a file in which somebody has changed attributes of it."""
    changed_layer = copy.copy(layer)
    vars(changed_layer).update(changed)
    file = io.BytesIO()
    torch.save(changed_layer, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"heads": "1\ncell evil"}, "heads should be of type int"),
        ({"hidden_size": 10**9}, "must have shape"),
        ({"input_size": 4}, "weight_ih_l0 must have shape"),
        ({"num_layers": 10**12}, "fewer tensors than that"),
        ({"proj_size": 2}, "must have shape"),
        ({"bias": "yes"}, "bias should be of type bool"),
        ({"zoneout": ("a", 0)}, "zoneout must be a number"),
        ({"engine": "evil"}, "engine must be one of"),
        ({"cell": "LSTM"}, "cell must be a holdfast.Cell"),
        ({"_forget": "f"}, "_forget must be a ForgetBias"),
        ({"_held": ("f = evil",)}, "there is no value 'f = evil'"),
    ],
    ids=str,
)
def test_what_a_file_says_is_checked(changed: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        again(holdfast.LSTM(3, 4), **changed)


def test_no_program_is_taken_from_a_file() -> None:
    layer = holdfast.LSTM(3, 4)
    evil = {key: text.replace("sigmoid", "evil") for key, text in layer._texts.items()}
    assert not {"_texts", "_masks", "_weight_names"} & set(layer.__getstate__())
    state = {**layer.__getstate__(), "_texts": evil, "_all_weights": [["evil"]]}
    taken = holdfast.LSTM.__new__(holdfast.LSTM)
    taken.__setstate__(state)
    assert taken._texts == layer._texts
    assert torch.equal(taken(torch.ones(5, 2, 3))[0], layer(torch.ones(5, 2, 3))[0])


def test_a_cells_options_from_a_file_are_checked_by_its_constructor() -> None:
    for name, value in (("cell_clip", -1.0), ("gate_activation", "evil"), ("peephole", "yes")):
        cell = cells.LSTM()
        object.__setattr__(cell, name, value)
        with pytest.raises((TypeError, ValueError), match=name):
            again(holdfast.LSTM(3, 4), cell=cell)


class Own(Cell):
    gates = ("a",)

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def step(self, gate: Any, state: Any) -> Any:
        a = tanh(gate.a)
        return self.scale * a


class Slotted(Own):
    __slots__ = ("more",)

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        self.more = 2.0


@pytest.mark.parametrize("cell", [Own(0.5), Slotted(0.5), *(kind() for kind in CELLS)], ids=repr)
def test_copies_and_pickles_of_layers_and_cells_are_the_same_and_stay_frozen(cell: Any) -> None:
    layer = holdfast.Recurrent(cell, 3, 4)
    for other in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(other) == repr(layer)
        for one, same in zip(outputs(other), outputs(layer), strict=True):
            assert torch.equal(one, same)
        for frozen in (other.cell, copy.copy(other.cell), copy.deepcopy(other.cell)):
            with pytest.raises(AttributeError, match=r"scale of a .* is fixed"):
                frozen.scale = 3.0


def test_a_cell_of_ones_own_is_loaded_only_where_its_class_was_named_as_safe() -> None:
    layer = holdfast.Recurrent(Own(0.5), 3, 4)
    with pytest.raises(pickle.UnpicklingError, match="Own"):
        again(layer)
    with torch.serialization.safe_globals([Own]):
        assert torch.equal(outputs(again(layer))[0], outputs(layer)[0])
