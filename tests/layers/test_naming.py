"""Options that a layer does not have, by whatever way they are given."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import nn

import holdfast
from holdfast.layers.naming import options_of

CLASSES: dict[type, tuple[Any, ...]] = {
    holdfast.LSTM: (),
    holdfast.GRU: (),
    holdfast.RNN: (),
    holdfast.SLSTM: (),
    holdfast.LSTMCell: (),
    holdfast.GRUCell: (),
    holdfast.RNNCell: (),
    holdfast.SLSTMCell: (),
    holdfast.Recurrent: (holdfast.cells.LSTM(),),
    holdfast.RecurrentCell: (holdfast.cells.LSTM(),),
}
each_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
EVERY = sorted({name for kind in CLASSES for name in options_of(kind)})
SETTABLE = {"recurrent_dropout", "zoneout", "grad_clip", "recompute", "weight_drop", "dropout", "batch_first", "engine"}


@each_class
@pytest.mark.parametrize(("wrong", "meant"), [("layernorm", "layer_norm"), ("zone_out", "zoneout"), ("head", "heads")])
def test_a_misspelt_option_is_an_error_that_names_the_class_and_what_was_meant(
    kind: Any, wrong: str, meant: str
) -> None:
    with pytest.raises(TypeError) as caught:
        kind(*CLASSES[kind], 3, 4, **{wrong: 0.0})
    message = str(caught.value)
    assert message.startswith(f"{kind.__name__} has no option {wrong!r}; did you mean {meant!r}? Its options are: ")
    assert all(name in message for name in options_of(kind))


@each_class
def test_an_option_of_another_class_is_said_to_be_that(kind: Any) -> None:
    for name in set(EVERY) - set(options_of(kind)):
        if name == "proj_size" and issubclass(kind, holdfast.Recurrent):
            continue  # refused in PyTorch's words
        owners = ", ".join(sorted(k.__name__ for k in CLASSES if name in options_of(k)))
        has = "have" if "," in owners else "has"
        with pytest.raises(TypeError) as caught:
            kind(*CLASSES[kind], 3, 4, **{name: 1})
        assert str(caught.value).startswith(f"{kind.__name__} has no option {name!r}, which {owners} {has}. Its ")


def test_a_class_of_ones_own_takes_what_it_likes() -> None:
    class Mine(holdfast.LSTM):
        def __init__(self, *sizes: int, layernorm: bool = False) -> None:
            super().__init__(*sizes, layer_norm=layernorm)

    assert Mine(3, 4, layernorm=True).layer_norm
    with pytest.raises(TypeError, match="Plain has no option 'layernorm'; did you mean 'layer_norm'"):
        type("Plain", (holdfast.LSTM,), {})(3, 4, layernorm=True)


@each_class
def test_what_would_be_ignored_cannot_be_set(kind: Any) -> None:
    layer = kind(*CLASSES[kind], 3, 4)
    for name in EVERY:
        has = name in options_of(kind)
        if name in SETTABLE and has:
            setattr(layer, name, getattr(layer, name))
            continue
        before = repr(layer)
        with pytest.raises(AttributeError) as caught:
            setattr(layer, name, "other")
        assert repr(layer) == before
        fixed = f"{name} is fixed when the layer is made; make another layer"
        assert str(caught.value) == fixed or str(caught.value).startswith(f"{kind.__name__} has no option {name!r}")
        if has:
            assert str(caught.value) == fixed


@each_class
def test_a_misspelt_attribute_cannot_be_set_and_others_can(kind: Any) -> None:
    layer = kind(*CLASSES[kind], 3, 4)
    with pytest.raises(AttributeError, match=f"{kind.__name__} has no option 'grad_clp'; did you mean 'grad_clip'"):
        layer.grad_clp = 1.0
    layer.note = "mine"
    layer.head = nn.Linear(4, 2)
    assert (layer.note, layer.head.in_features) == ("mine", 4)


def test_a_class_of_ones_own_may_note_an_option_of_its_cell() -> None:
    class Clipped(holdfast.Recurrent):
        def __init__(self, *sizes: int, cell_clip: float) -> None:
            super().__init__(holdfast.cells.LSTM(cell_clip=cell_clip), *sizes)
            self.cell_clip = cell_clip

    layer = Clipped(3, 4, cell_clip=0.5)
    with pytest.raises(AttributeError, match="cell_clip is fixed"):
        layer.cell_clip = 0.1


CELLS = [getattr(holdfast.cells, name) for name in holdfast.cells.__all__]


@pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
def test_no_attribute_of_a_layers_cell_can_be_set(kind: Any) -> None:
    cell = kind()
    layer = holdfast.Recurrent(cell, 3, 4)
    for owned in (layer.cell, holdfast.RecurrentCell(cell, 3, 4).cell):
        for name in {*inspect.signature(kind).parameters, *vars(owned), "gates", "states", "layer_norm", "new"}:
            with pytest.raises(
                AttributeError, match=f"{name} of a {kind.__name__} that a layer was made with is fixed"
            ):
                setattr(owned, name, 0.01)
            with pytest.raises(AttributeError, match="Make another cell, and another layer with it"):
                delattr(owned, name)
    cell.note = "the author's own object is his"


def test_options_that_take_effect_are_checked_when_they_are_set() -> None:
    layer = holdfast.LSTM(3, 4, 2)
    with pytest.raises(ValueError, match="dropout should be a number in range"):
        layer.dropout = 2.0
    with pytest.raises(TypeError, match="batch_first should be of type bool"):
        layer.batch_first = 1  # type: ignore[assignment]
    layer.batch_first = True
    assert layer(torch.randn(2, 5, 3))[1][0].shape == (2, 2, 4)


@pytest.mark.parametrize("kind", [holdfast.LSTM, holdfast.LSTMCell, holdfast.SLSTM, holdfast.GRU, holdfast.RNNCell])
def test_one_number_is_the_zoneout_of_all_states(kind: Any) -> None:
    layer = kind(3, 4, zoneout=0.1)
    assert layer.zoneout == (0.1, 0.1 if len(layer.cell.states) > 1 else 0.0)
    layer.zoneout = 0.2
    assert layer.zoneout[0] == 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_a_reset_that_is_not_bool_is_told_how_to_be(dtype: torch.dtype) -> None:
    layer = holdfast.LSTM(3, 4)
    with pytest.raises(TypeError, match=rf"reset must be a bool tensor; got dtype {dtype}: pass done\.bool\(\)"):
        layer(torch.randn(5, 2, 3), reset=torch.zeros(5, 2, dtype=dtype))


def test_a_stream_too_says_how_floats_become_a_mask() -> None:
    stream = holdfast.LSTM(3, 4).stream(2)
    for done in (torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]).numpy()):
        with pytest.raises(TypeError, match=r"rows must be whole numbers or bools, got float32: pass done\.bool\(\)"):
            stream.reset(done)
