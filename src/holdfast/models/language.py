"""The language model: an embedding, recurrent layers, and a distribution over the next token.

Tokens are whole numbers below the vocabulary's size; what they stand for, the model does not know. Sequences are time
first, (T, B), as everywhere in the layers.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.layers import GRU, LSTM, RNN, SLSTM, Recurrent, checks
from holdfast.layers.tracing import State

from .stepping import steps_of
from .token_loss import token_losses

ModelState = tuple[State, ...]  # one a layer, as the layer returns it

CELLS: Mapping[str, Callable[..., Recurrent]] = MappingProxyType(
    {
        "lstm": partial(LSTM, forget_bias=1.0),  # from 0 half of the memory would be lost in each step
        "gru": GRU,
        "rnn": RNN,
        "slstm": partial(SLSTM, forget_bias=1.0),
    }
)
"""The layers a language model can be made of, by name."""

_BOUND = 0.1  # of the first draw of the output matrix, on both sides of 0
_SHRINKING = 4  # each cluster of the adaptive softmax sees the features in so many times fewer dimensions


class Output(NamedTuple):
    """What a language model makes of a sequence.

    Attributes:
        features: the last layer's output after its dropout, (T, B, E); `loss` and `log_probabilities` take it.
        raw: the same before its dropout.
        state: the final state of each layer; pass it on to go on from there.
    """

    features: Tensor
    raw: Tensor
    state: ModelState


class LanguageModel(nn.Module):
    """A recurrent language model: of each token, the distribution of the one that comes next.

    >>> import torch
    >>> model = LanguageModel(vocabulary=11, embedding=8, hidden=16)
    >>> tokens = torch.randint(11, (6, 2))
    >>> output = model(tokens[:-1])
    >>> model.loss(output.features, tokens[1:]).shape
    torch.Size([5, 2])
    >>> again = LanguageModel(**model.arguments)

    The output matrix is drawn uniformly from ±0.1 and its biases start at 0, so that the first predictions are close to
    uniform. The embedding is drawn from the standard normal distribution: at character level that learns faster than
    numbers as small as the output's. With an adaptive softmax, which is for large vocabularies, it is as small, too:
    rare tokens stay near what they were drawn as. The layers start as the layers do, with a forget bias of 1.

    Args:
        vocabulary: V, the number of tokens.
        cell: which layers, a name in `CELLS`.
        embedding: E, the width of the embedding.
        hidden: H, the number of units of a layer.
        layers: how many layers are stacked.
        tied: whether the output matrix is the embedding (Press and Wolf 2017). The last of several layers then has E
            units, as in AWD-LSTM; the output of a single one is brought to E by a linear map without biases.
        dropout: between the layers and before the output.
        input_dropout: on the embedded tokens.
        embedding_dropout: on whole words of the vocabulary, one draw a call (Gal 2016).
        weight_drop: on the recurrent weights, one draw a call (Merity 2017).
        variational: whether a mask of `dropout` and `input_dropout` holds for all steps of a call (Gal 2016), or each
            step has its own.
        layer_norm: whether the layers are normalised (Ba 2016).
        adaptive: where the vocabulary is cut for an adaptive softmax (Grave 2017), by rising token numbers; it needs
            tokens that are numbered from the most frequent one on. See `default_cutoffs`.

    Attributes:
        arguments: what the model was made with, of plain types: `LanguageModel(**arguments)` makes another.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        cell: str = "lstm",
        embedding: int = 128,
        hidden: int = 512,
        layers: int = 1,
        tied: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        weight_drop: float = 0.0,
        variational: bool = False,
        layer_norm: bool = False,
        adaptive: Sequence[int] = (),
    ) -> None:
        super().__init__()
        sizes = {"vocabulary": vocabulary, "embedding": embedding, "hidden": hidden, "layers": layers}
        switches = {"tied": tied, "variational": variational, "layer_norm": layer_norm}
        probabilities = {
            "dropout": dropout,
            "input_dropout": input_dropout,
            "embedding_dropout": embedding_dropout,
            "weight_drop": weight_drop,
        }
        for name, size in sizes.items():
            checks.whole(name, size)
        for name, switch in switches.items():
            checks.flag(name, switch)
        for name, probability in probabilities.items():
            checks.probability(name, probability)
        make = layer_class(cell)
        self.arguments: dict[str, Any] = {
            "cell": cell,
            **sizes,
            **switches,
            **probabilities,
            "adaptive": list(adaptive),
        }
        self.vocabulary = vocabulary
        self.tied = tied
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.embedding_dropout = embedding_dropout
        self.variational = variational

        widths = [hidden] * layers
        if tied and layers > 1:
            widths[-1] = embedding
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.layers = nn.ModuleList(
            make(below, width, weight_drop=weight_drop, layer_norm=layer_norm)
            for below, width in zip([embedding, *widths], widths)
        )
        self._make_output(widths[-1], adaptive)
        self._initialise()

    def _make_output(self, width: int, adaptive: Sequence[int]) -> None:
        """What leads from the features to the vocabulary: an adaptive softmax, or one product."""
        self.clusters: nn.AdaptiveLogSoftmaxWithLoss | None = None
        self.output_weight: nn.Parameter | None = None
        if adaptive:
            _check_cutoffs(adaptive, self.vocabulary, width, self.tied)
            self.clusters = nn.AdaptiveLogSoftmaxWithLoss(
                width, self.vocabulary, list(adaptive), div_value=_SHRINKING, head_bias=True
            )
            return
        embedding = self.embedding.embedding_dim
        self.projection = nn.Linear(width, embedding, bias=False) if self.tied and width != embedding else nn.Identity()
        if not self.tied:  # a tied matrix is not registered a second time: a state dict would hold it twice
            self.output_weight = nn.Parameter(torch.empty(self.vocabulary, width))
        self.output_bias = nn.Parameter(torch.zeros(self.vocabulary))

    @torch.no_grad()
    def _initialise(self) -> None:
        if self.tied or self.clusters is not None:  # rare tokens stay near what they were drawn as: it must be small
            nn.init.uniform_(self.embedding.weight, -_BOUND, _BOUND)
        if self.output_weight is not None:
            nn.init.uniform_(self.output_weight, -_BOUND, _BOUND)

    @property
    def output_matrix(self) -> Tensor:
        """What the features are multiplied by, (V, E): the embedding itself if it is tied. Not with `adaptive`."""
        return self.embedding.weight if self.output_weight is None else self.output_weight

    def _stack(self) -> list[Recurrent]:
        return cast(list[Recurrent], list(self.layers))

    def forward(self, tokens: Tensor, state: ModelState | None = None) -> Output:
        """Run over sequences.

        Args:
            tokens: whole numbers below V, (T, B).
            state: where to start from, as an earlier call returned it; by default from the layers' first state.
        """
        if tokens.dim() != 2 or tokens.is_floating_point():
            raise ValueError(f"tokens must be whole numbers (T, B); got {tokens.dtype} of shape {tuple(tokens.shape)}")
        if state is not None and len(state) != len(self.layers):
            raise ValueError(f"state must hold one state for each of the {len(self.layers)} layers; got {len(state)}")
        raw = features = self._dropped(self._embedded(tokens), self.input_dropout)  # (T, B, E)
        states = []
        for k, layer in enumerate(self._stack()):
            raw, final = layer(features, None if state is None else state[k])  # (T, B, H)
            features = self._dropped(raw, self.dropout)
            states.append(final)
        return Output(features, raw, tuple(states))

    def _embedded(self, tokens: Tensor) -> Tensor:
        return embedded(self.embedding, tokens, self.embedding_dropout if self.training else 0.0)  # (T, B, E)

    def _dropped(self, x: Tensor, probability: float) -> Tensor:
        if not (self.training and probability):
            return x
        if not self.variational:
            return F.dropout(x, probability)
        return x * F.dropout(torch.ones_like(x[:1]), probability)

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """The loss of each token, in nats.

        >>> import torch
        >>> model = LanguageModel(vocabulary=11, embedding=8, hidden=16)
        >>> features = model(torch.tensor([[3], [1]])).features
        >>> bool((model.loss(features, torch.tensor([[1], [4]])) > 0).all())
        True

        Args:
            features: from a call, (T, B, E).
            targets: the tokens that came, (T, B).

        Returns:
            Minus the logarithm of their probabilities, (T, B).
        """
        if features.shape[:-1] != targets.shape:
            shape = tuple(features.shape[:-1])
            raise ValueError(
                f"targets must have one token for each feature vector, {shape}; got {tuple(targets.shape)}"
            )
        rows, wanted = features.reshape(-1, features.shape[-1]), targets.flatten()  # (T·B, E), (T·B,)
        if self.clusters is not None:
            return -self.clusters(rows, wanted).output.view(targets.shape)
        _, nats = token_losses(self.projection(rows), self.output_matrix, self.output_bias, wanted)
        return nats.view(targets.shape)

    def log_probabilities(self, features: Tensor) -> Tensor:
        """The logarithms of the probabilities of every token, (…, V), for features (…, E)."""
        if self.clusters is not None:
            rows = features.reshape(-1, features.shape[-1])
            return self.clusters.log_prob(rows).view(*features.shape[:-1], self.vocabulary)
        return F.log_softmax(self._logits(features), -1)

    def _logits(self, features: Tensor) -> Tensor:
        return F.linear(self.projection(features), self.output_matrix, self.output_bias)

    def activation_penalty(self, output: Output, alpha: float, beta: float) -> Tensor:
        """What keeps the last layer's activations small and slow (Merity 2017), to be added to the mean loss.

        >>> import torch
        >>> model = LanguageModel(vocabulary=11, embedding=8, hidden=16)
        >>> model.activation_penalty(model(torch.tensor([[3], [1]])), alpha=2, beta=1).shape
        torch.Size([])

        Args:
            output: of a call.
            alpha: how much the mean square of the features counts.
            beta: how much the mean square of the difference between one step and the next counts, before dropout.
        """
        penalty = alpha * output.features.square().mean()
        if output.raw.shape[0] > 1:  # a single step differs from nothing
            penalty = penalty + beta * output.raw.diff(dim=0).square().mean()
        return penalty

    def state_from(self, tensors: Sequence[Tensor]) -> ModelState:
        """The state that `state_tensors` took apart.

        >>> import torch
        >>> model = LanguageModel(vocabulary=11, embedding=8, hidden=16, layers=2)
        >>> _, _, state = model(torch.tensor([[3], [1]]))
        >>> [len(part) for part in model.state_from(state_tensors(state))]
        [2, 2]
        """
        each = len(self._stack()[0].cell.states)
        if len(tensors) != each * len(self.layers):
            raise ValueError(
                f"tensors must be {each} for each of the {len(self.layers)} layers, {each * len(self.layers)}; "
                f"got {len(tensors)}"
            )
        if each == 1:
            return tuple(tensors)
        return tuple(tuple(tensors[k : k + each]) for k in range(0, len(tensors), each))

    def stream(self, batch_size: int = 1) -> LanguageStream:
        """A stream that runs this model one token at a time, in evaluation; see `LanguageStream`."""
        return LanguageStream(self, batch_size)

    def extra_repr(self) -> str:
        """What the parts do not show."""
        shown = ("dropout", "input_dropout", "embedding_dropout", "variational", "tied")
        return ", ".join(f"{name}={self.arguments[name]!r}" for name in shown if self.arguments[name])


