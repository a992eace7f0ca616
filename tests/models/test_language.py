"""The language model: its arithmetic against PyTorch's own layers, its dropout, its state and its stream."""

from __future__ import annotations

import copy
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.models import CELLS, LanguageModel, Output, default_cutoffs, detach, state_tensors
from tests.support import assert_close

VOCABULARY, EMBEDDING, HIDDEN = 30, 6, 9
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "three layers": {"layers": 3},
    "tied": {"tied": True, "hidden": EMBEDDING},
    "tied and projected": {"tied": True},
    "tied in layers": {"tied": True, "layers": 2},
    "adaptive": {"adaptive": (5, 12), "hidden": 17},
    "layer norm": {"layer_norm": True, "layers": 2},
}
EVERY_DROPOUT = {"dropout": 0.3, "input_dropout": 0.4, "embedding_dropout": 0.2, "weight_drop": 0.5}


def model_of(kind: str = "plain", dtype: torch.dtype = torch.float64, **options: Any) -> LanguageModel:
    """A small model in evaluation, with weights of an ordinary size."""
    sizes = {"vocabulary": VOCABULARY, "embedding": EMBEDDING, "hidden": HIDDEN}
    model = LanguageModel(**{**sizes, **KINDS[kind], **options}).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    return model


def tokens_of(steps: int = 5, batch: int = 3) -> Tensor:
    return torch.randint(VOCABULARY, (steps, batch))


def assert_same_state(found: Any, expected: Any) -> None:
    one, other = state_tensors(found), state_tensors(expected)
    assert len(one) == len(other)
    for k, (a, b) in enumerate(zip(one, other)):
        assert_close(a, b, f"state {k}")


# What it computes.


