"""The encoder–decoder agrees with a slow one written for one pair at a time, and never reads what is not there."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from holdfast.models import ATTENTIONS, EncoderDecoder
from tests.support import assert_close


def _model(attention: str = "general", layers: int = 2, targets: int = 7, **options: object) -> EncoderDecoder:
    torch.manual_seed(0)
    sizes = {"embedding": 6, "hidden": 10, "layers": layers, "attention": attention}
    return EncoderDecoder(sources=5, targets=targets, **sizes, **options).double().eval()  # type: ignore[arg-type]


def _torch_layer(layer: nn.Module, width: int, hidden: int, both: bool) -> nn.LSTM:
    found = nn.LSTM(width, hidden, bidirectional=both).double()
    found.load_state_dict(layer.state_dict())
    return found


def _slow(model: EncoderDecoder, source: Tensor, target: Tensor, attention: str) -> Tensor:
    """The logarithms of the probabilities of each token for one pair, step by step, by PyTorch's layers; (T, V + 1)."""
    h, states = model.source_embedding(source)[:, None] * math.sqrt(6), []
    for layer in model.encoder:
        h, (last, cell) = _torch_layer(layer, h.shape[-1], 5, True)(h)
        states.append((torch.cat([last[0], last[1]], -1)[None], torch.cat([cell[0], cell[1]], -1)[None]))
    values = h[:, 0]  # (S, H)
    layers = []
    said = []
    for k, layer in enumerate(model.decoder):
        width = 6 if k == 0 else 20 if k == 1 and attention != "none" else 10
        layers.append(_torch_layer(layer, width, 10, False))
    for token in [torch.tensor(model.end), *target]:
        x = model.target_embedding(token)[None, None] * math.sqrt(6)
        for k, layer in enumerate(layers):
            x, states[k] = layer(x, states[k])
            if k == 0 and attention != "none":
                query = x[0, 0]
                if attention == "general":
                    scores = [query @ model.attention.keys.weight @ value / math.sqrt(10) for value in values]
                else:
                    own = model.attention
                    scores = [own.score((own.queries(query) + own.keys(value)).tanh())[0] for value in values]
                weights = torch.stack(scores).softmax(0)
                context = sum(weight * value for weight, value in zip(weights, values))
                if len(layers) > 1:
                    x = torch.cat([x, context[None, None]], -1)
        if attention != "none":
            x = torch.cat([x, context[None, None]], -1)
        logits = model.projection(x[0, 0]).tanh() @ model.target_embedding.weight.T + model.output_bias
        said.append(logits.log_softmax(-1))
    return torch.stack(said)


@pytest.mark.parametrize("targets", [0, 7], ids=["shared", "separate"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_batch_of_pairs_agrees_with_each_of_them_by_pytorch_step_by_step(
    attention: str, layers: int, targets: int
) -> None:
    model = _model(attention, layers, targets)
    sources, texts = [[1, 4, 0, 2], [3, 1], [2, 2, 4]], [[0, 3, 1], [2], [4, 4, 1, 0, 2]]
    source = torch.nn.utils.rnn.pad_sequence([torch.tensor(each) for each in sources], padding_value=3)
    before = [torch.tensor([model.end, *each]) for each in texts]
    said = model(model.read(source, torch.tensor([4, 2, 3])), torch.nn.utils.rnn.pad_sequence(before))
    logs = model.log_probabilities(said.features)  # (T, B, V + 1)
    for k, (one, other) in enumerate(zip(sources, texts)):
        wanted = _slow(model, torch.tensor(one), torch.tensor(other), attention)
        assert_close(logs[: len(other) + 1, k], wanted, f"pair {k}")


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_steps_give_what_the_whole_target_gives(attention: str) -> None:
    model = _model(attention)
    memory = model.read(torch.tensor([[1, 3], [4, 1], [0, 0]]), torch.tensor([3, 2]))
    tokens = torch.tensor([[model.end, model.end], [2, 5], [6, 0]])
    whole, state = model(memory, tokens), memory.state
    for k, row in enumerate(tokens):
        step = model.step(memory, row[None], state)
        state = step.state
        assert_close(step.features[0], whole.features[k], f"step {k}")
        if attention != "none":
            assert_close(step.weights[:, 0], whole.weights[:, k], f"attention of step {k}")


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_what_lies_past_a_length_changes_nothing(attention: str) -> None:
    model = _model(attention)
    target = torch.tensor([[model.end], [2], [6]])
    one = model(model.read(torch.tensor([[1], [4]]), torch.tensor([2])), target)
    other = model(model.read(torch.tensor([[1], [4], [3], [0]]), torch.tensor([2])), target)
    assert_close(other.features, one.features)


def test_attention_adds_up_to_one_over_the_steps_that_are_there() -> None:
    model = _model()
    memory = model.read(torch.tensor([[1, 3], [4, 1], [0, 0]]), torch.tensor([3, 2]))
    weights = model(memory, torch.tensor([[7, 7], [2, 5]])).weights  # (B, T, S)
    assert_close(weights.sum(-1), torch.ones(2, 2, dtype=torch.float64))
    assert (weights[1, :, 2] == 0).all()


def test_a_smoothed_loss_is_that_against_a_target_with_a_share_for_every_token() -> None:
    model = _model()
    features, targets = torch.randn(5, 6, dtype=torch.float64), torch.tensor([0, 7, 3, 3, 1])
    value, nats = model.loss(features, targets, smoothing=0.1)
    logs = model.log_probabilities(features)
    wanted = torch.full((5, 8), 0.1 / 8, dtype=torch.float64)
    wanted[range(5), targets] += 0.9
    assert_close(value, -(wanted * logs).sum(1))
    assert_close(nats, -logs[range(5), targets])


def _read_in_training(model: EncoderDecoder, tokens: Tensor) -> dict[str, Tensor]:
    """What the first layers read, (T, B, E), over what is embedded."""
    seen: dict[str, Tensor] = {}
    model.train()
    for name, layer in (("encoder", model.encoder[0]), ("decoder", model.decoder[0])):
        layer.register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0]}))
    model(model.read(tokens, torch.full((tokens.shape[1],), len(tokens))), tokens)
    embeddings = {"encoder": model.source_embedding, "decoder": model.target_embedding}
    return {name: (seen[name] / (embeddings[name](tokens) * math.sqrt(6))).detach().round(decimals=6) for name in seen}