class LanguageStream:
    """A language model that runs one token at a time and remembers its state; `model.stream(batch_size)` makes one.

    It computes what a whole call computes in evaluation, whatever mode the model is in, by the compiled streams of its
    layers, and records no gradients. The weights are read where they lie: a change to them holds from the next token
    on.

    >>> import torch
    >>> model = LanguageModel(vocabulary=11, embedding=8, hidden=16)
    >>> tokens, stream = torch.randint(11, (5, 2)), model.stream(2)
    >>> steps = torch.stack([stream.step(row) for row in tokens])
    >>> torch.allclose(steps, model.log_probabilities(model(tokens).features), atol=1e-5)
    True

    Args:
        model: the model; on the CPU in float32 or float64, where the streams are compiled.
        batch_size: how many sequences run side by side.
    """

    def __init__(self, model: LanguageModel, batch_size: int = 1) -> None:
        self._model = model
        self._streams = [steps_of(layer, batch_size) for layer in model._stack()]
        self.batch_size = batch_size

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """The log probabilities of what comes after these tokens, (B, V).

        Args:
            tokens: one for each sequence, (B,).
        """
        return self._model.log_probabilities(self._advance(tokens))

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Tensor:
        """Take in several tokens a sequence, (T, B); the log probabilities of what comes after the last, (B, V).

        It gives what the last of T steps gives, and spares the distributions of the others.
        """
        if tokens.dim() != 2 or not len(tokens):
            raise ValueError(f"tokens must be (T, B), with at least one step; got {tuple(tokens.shape)}")
        for row in tokens[:-1]:
            self._advance(row)
        return self.step(tokens[-1])

    def _advance(self, tokens: Tensor) -> Tensor:
        if tokens.shape != (self.batch_size,):
            raise ValueError(f"tokens must be one for each sequence, ({self.batch_size},); got {tuple(tokens.shape)}")
        weight = self._model.embedding.weight
        x = F.embedding(tokens.to(weight.device), weight)  # (B, E)
        for stream in self._streams:
            x = stream.step(x)  # (B, H)
        return x

    @property
    def state(self) -> ModelState:
        """The state as a call of the model returns it; set it to resume."""
        return tuple(stream.state for stream in self._streams)

    @state.setter
    def state(self, value: ModelState) -> None:
        if len(value) != len(self._streams):
            raise ValueError(f"state must hold one state for each of the {len(self._streams)} layers; got {len(value)}")
        for stream, own in zip(self._streams, value):
            stream.state = own

    def reset(self, rows: Sequence[int] | Tensor | None = None) -> None:
        """Return to the first state.

        Args:
            rows: which sequences, by their numbers or as a mask (B,) of bools; by default all.
        """
        for stream in self._streams:
            stream.reset(rows)