class InPyTorch(nn.Module):
    """The same model of PyTorch's own layers, with the weights of ours."""

    def __init__(self, model: LanguageModel, cell: type[nn.RNNBase], widths: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.layers = [cell(below, width).double() for below, width in zip([EMBEDDING, *widths], widths)]
        for own, ours in zip(self.layers, model.layers):
            own.load_state_dict(ours.state_dict())

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.model.embedding.weight[tokens]
        for layer in self.layers:
            x, _ = layer(x)
        return x


@pytest.mark.parametrize(("cell", "theirs"), [("lstm", nn.LSTM), ("gru", nn.GRU), ("rnn", nn.RNN)])
@pytest.mark.parametrize(
    ("kind", "widths"),
    [("plain", [HIDDEN]), ("three layers", [HIDDEN] * 3), ("tied in layers", [HIDDEN, EMBEDDING])],
)
def test_it_is_the_model_of_pytorch_s_layers(
    kind: str, widths: Sequence[int], cell: str, theirs: type[nn.RNNBase]
) -> None:
    model, tokens = model_of(kind, cell=cell), tokens_of()
    expected = InPyTorch(model, theirs, widths)(tokens)
    output = model(tokens)
    assert_close(output.features, expected, "features")
    assert torch.equal(output.features, output.raw)
    matrix = model.embedding.weight if model.tied else model.output_weight
    logits = expected @ matrix.T + model.output_bias
    assert_close(model.log_probabilities(output.features), logits.log_softmax(-1), "log probabilities")


def test_the_projection_of_a_tied_model_is_a_plain_product() -> None:
    model = model_of("tied and projected")
    features = torch.randn(4, HIDDEN, dtype=torch.float64)
    assert isinstance(model.projection, nn.Linear)
    logits = features @ model.projection.weight.T @ model.embedding.weight.T + model.output_bias
    assert_close(model.log_probabilities(features), logits.log_softmax(-1))


def test_the_layers_are_normalised_if_asked_for() -> None:
    names = model_of("layer norm").state_dict()
    assert {"layers.0.weight_ln_x_l0", "layers.1.weight_ln_h_l0", "layers.1.weight_ln_c_l0"} <= set(names)
    assert not any("_ln_" in name for name in model_of().state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_the_probabilities_sum_to_one_and_the_loss_is_theirs(kind: str) -> None:
    model, tokens, targets = model_of(kind), tokens_of(), tokens_of()
    features = model(tokens).features
    found = model.log_probabilities(features)
    assert found.shape == (5, 3, VOCABULARY)
    assert_close(found.exp().sum(-1), torch.ones(5, 3, dtype=torch.float64), "sum")
    loss = model.loss(features, targets)
    for t in range(5):
        for b in range(3):
            assert_close(loss[t, b], -found[t, b, targets[t, b]], f"loss at {t}, {b}")
    assert_close(model.log_probabilities(features[2, 1]), found[2, 1], "one vector alone")


def test_the_full_loss_is_cross_entropy() -> None:
    model, targets = model_of(dtype=torch.float32), tokens_of()
    features = model(tokens_of()).features
    logits = F.linear(features.flatten(0, 1), model.output_matrix, model.output_bias)
    expected = F.cross_entropy(logits, targets.flatten(), reduction="none")
    assert_close(model.loss(features, targets).flatten(), expected)


def test_the_adaptive_softmax_is_the_product_of_cluster_and_token() -> None:
    model = model_of("adaptive")
    features = torch.randn(17, dtype=torch.float64)
    weights = {name: parameter.detach() for name, parameter in model.clusters.named_parameters()}  # type: ignore[union-attr]
    head = (weights["head.weight"] @ features + weights["head.bias"]).softmax(0)  # five tokens, two clusters
    expected = [head[:5]]
    for k in range(2):
        inside = weights[f"tail.{k}.1.weight"] @ (weights[f"tail.{k}.0.weight"] @ features)
        expected.append(head[5 + k] * inside.softmax(0))
    assert_close(model.log_probabilities(features).exp(), torch.cat(expected))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", ["three layers", "tied in layers"])
def test_a_state_carried_across_two_halves_gives_the_whole(kind: str, cell: str) -> None:
    model, tokens = model_of(kind, cell=cell), tokens_of(7)
    whole, first = model(tokens), model(tokens[:3])
    second = model(tokens[3:], first.state)
    assert_close(torch.cat([first.features, second.features]), whole.features)
    assert_same_state(second.state, whole.state)


@pytest.mark.parametrize("cell", CELLS)
def test_a_state_is_taken_apart_and_put_together(cell: str) -> None:
    model = model_of("three layers", cell=cell)
    state = model(tokens_of()).state
    tensors = state_tensors(state)
    assert len(tensors) == 3 * {"lstm": 2, "gru": 1, "rnn": 1, "slstm": 4}[cell]
    again = model.state_from(tensors)
    assert all(one is other for one, other in zip(state_tensors(again), tensors))
    tokens = tokens_of(2)
    assert torch.equal(model(tokens, again).features, model(tokens, state).features)
    free = detach(state)
    assert not any(part.requires_grad for part in state_tensors(free))
    assert_same_state(free, state)
    assert torch.equal(model(tokens, free).features, model(tokens, state).features)


# What is learned.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", ["lstm", "slstm"])
def test_gradients_reach_every_parameter(kind: str, cell: str) -> None:
    model = model_of(kind, cell=cell, **EVERY_DROPOUT, variational=True).train()
    tokens = torch.arange(VOCABULARY).repeat(2).reshape(10, 6)
    output = model(tokens[:-1])
    loss = model.loss(output.features, tokens[1:]).mean() + model.activation_penalty(output, 2.0, 1.0)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_the_tied_matrix_is_the_embedding_itself() -> None:
    for kind in ("tied", "tied and projected", "tied in layers"):
        model = model_of(kind)
        assert model.output_matrix is model.embedding.weight
        assert [name for name, p in model.named_parameters() if p.shape == (VOCABULARY, EMBEDDING)] == [
            "embedding.weight"
        ]
        assert sum(p.shape == (VOCABULARY, EMBEDDING) for p in model.state_dict().values()) == 1
    free = model_of("plain", hidden=EMBEDDING)
    assert free.output_matrix is not free.embedding.weight


def test_the_first_predictions_are_close_to_uniform() -> None:
    for kind in ("plain", "tied and projected", "tied in layers"):
        model = LanguageModel(**{"vocabulary": 1000, "embedding": 64, "hidden": 128, **KINDS[kind]})
        tokens = torch.randint(1000, (20, 8))
        assert model.loss(model(tokens[:-1]).features, tokens[1:]).mean().item() == pytest.approx(
            math.log(1000), abs=0.02
        )


@pytest.mark.parametrize("cell", ["lstm", "slstm"])
def test_the_forget_bias_is_one(cell: str) -> None:
    model = LanguageModel(vocabulary=VOCABULARY, cell=cell, hidden=HIDDEN, layers=2)
    for layer in model.layers:
        at = layer.cell.gates.index("f") * HIDDEN  # type: ignore[union-attr, operator, index]
        both = layer.bias_ih_l0 + layer.bias_hh_l0
        assert torch.equal(both[at : at + HIDDEN], torch.ones(HIDDEN))  # type: ignore[index]


def test_it_learns_a_sequence_by_heart() -> None:
    model = LanguageModel(vocabulary=8, embedding=8, hidden=24)
    tokens = torch.tensor([0, 1, 2, 1, 3, 1, 4, 1, 5, 6, 7] * 2).unsqueeze(1)  # what follows 1 needs a memory
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        optimiser.zero_grad()
        loss = model.loss(model(tokens[:-1]).features, tokens[1:])
        loss.mean().backward()
        optimiser.step()
    assert loss[1:].max() < 0.1


# Dropout.


def test_without_training_nothing_is_dropped() -> None:
    model, tokens = model_of("three layers", **EVERY_DROPOUT), tokens_of()
    free = model_of("three layers")
    free.load_state_dict(model.state_dict())
    assert torch.equal(model(tokens).features, free(tokens).features)


def _mask(output: Output) -> Tensor:
    """By what the features were multiplied."""
    return output.features / output.raw


@pytest.mark.parametrize("variational", [True, False])
def test_the_mask_of_the_output_holds_for_all_steps_if_it_is_variational(variational: bool) -> None:
    model = model_of(dropout=0.25, variational=variational).train()
    mask = _mask(model(tokens_of(40, 8)))  # (T, B, H)
    assert_close(mask[mask > 0], torch.full_like(mask[mask > 0], 1 / 0.75))
    assert (mask == 0).double().mean().item() == pytest.approx(0.25, abs=0.12 if variational else 0.05)
    same = ((mask == 0) == (mask[:1] == 0)).all().item()
    assert same == variational
    assert not torch.equal(mask[:, 0] == 0, mask[:, 1] == 0), "each sequence has its own"
    assert not torch.equal(mask == 0, _mask(model(tokens_of(40, 8))) == 0), "each call has its own"


@pytest.mark.parametrize("variational", [True, False])
def test_the_mask_of_the_input_holds_for_all_steps_if_it_is_variational(variational: bool) -> None:
    model = model_of(input_dropout=0.5, variational=variational).train()
    seen: list[Tensor] = []
    model.layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    tokens = tokens_of(20, 4)
    model(tokens)
    mask = seen[0] / model.embedding(tokens)
    assert set(mask.detach().round(decimals=6).flatten().tolist()) == {0.0, 2.0}
    assert ((mask == 0) == (mask[:1] == 0)).all().item() == variational


def test_there_is_dropout_between_the_layers() -> None:
    model = model_of("three layers", dropout=0.5).train()
    given: list[Tensor] = []
    taken: list[Tensor] = []
    for layer in model.layers:
        layer.register_forward_pre_hook(lambda _, x: taken.append(x[0]))
        layer.register_forward_hook(lambda _, x, y: given.append(y[0]))
    output = model(tokens_of(20, 4))
    for k, (above, below) in enumerate(zip([*taken[1:], output.features], given)):
        assert (above == 0).double().mean().item() == pytest.approx(0.5, abs=0.1), k
        assert_close(above[above != 0], 2 * below[above != 0], f"layer {k}")
    assert torch.equal(output.raw, given[-1])


def test_embedding_dropout_drops_a_word_everywhere_or_nowhere() -> None:
    model = model_of(embedding_dropout=0.5).train()
    seen: list[Tensor] = []
    model.layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    tokens = tokens_of(40, 8)
    model(tokens)
    factor = seen[0] / model.embedding(tokens)  # (T, B, E)
    of_words = {
        int(word): set(factor[tokens == word].detach().round(decimals=6).flatten().tolist()) for word in tokens.unique()
    }
    assert all(len(factors) == 1 for factors in of_words.values())
    assert set.union(*of_words.values()) == {0.0, 2.0}


def test_weight_drop_reaches_the_layers() -> None:
    model, tokens = model_of(weight_drop=0.5).train(), tokens_of()
    assert not torch.equal(model(tokens).features, model(tokens).features)
    assert torch.equal(model(tokens).features[0], model.eval()(tokens).features[0]), (
        "the first step has nothing to lose"
    )


# Penalties.


def test_the_activation_penalty_by_hand() -> None:
    features = torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]]])
    raw = torch.tensor([[[1.0, 1.0]], [[2.0, 4.0]]])
    output, model = Output(features, raw, ()), model_of()
    assert model.activation_penalty(output, 2.0, 0.0).item() == pytest.approx(2 * 14 / 4)
    assert model.activation_penalty(output, 0.0, 3.0).item() == pytest.approx(3 * (1 + 9) / 2)
    assert model.activation_penalty(output, 2.0, 3.0).item() == pytest.approx(7 + 15)