@pytest.mark.parametrize("targets", [0, 7], ids=["shared", "separate"])
def test_embedding_dropout_drops_a_word_everywhere_or_nowhere(targets: int) -> None:
    tokens = torch.randint(5, (40, 8))
    factors = _read_in_training(_model(targets=targets, embedding_dropout=0.5), tokens)
    for name, factor in factors.items():
        of_words = [set(factor[tokens == word].flatten().tolist()) for word in range(5)]
        assert all(len(found) == 1 for found in of_words), name
        assert set.union(*of_words) == {0.0, 2.0}, name


def test_dropout_falls_on_what_is_embedded_on_what_layers_say_and_on_the_features() -> None:
    model = _model(dropout=0.5)
    above: list[Tensor] = []
    for layer in (model.encoder[1], model.decoder[1]):
        layer.register_forward_pre_hook(lambda _, given: above.append(given[0][..., :10]))
    tokens = torch.randint(5, (40, 8))
    factors = _read_in_training(model, tokens)
    features = model(model.read(tokens, torch.full((8,), 40)), tokens).features
    for each in (*factors.values(), *above, features):
        assert (each == 0).double().mean().item() == pytest.approx(0.5, abs=0.1)


def test_weight_drop_reaches_the_layers_and_ends_with_training() -> None:
    model, tokens = _model(weight_drop=0.5), torch.randint(5, (4, 3))

    def said() -> Tensor:
        return model(model.read(tokens, torch.full((3,), 4)), tokens).features

    once = said()
    assert torch.equal(said(), once)
    model.train()
    assert not torch.equal(said(), said())
    model.eval()
    assert torch.equal(said(), once)


def test_additive_attention_over_much_is_made_in_parts_and_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model("additive")
    source, target = torch.randint(5, (6, 3)), torch.randint(7, (9, 3))

    def made() -> tuple[Tensor, Tensor]:
        features = model(model.read(source, torch.tensor([6, 2, 4])), target).features
        return features, torch.autograd.grad(features.square().sum(), model.attention.queries.weight)[0]

    whole = made()
    monkeypatch.setattr("holdfast.models.seq2seq._AT_ONCE", 3 * 6 * 10 * 2)
    most: list[int] = []
    model.attention.score.register_forward_hook(lambda _, given, said: most.append(given[0].numel()))
    for part, one in zip(made(), whole):
        assert_close(part, one)
    assert max(most) == 3 * 6 * 10 * 2


@pytest.mark.parametrize(
    "cell", ["lstm", *(pytest.param(cell, marks=pytest.mark.full) for cell in ("gru", "rnn", "slstm"))]
)
def test_it_learns_to_turn_a_sequence_round(cell: str) -> None:
    torch.manual_seed(0)
    model = EncoderDecoder(sources=6, cell=cell, embedding=16, hidden=32, layers=2)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    first = last = 0.0
    for _ in range(150):
        source = torch.randint(6, (4, 32))
        before = torch.cat([torch.full((1, 32), 6), source.flip(0)])
        after = torch.cat([source.flip(0), torch.full((1, 32), 6)])
        decoded = model(model.read(source, torch.full((32,), 4)), before)
        loss = model.loss(decoded.features.flatten(0, 1), after.flatten())[0].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first, last = first or loss.item(), loss.item()
    assert last < 0.5 * first


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hidden": 7}, "hidden must be even"),
        ({"attention": "all"}, "attention must be one of general, additive, none; got 'all'"),
        ({"layers": 0}, "layers"),
        ({"sources": 0}, "sources"),
        ({"cell": "lstn"}, "lstm"),
    ],
)
def test_what_cannot_be_made_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EncoderDecoder(**{"sources": 5, "embedding": 6, "hidden": 10, **options})  # type: ignore[arg-type]
