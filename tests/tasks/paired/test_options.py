"""What the options make the model of."""

from __future__ import annotations

import pytest

from holdfast.layers import GRU, LSTM, RNN, SLSTM
from holdfast.models import EncoderDecoder
from holdfast.tasks.paired import PairedOptions


@pytest.mark.parametrize("attention", ["general", "additive", "none"])
@pytest.mark.parametrize(("cell", "layer"), [("lstm", LSTM), ("gru", GRU), ("rnn", RNN), ("slstm", SLSTM)])
def test_each_cell_goes_with_each_attention(cell: str, layer: type, attention: str) -> None:
    options = PairedOptions(cell=cell, attention=attention, hidden=4, embedding=4)  # type: ignore[arg-type]
    model = EncoderDecoder(sources=5, **options.model())
    assert {type(each) for each in (*model.encoder, *model.decoder)} == {layer}
    assert (
        type(model.attention).__name__
        == {"general": "_General", "additive": "_Additive", "none": "NoneType"}[attention]
    )
