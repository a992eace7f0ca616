"""The model that reads one sequence and writes another: an encoder, attention and a decoder.

Sequences of tokens are time first and ragged: (S, B) and (T, B). What lies past a length is never read. A target begins
after the token `END` and ends with it; whoever makes batches knows it as the number V, one above the last token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from holdfast.layers import Recurrent, checks
from holdfast.layers.tracing import State

from .language import ModelState, embedded, layer_class
from .token_loss import token_losses

ATTENTIONS = ("general", "additive", "none")

_AT_ONCE = 1 << 24  # numbers between queries and keys


class Memory(NamedTuple):
    """What a decoder knows of the sources.

    Attributes:
        values: what the encoder says of each step, (B, S, H).
        keys: what queries are compared with, (B, S, H).
        there: where the steps of each source are, (B, S).
        state: of each layer of the decoder, where it begins, each tensor (1, B, H).
    """

    values: Tensor
    keys: Tensor
    there: Tensor
    state: ModelState

    def rows(self, which: Tensor) -> Memory:
        """The same of some of the sources only, (R,); their states are left out."""
        return Memory(self.values[which], self.keys[which], self.there[which], ())


class Decoded(NamedTuple):
    """What a decoder makes of the beginnings of targets.

    Attributes:
        features: from which the next token is told, (T, B, E).
        state: of each layer at the end; pass it on to go on from there.
        weights: how much each step of the source was attended to, (B, T, S); None without attention.
    """

    features: Tensor
    state: ModelState
    weights: Tensor | None


class EncoderDecoder(nn.Module):
    """Layers in both directions read the source; layers in one direction, the first of which asks, write the target.

    What the first layer of the decoder says is compared with each step of the source; the mean of the steps, weighted
    by how alike they are, is read by the layers above (Luong 2015, Bahdanau 2015, Wu 2016). No layer waits for what was
    attended to one step before, so that each runs over the whole target at once. Layer k of the decoder begins with the
    last state of layer k of the encoder, both directions side by side.

    >>> model = EncoderDecoder(sources=11, targets=13, embedding=8, hidden=16)
    >>> source, lengths = torch.randint(11, (6, 2)), torch.tensor([6, 4])
    >>> target = torch.randint(13, (5, 2))
    >>> memory = model.read(source, lengths)
    >>> model.log_probabilities(model(memory, target).features).shape  # 14: the end, too
    torch.Size([5, 2, 14])

    Args:
        sources: tokens of the sources.
        targets: V, tokens of the targets; 0: the same ones as the sources', with one embedding for both.
        cell: which layers, a name in `CELLS`.
        embedding: E, how many numbers stand for a token.
        hidden: H, units of a layer of the decoder; each direction of the encoder has half of them.
        layers: how many the encoder and the decoder have each.
        attention: "general": queries times a matrix times values; "additive": a layer of tanh over both; "none": the
            decoder knows of the source what its first state holds.
        dropout: between layers, on the embedded tokens, and before the output.
        embedding_dropout: on whole words of the vocabularies, one draw a call.
        weight_drop: on the recurrent weights.
    """

    def __init__(
        self,
        *,
        sources: int,
        targets: int = 0,
        cell: str = "lstm",
        embedding: int = 256,
        hidden: int = 512,
        layers: int = 2,
        attention: str = "general",
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        weight_drop: float = 0.0,
    ) -> None:
        super().__init__()
        for name, size in (("sources", sources), ("embedding", embedding), ("layers", layers)):
            checks.whole(name, size)
        if hidden < 2 or hidden % 2:
            raise ValueError(f"hidden must be even, half of it for each direction; got {hidden}")
        if attention not in ATTENTIONS:
            raise ValueError(f"attention must be one of {', '.join(ATTENTIONS)}; got {attention!r}")
        make = layer_class(cell)
        self.dropout = dropout
        self.embedding_dropout = embedding_dropout
        # The embedding is the output matrix, and must begin small; what layers read of it has a deviation of 1.
        self._scale = math.sqrt(embedding)
        self.end = targets or sources
        self.source_embedding = nn.Embedding(self.end + 1 if not targets else sources, embedding)
        nn.init.normal_(self.source_embedding.weight, std=1 / self._scale)
        self.own_embedding: nn.Embedding | None = None
        if targets:
            self.own_embedding = nn.Embedding(targets + 1, embedding)
            nn.init.normal_(self.own_embedding.weight, std=1 / self._scale)
        self.encoder = nn.ModuleList(
            make(below, hidden // 2, bidirectional=True, weight_drop=weight_drop)
            for below in [embedding, *[hidden] * (layers - 1)]
        )
        asks = attention != "none"
        above = hidden * (1 + asks)
        self.decoder = nn.ModuleList(
            make(below, hidden, weight_drop=weight_drop)
            for below in [embedding, *([above] + [hidden] * (layers - 2))[: layers - 1]]
        )
        self.attention = _ATTENTIONS[attention](hidden) if asks else None
        self.projection = nn.Linear(above, embedding)
        self.output_bias = nn.Parameter(torch.zeros(self.end + 1))

    @property
    def target_embedding(self) -> nn.Embedding:
        """What stands for the tokens of targets, and is the output matrix."""
        return self.source_embedding if self.own_embedding is None else self.own_embedding

    @property
    def device(self) -> torch.device:
        """Where the model is, and what it reads must be."""
        return self.output_bias.device

    def forward(self, memory: Memory, tokens: Tensor, state: ModelState | None = None) -> Decoded:
        """Read beginnings of targets.

        Args:
            memory: of their sources.
            tokens: of the targets, the first of which is `end`, (T, B).
            state: where to go on, as an earlier call returned it.
        """
        state = memory.state if state is None else state
        states: list[State] = []

        def over(layer: Recurrent, h: Tensor) -> Tensor:
            h, final = layer(h, state[len(states)])
            states.append(final)
            return h

        features, weights = self._through(memory, tokens, over)
        return Decoded(features, tuple(states), weights)

    def step(self, memory: Memory, tokens: Tensor, state: ModelState) -> Decoded:
        """Read one more token of several targets of each source, side by side.

        Args:
            memory: of the sources.
            tokens: one of each target, (K, B).
            state: after the tokens before it, each tensor (1, K·B, H).

        Returns:
            the features are (K, B, E), the weights (B, K, S).
        """
        states: list[State] = []

        def one(layer: Recurrent, h: Tensor) -> Tensor:
            said, final = layer(h.flatten(0, 1)[None], state[len(states)])
            states.append(final)
            return said.view(*tokens.shape, -1)

        features, weights = self._through(memory, tokens, one)
        return Decoded(features, tuple(states), weights)

    def _through(
        self, memory: Memory, tokens: Tensor, run: Callable[[Recurrent, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """The features and the weights for tokens (T, B), by what runs a layer."""
        h = self._dropped(self._embedded(self.target_embedding, tokens))
        context = weights = None
        for k, layer in enumerate(cast(Sequence[Recurrent], self.decoder)):
            h = self._dropped(run(layer, h))  # (T, B, H)
            if k == 0 and self.attention is not None:
                context, weights = self.attention(h, memory)
                if len(self.decoder) > 1:
                    h = torch.cat([h, context], -1)
        if context is not None:
            h = torch.cat([h, context], -1)
        return self._dropped(self.projection(h).tanh()), weights

    def read(self, source: Tensor, lengths: Tensor) -> Memory:
        """What a decoder will know of sources.

        Args:
            source: tokens, (S, B).
            lengths: at least 1, (B,).
        """
        h = self._embedded(self.source_embedding, source)
        states: list[State] = []
        for layer in cast(Sequence[Recurrent], self.encoder):
            h, final = layer(self._dropped(h), lengths=lengths)  # (S, B, H)
            states.append(_beside(final))
        h = self._dropped(h)
        values = h.transpose(0, 1)  # (B, S, H)
        there = torch.arange(len(source), device=source.device) < lengths[:, None]  # (B, S)
        return Memory(values, self._keys(values), there, tuple(states))

    def _keys(self, values: Tensor) -> Tensor:
        """What queries are compared with, (B, S, H)."""
        return values if self.attention is None else cast(Tensor, self.attention.keys(values))  # type: ignore[operator]

    def loss(self, features: Tensor, targets: Tensor, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
        """What is to become small, and minus the logarithm of the probability, of each token, (N,) each, in nats.

        >>> model = EncoderDecoder(sources=11, embedding=8, hidden=16)
        >>> value, nats = model.loss(torch.randn(5, 8), torch.randint(11, (5,)))
        >>> bool((value == nats).all())
        True

        Args:
            features: (N, E).
            targets: the tokens that came, (N,).
            smoothing: the share of what is wanted that is spread over all tokens (Szegedy 2016).
        """
        return token_losses(features, self.target_embedding.weight, self.output_bias, targets, smoothing)

    def log_probabilities(self, features: Tensor) -> Tensor:
        """The logarithms of the probabilities of every token and of the end, (…, V + 1), for features (…, E)."""
        return self._logits(features).log_softmax(-1)

    def _logits(self, features: Tensor) -> Tensor:
        return F.linear(features, self.target_embedding.weight, self.output_bias)

    def _embedded(self, embedding: nn.Embedding, tokens: Tensor) -> Tensor:
        return embedded(embedding, tokens, self.embedding_dropout if self.training else 0.0) * self._scale

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class _General(nn.Module):
    """Queries are compared with values by a matrix (Luong 2015)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.keys = nn.Linear(hidden, hidden, bias=False)

    def forward(self, queries: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """What is read for each query, (T, B, H), and the weights, (B, T, S)."""
        asked = queries.transpose(0, 1) / math.sqrt(queries.shape[-1])
        return _mean(asked @ memory.keys.transpose(1, 2), memory)


class _Additive(nn.Module):
    """Queries are compared with values by a layer of tanh over both (Bahdanau 2015)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.keys = nn.Linear(hidden, hidden)
        self.queries = nn.Linear(hidden, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, queries: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """What is read for each query, (T, B, H), and the weights, (B, T, S)."""
        asked = self.queries(queries.transpose(0, 1))  # (B, T, H)
        few = max(1, _AT_ONCE // memory.keys.numel())
        if asked.shape[1] <= few:
            return _mean(self._scores(asked, memory.keys), memory)
        # What is between all queries and all keys would be the largest thing by far: it is made for some queries at a
        # time, and again for the derivative.
        parts = [
            checkpoint(self._scores, some, memory.keys, use_reentrant=False, preserve_rng_state=False)
            for some in asked.split(few, 1)
        ]
        return _mean(torch.cat(parts, 1), memory)

    def _scores(self, asked: Tensor, keys: Tensor) -> Tensor:
        """How alike queries (B, T, H) and keys (B, S, H) are, (B, T, S)."""
        return cast(Tensor, self.score((asked[:, :, None] + keys[:, None]).tanh())[..., 0])


_ATTENTIONS: dict[str, Callable[[int], nn.Module]] = {"general": _General, "additive": _Additive}


def _mean(scores: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
    """The mean of the values, weighted by scores (B, T, S)."""
    weights = scores.masked_fill(~memory.there[:, None], -math.inf).softmax(-1)
    return (weights @ memory.values).transpose(0, 1), weights


def _beside(final: State) -> State:
    """The last states of both directions, (2, B, H/2), side by side, (1, B, H)."""
    if isinstance(final, Tensor):
        return torch.cat([final[:1], final[1:]], -1)
    return tuple(torch.cat([part[:1], part[1:]], -1) for part in final)