def detach(state: ModelState) -> ModelState:
    """The same state without its history: gradients stop here.

    >>> import torch
    >>> model = LanguageModel(vocabulary=11, embedding=8, hidden=16, cell="gru")
    >>> detach(model(torch.tensor([[3], [1]])).state)[0].requires_grad
    False
    """
    return tuple(own.detach() if isinstance(own, Tensor) else tuple(part.detach() for part in own) for own in state)


def state_tensors(state: ModelState) -> list[Tensor]:
    """The tensors of a state, layer by layer, each layer's in its cell's order; `model.state_from` puts them together.

    >>> import torch
    >>> model = LanguageModel(vocabulary=11, embedding=8, hidden=16, layers=2)
    >>> len(state_tensors(model(torch.tensor([[3], [1]])).state))
    4
    """
    return [part for own in state for part in ([own] if isinstance(own, Tensor) else own)]


def default_cutoffs(vocabulary: int) -> tuple[int, ...]:
    """Where to cut a vocabulary for an adaptive softmax; nowhere below 20,000 tokens, where a full one is affordable.

    >>> default_cutoffs(10_000), default_cutoffs(267_735)
    ((), (16733, 66933))
    """
    checks.whole("vocabulary", vocabulary)
    if vocabulary < 20_000:
        return ()
    return vocabulary // 16, vocabulary // 4


