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
from holdfast.serving import View, file, html_file
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
                shown = one["low"] + levels[4] * (one["high"] - one["low"]) / 65534
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


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> int:
    """A tenth of the room."""
    monkeypatch.setattr(file, "LIMIT", file.LIMIT // 10)
    return file.LIMIT


def test_a_file_keeps_16_bits_where_there_is_room_and_leaves_out_what_has_none(small_files: int) -> None:
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
    size, bits, names = kept(2000, 180)
    assert small_files * 0.6 < size <= small_files
    assert bits == 8
    assert names == [*("h", "c", "i", "f", "g", "o")][: len(names)]
    assert 2 <= len(names) < 14


@pytest.mark.usefixtures("small_files")
def test_an_input_that_alone_is_too_large_for_a_file_is_refused() -> None:
    view = View(subject_of(holdfast.LSTM(128, 2), torch.randn(2000, 1, 128)))
    with pytest.raises(MicroscopeError, match="fewer steps"):
        html_file(view)


def test_a_layer_that_ran_over_other_steps_is_refused() -> None:
    class Odd(nn.Module):
        def __init__(self, part: slice, used: bool = True) -> None:
            super().__init__()
            self.rnn, self.part, self.used = nn.LSTM(2, 5), part, used

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x[self.part])[0] if self.used else x

    with pytest.raises(MicroscopeError, match=r"40 steps, but the layer rnn.l0 ran over 14 steps"):
        View(subject_of(Odd(slice(None, None, 3)), X))
    with pytest.raises(MicroscopeError, match=r"40 steps, but the layer l0 ran over 1 steps of 40 sequences"):
        View(subject_of(holdfast.LSTM(2, 5), X.transpose(0, 1)))
    with pytest.raises(MicroscopeError, match="called none"):
        View(subject_of(Odd(slice(None), used=False), X))


def test_what_is_no_number_is_missing() -> None:
    x = X.clone()
    x[30:] = float("nan")
    view = View(subject_of(holdfast.LSTM(2, 5), x))
    about = json.loads(json.dumps(view.about(), allow_nan=False))
    node = about["layers"][0]["series"][0]["node"]
    assert (view.bytes(0, node)[:, 30:] == 255).all()
    assert (view.bytes(0, node)[:, :30] < 255).all()
    assert (view.bytes(0, node, 16)[:, 30:] == 65535).all()
    assert "NaN" not in re.search(r'id="data">(.*)</script>', html_file(view))[1]  # type: ignore[index]


@pytest.mark.parametrize(
    ("model", "keeping", "shares"),
    [
        (holdfast.LSTM(2, 5), "f", {"i", "f", "o"}),
        (holdfast.LSTM(2, 5, coupled=True, peephole=True, cell_clip=3.0), "f", {"i", "f", "o"}),
        (holdfast.GRU(2, 5), "z", {"r", "z"}),
        (holdfast.RNN(2, 5), "", set()),
        (holdfast.SLSTM(2, 5), "", {"o"}),  # its f is rescaled at every step
        (holdfast.LSTM(2, 5, zoneout=(0.0, 0.9)), "", {"i", "f", "o"}),  # more is kept than f says
    ],
    ids=["lstm", "coupled", "gru", "rnn", "slstm", "zoneout"],
)
def test_a_time_constant_is_told_only_where_a_gate_alone_says_what_is_kept(
    model: nn.Module, keeping: str, shares: set[str]
) -> None:
    (layer,) = View(subject_of(model, X)).about()["layers"]
    assert layer["keeping"] == keeping
    assert (layer["constants"] is not None) == bool(keeping)
    assert ("time constant" in layer["orders"]) == bool(keeping)
    assert set(layer["saturation"]) == shares


def test_the_dead_units_of_a_projected_layer_are_units_and_not_outputs() -> None:
    model = holdfast.LSTM(2, 5, proj_size=2)
    with torch.no_grad():
        model.weight_hr_l0[0] = 0.0  # an output that is always 0
        model.bias_ih_l0[15 + 3] = -100.0  # the output gate of unit 3
    (layer,) = View(subject_of(model, X)).about()["layers"]
    assert layer["dead"] == [3]


def test_series_are_called_by_what_they_are() -> None:
    (layer,) = View(subject_of(holdfast.LSTM(2, 5, peephole=True), X)).about()["layers"]
    names = [one["name"] for one in layer["series"]]
    assert len(set(names)) == len(names)
    assert {"f[t] ⊙ c[t-1]", "i[t] ⊙ g[t]", "tanh(c[t])", "c[t-1]", "weight_ch.o"} <= set(names)


def test_the_horizon_of_a_series_is_that_of_the_step() -> None:
    model = holdfast.LSTM(2, 5)
    view = View(subject_of(model, X, read=lambda result: result[0][-1].sum()))
    from holdfast.microscope import memory_horizon

    for step in (3, 29):
        wanted = memory_horizon(model, X[: step + 1], read=lambda result: result[0][-1].sum())
        assert view.horizon(step)["lags"][""]["90%"] == wanted.lag(0.9)
        assert len(view.subject.horizon(step).states[""]) == step + 1  # type: ignore[misc]


def test_a_horizon_that_cannot_be_is_left_out_of_a_file_with_its_reason() -> None:
    model = nn.LSTM(2, 5, bidirectional=True)
    page = html_file(View(subject_of(model, X, read=lambda result: result[0][-1].sum())))
    data = json.loads(re.search(r'id="data">(.*)</script>', page)[1])  # type: ignore[index]
    assert "two directions" in data["horizon"]["error"]


def test_a_text_that_is_cut_says_so(run: TextRun) -> None:
    assert run.subject("the cat sat", steps=5).note == "The first 5 of 11 steps."
    assert run.subject("the cat sat").note == ""


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