def test_a_single_step_has_no_difference_to_penalise() -> None:
    output = Output(torch.tensor([[[2.0]]]), torch.tensor([[[9.0]]]), ())
    assert model_of().activation_penalty(output, 0.5, 1.0).item() == pytest.approx(2.0)


# The stream.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("kind", "cell"),
    [*((kind, "lstm") for kind in KINDS), *(("tied in layers", cell) for cell in CELLS if cell != "lstm")],
)
def test_step_by_step_is_the_whole_sequence(kind: str, cell: str, dtype: torch.dtype) -> None:
    model, tokens = model_of(kind, dtype, cell=cell), tokens_of(6, 2)
    with torch.no_grad():
        output = model(tokens)
        expected = model.log_probabilities(output.features)
    stream = model.stream(2)
    found = torch.stack([stream.step(row) for row in tokens])
    assert found.dtype == dtype
    assert_close(found, expected)
    assert_same_state(stream.state, output.state)


def test_reading_is_stepping_to_the_last() -> None:
    model, tokens = model_of("three layers"), tokens_of(6, 2)
    stepped, reader = model.stream(2), model.stream(2)
    last = [stepped.step(row) for row in tokens][-1]
    assert torch.equal(reader.read(tokens), last)
    assert_same_state(reader.state, stepped.state)