def embedded(embedding: nn.Embedding, tokens: Tensor, dropout: float) -> Tensor:
    """What stands for tokens, of which whole words of the vocabulary are dropped, in one draw (Gal 2016); (…, E)."""
    found = embedding(tokens)
    if not dropout:
        return cast(Tensor, found)
    kept = F.dropout(found.new_ones(embedding.num_embeddings), dropout)  # (V,)
    return cast(Tensor, found * kept[tokens].unsqueeze(-1))


def layer_class(cell: str) -> Callable[..., Recurrent]:
    """What makes a model's layers, by its name in `CELLS`."""
    if cell in CELLS:
        return CELLS[cell]
    near = difflib.get_close_matches(str(cell), CELLS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"cell must be one of {', '.join(CELLS)}; got {cell!r}{hint}")


def _check_cutoffs(adaptive: Sequence[int], vocabulary: int, width: int, tied: bool) -> None:
    if tied:
        raise ValueError(
            "adaptive and tied exclude each other, for an adaptive softmax has matrices of its own for rare tokens: "
            "leave one out"
        )
    rising = all(low < high for low, high in zip([0, *adaptive], [*adaptive, vocabulary]))
    if not rising or not all(isinstance(cut, int) for cut in adaptive):
        raise ValueError(f"adaptive must be whole numbers that rise, between 0 and {vocabulary}; got {list(adaptive)}")
    if width < _SHRINKING ** len(adaptive):
        raise ValueError(f"adaptive needs hidden to be at least {_SHRINKING ** len(adaptive)}; got {width}")
