from __future__ import annotations

import json
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import holdfast
from holdfast.microscope import MicroscopeError
from holdfast.microscope.subject import subject_of
from holdfast.serving import View, html_file
from holdfast.serving.file import LIMIT
from holdfast.tasks.text import TextRun
from holdfast.training import RunError

X = torch.randn(40, 1, 2, generator=torch.Generator().manual_seed(0))


def test_a_view_is_json() -> None:
    about = View(subject_of(holdfast.LSTM(2, 5), X, ["a", "b"])).about()
    again = json.loads(json.dumps(about, allow_nan=False))
    assert again["columns"] == ["a", "b"]
    assert len(again["values"]) == 2
    assert len(again["values"][0]) == 40


@pytest.mark.parametrize(
    "model",
    [
        nn.LSTM(2, 5, num_layers=2, bidirectional=True),
        nn.GRU(2, 5),
        holdfast.SLSTM(2, 5),
        holdfast.LSTM(2, 5, proj_size=3, layer_norm=True, peephole=True),
    ],
    ids=["stacked", "gru", "slstm", "projected"],
)
def test_every_kind_of_layer_can_be_looked_at(model: nn.Module) -> None:
    view = View(subject_of(model, X))
    for number, layer in enumerate(view.about()["layers"]):
        assert layer["units"] == 5
        for order in layer["orders"].values():
            assert sorted(order) == list(range(5))
        rows = view.unit(number, 4)
        assert rows.shape == (len(layer["series"]), 40)
        for one, row in zip(layer["series"], rows):
            levels = view.bytes(number, one["node"], 16)
            assert levels.dtype == np.uint16
            if len(levels) == 5:
                shown = one["low"] + levels[4] * (one["high"] - one["low"]) / 65535
                assert np.allclose(shown, row, atol=1e-3 * one["high"])
            else:
                assert len(levels) == 3  # of the projected output
                assert np.isnan(row).all()


def test_units_that_do_alike_are_neighbours() -> None:
    from holdfast.serving.view import _alike

    waves = torch.stack([torch.sin(torch.arange(200.0) / 7 + phase) for phase in torch.arange(12.0) / 2], 1)
    mixed = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    order = [int(mixed[k]) for k in _alike(waves[:, mixed])]
    apart = [min((a - b) % 12, (b - a) % 12) for a, b in pairwise(order)]
    assert apart == [1] * 11


def test_what_cannot_be_looked_at_is_refused(run: TextRun) -> None:
    layer = holdfast.LSTM(2, 5)
    with pytest.raises(MicroscopeError, match="there is no recurrent layer"):
        View(subject_of(nn.Linear(2, 5), X))
    with pytest.raises(MicroscopeError, match=r"x must be a tensor of numbers.*list"):
        subject_of(layer, [[1.0, 2.0]])  # type: ignore[arg-type]
    with pytest.raises(MicroscopeError, match=r"x must be a tensor of numbers.*int64"):
        subject_of(layer, torch.zeros(3, 1, 2, dtype=torch.long))
    with pytest.raises(MicroscopeError, match="one sequence"):
        subject_of(layer, torch.zeros(3, 4, 2))
    with pytest.raises(MicroscopeError, match="must name the 2 numbers"):
        subject_of(layer, X, ["a"])
    with pytest.raises(MicroscopeError, match=r"1 to 20,000 steps.*got 20,001"):
        View(subject_of(layer, torch.zeros(20_001, 1, 2)))
    with pytest.raises(RunError, match="no text to look at"):
        run.subject("the", steps=0)


def test_a_file_keeps_16_bits_where_there_is_room_and_leaves_out_what_has_none() -> None:
    def kept(steps: int, units: int) -> tuple[int, int, list[str]]:
        torch.manual_seed(0)
        view = View(subject_of(holdfast.LSTM(2, units), torch.randn(steps, 1, 2)))
        page = html_file(view)
        data = json.loads(re.search(r'id="data">(.*)</script>', page)[1])  # type: ignore[index]
        names = {f"0/{one['node']}": one["name"] for one in data["about"]["layers"][0]["series"]}
        return len(page.encode()), data["bits"], [names[key] for key in data["series"]]

    size, bits, names = kept(100, 8)
    assert size < 400_000
    assert bits == 16
    assert len(names) == 14
    size, bits, names = kept(6000, 600)
    assert LIMIT * 0.8 < size <= LIMIT + 50_000
    assert bits == 8
    assert names[:2] == ["h", "c"]
    assert len(names) < 14


def test_a_run_is_looked_at_on_its_own_validation_text(run: TextRun) -> None:
    subject = run.subject(steps=30)
    assert "".join(subject.pieces) == run.encoding.decode(run.data().valid.ids[:30])


def test_what_the_model_expects_is_what_it_says(run: TextRun) -> None:
    view = View(run.subject("the cat"))
    tokens = torch.from_numpy(run.encoding.encode("the cat")).unsqueeze(1)
    with torch.no_grad():
        chances = run.model.log_probabilities(run.model(tokens).features)[:, 0].exp()
    assert len(view.guesses) == 7
    for guesses, wanted in zip(view.guesses, chances):
        assert [p for _, p in guesses] == pytest.approx(wanted.topk(3).values.tolist(), abs=1e-4)
        assert guesses[0][0] == run.encoding.decode([int(wanted.argmax())])


def test_a_horizon_late_in_a_text_starts_from_the_state_before(run: TextRun) -> None:
    text = "the cat sat on the mat " * 20
    view = View(run.subject(text))
    late = view.subject.horizon(400)  # type: ignore[misc]
    short = View(run.subject(text[:401])).subject
    whole = short.horizon(400)  # type: ignore[misc]
    for place, lengths in late.states.items():
        assert len(lengths) == 300
        assert torch.equal(lengths, whole.states[place])
    tokens = torch.from_numpy(run.encoding.encode(text[:401])).unsqueeze(1)
    from holdfast.microscope import memory_horizon

    every = memory_horizon(
        run.model, tokens, read=lambda output: run.model.log_probabilities(output.features[-1]).max()
    )
    for place, lengths in every.states.items():
        assert torch.allclose(late.states[place][:200], lengths[:200], rtol=1e-3, atol=1e-9)