def test_a_model_in_training_streams_its_evaluation() -> None:
    model, tokens = model_of("three layers", **EVERY_DROPOUT), tokens_of(4, 2)
    expected = model.log_probabilities(model(tokens).features)
    model.train()
    stream = model.stream(2)
    found = torch.stack([stream.step(row) for row in tokens])
    assert model.training
    assert not found.requires_grad
    assert_close(found, expected)


@pytest.mark.parametrize("cell", CELLS)
def test_the_state_of_a_stream_is_got_and_set(cell: str) -> None:
    model, tokens = model_of("three layers", cell=cell), tokens_of(6, 2)
    first = model(tokens[:3])
    stream = model.stream(2)
    stream.state = first.state
    expected = model.log_probabilities(model(tokens[3:], first.state).features)
    kept = stream.state
    assert_close(torch.stack([stream.step(row) for row in tokens[3:]]), expected)
    stream.state = kept
    assert_close(torch.stack([stream.step(row) for row in tokens[3:]]), expected, "again")


def test_a_reset_is_of_all_sequences_or_of_some() -> None:
    model, tokens = model_of("three layers"), tokens_of(2, 3)
    fresh = model.stream(3).step(tokens[1])
    stream = model.stream(3)
    stream.step(tokens[0])
    gone_on = copy.deepcopy(stream).step(tokens[1])
    assert not torch.equal(gone_on, fresh)
    stream.reset([1])
    some = stream.step(tokens[1])
    assert torch.equal(some[1], fresh[1])
    assert torch.equal(some[[0, 2]], gone_on[[0, 2]])
    stream.reset()
    assert torch.equal(stream.step(tokens[1]), fresh)


def test_a_stream_follows_the_weights() -> None:
    model, tokens = model_of("tied in layers"), tokens_of(1, 2)
    stream = model.stream(2)
    stream.step(tokens[0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-0.5)
    stream.reset()
    assert_close(stream.step(tokens[0]), model.log_probabilities(model(tokens).features[0]))


# Being kept, and what is not accepted.


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_made_again_from_its_arguments(kind: str) -> None:
    model = model_of(kind, cell="gru", **EVERY_DROPOUT, variational=True)
    again = LanguageModel(**json.loads(json.dumps(model.arguments))).double().eval()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file))
    tokens = tokens_of()
    assert torch.equal(again.log_probabilities(again(tokens).features), model.log_probabilities(model(tokens).features))
    assert again.arguments == model.arguments
    assert repr(again) == repr(model)
    for name, value in {**EVERY_DROPOUT, "variational": True, "cell": "gru", "vocabulary": VOCABULARY}.items():
        assert model.arguments[name] == value


def test_default_cutoffs_rise_within_the_vocabulary() -> None:
    assert default_cutoffs(65) == default_cutoffs(10_000) == ()
    for vocabulary in (20_000, 33_278, 267_735, 1_000_000):
        cutoffs = default_cutoffs(vocabulary)
        assert 0 < cutoffs[0] < cutoffs[1] < vocabulary
    LanguageModel(vocabulary=33_278, embedding=2, hidden=16, adaptive=default_cutoffs(33_278))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "lsmt"}, r"cell must be one of lstm, gru, rnn, slstm; got 'lsmt'; did you mean 'lstm'\?"),
        ({"cell": "transformer"}, r"cell must be one of lstm, gru, rnn, slstm; got 'transformer'$"),
        ({"hidden": 0}, "hidden must be greater than zero; got 0"),
        ({"layers": -1}, "layers must be greater than zero; got -1"),
        ({"vocabulary": 1.5}, "vocabulary should be of type int, got: float"),
        ({"tied": 1}, "tied should be of type bool, got: int"),
        ({"dropout": 1.0}, r"dropout must lie between 0 and 1 \(and under 1\); got 1.0"),
        ({"embedding_dropout": "half"}, "embedding_dropout must be a number, got str"),
        ({"adaptive": [5], "tied": True}, "adaptive and tied exclude each other, .*: leave one out"),
        ({"adaptive": [5, 5]}, r"adaptive must be whole numbers that rise, between 0 and 30; got \[5, 5\]"),
        ({"adaptive": [30]}, r"adaptive must be whole numbers that rise, between 0 and 30; got \[30\]"),
        ({"adaptive": [5, 9]}, "adaptive needs hidden to be at least 16; got 9"),
    ],
)
def test_arguments_that_are_not_accepted(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        model_of(**options)


def test_calls_that_are_not_accepted() -> None:
    model = model_of("three layers")
    with pytest.raises(ValueError, match=r"tokens must be whole numbers \(T, B\); got torch.int64 of shape \(4,\)"):
        model(torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"tokens must be whole numbers \(T, B\); got torch.float32 of shape \(4, 2\)"):
        model(torch.zeros(4, 2))
    with pytest.raises(IndexError):
        model(torch.full((1, 1), VOCABULARY))
    output = model(tokens_of())
    with pytest.raises(ValueError, match="state must hold one state for each of the 3 layers; got 2"):
        model(tokens_of(), output.state[:2])
    with pytest.raises(
        ValueError, match=r"targets must have one token for each feature vector, \(5, 3\); got \(3, 5\)"
    ):
        model.loss(output.features, tokens_of().T)
    with pytest.raises(ValueError, match="tensors must be 2 for each of the 3 layers, 6; got 5"):
        model.state_from(state_tensors(output.state)[:5])


def test_streams_do_not_accept_other_batches() -> None:
    stream = model_of("three layers").stream(2)
    with pytest.raises(ValueError, match=r"tokens must be one for each sequence, \(2,\); got \(3,\)"):
        stream.step(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"tokens must be \(T, B\), with at least one step; got \(0, 2\)"):
        stream.read(torch.zeros(0, 2, dtype=torch.int64))
    with pytest.raises(IndexError):
        stream.step(torch.tensor([-1, 0]))
    with pytest.raises(ValueError, match="state must hold one state for each of the 3 layers; got 0"):
        stream.state = ()


def test_the_embedding_of_a_large_vocabulary_is_drawn_small() -> None:
    plain, adaptive = (LanguageModel(vocabulary=300, embedding=8, hidden=16, adaptive=cut) for cut in ((), (20, 100)))
    assert plain.embedding.weight.std() > 0.8
    assert 0.05 < adaptive.embedding.weight.abs().max() <= 0.1
