"""The layer: any cell over whole sequences, stacked, in one or both directions, with PyTorch's interface."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from holdfast.engines import operator
from holdfast.engines.choose import choose
from holdfast.engines.inputs import Inputs
from holdfast.engines.parameters import Sizes, Spec, specs
from holdfast.language import Cell, CellError, Options

from . import checks, noise
from .options import autocast_dtype, autocast_is_on, cast_for_autocast, shown_settings, wired, zoneout_pair
from .stream import Stream
from .traced import TracedModule
from .tracing import LayerTrace, State, Trace
from .weights import ForgetBias, initialise, register


class Recurrent(TracedModule):
    """Any cell over a sequence, with the interface of `torch.nn.LSTM`.

    >>> import torch, holdfast
    >>> layer = holdfast.Recurrent(holdfast.cells.GRU(reset_after=False), 3, 5, num_layers=2)
    >>> output, h_n = layer(torch.randn(7, 2, 3))
    >>> output.shape, h_n.shape
    (torch.Size([7, 2, 5]), torch.Size([2, 2, 5]))

    Args:
        cell: the cell, as an object.
        input_size: I, the number of features of the input.
        hidden_size: H, the number of units.
        num_layers: how many layers are stacked.
        bias: whether there are b_ih and b_hh.
        batch_first: whether the input is (B, T, I) and the output (B, T, H).
        dropout: the dropout on the output of each layer but the last.
        bidirectional: whether there is a second direction, from the end to the start.
        proj_size: if not 0, h is projected to that many entries by W_hr (LSTM and SLSTM).
        device, dtype: of the learned tensors.
        layer_norm: pre = LN(W x) + LN(U h) + b, each LN over the whole gate vector with its own gain, and
            h = o⊙tanh(LN(c)) for cells with a memory c; ε = 1e-5 (Ba 2016).
        recurrent_dropout: the probability of a zero in the mask, one a sequence, on what feeds the recurrent products
            (Gal 2016).
        zoneout: (p_h, p_c), the probabilities of keeping the old value of a unit; in evaluation the expectation
            (Krueger 2017). p_c holds for all states but h, with one mask for them together; one number is both.
        weight_drop: the probability of a zero in the mask, one a call, on the recurrent weights (Merity 2017).
        heads: into how many blocks the units fall; the recurrent weights, (gates x H, H / heads), connect only units of
            the same block.
        grad_clip: a bound on each entry of the gradient that flows back from one step to the one before it.
        recompute: whether the gates are computed again on the way back, and not kept: less memory for more time.
        learn_state: whether the initial state is learned, `h_0` …, (layers x directions, H), used where none is passed.
        engine: which engine runs: "auto" or one by name; see `holdfast.explain`.

    Call:
        `layer(input, hx=None, *, lengths=None, reset=None)` returns the output and the final state: a tensor for cells
        with one state, a tuple for others. `lengths`, (B,), gives each sequence's length: the output past it is 0, the
        final state is the one at the length, and padding is never read. `reset` is a bool tensor, (T, B) or, with
        batch_first, (B, T): where it is True, the state returns to zero, or to the learned state, before that step; the
        boundary lies between t-1 and t in both directions.
    """

    num_layers: int
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int
    recurrent_dropout: float
    weight_drop: float
    recompute: bool
    learn_state: bool
    _states: tuple[str, ...]
    _suffixes: list[str]
    _all_weights: list[list[str]]

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        weight_drop: float = 0.0,
        heads: int = 1,
        grad_clip: float | None = None,
        recompute: bool = False,
        learn_state: bool = False,
        engine: str = "auto",
        _forget: ForgetBias | None = None,
    ) -> None:
        super().__init__()
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            checks.whole(name, size)
        checks.whole("heads", heads)
        for name, switch in (
            ("bias", bias),
            ("batch_first", batch_first),
            ("bidirectional", bidirectional),
            ("layer_norm", layer_norm),
            ("learn_state", learn_state),
        ):
            checks.flag(name, switch)
        dropout = checks.dropout(dropout)
        if dropout and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=2 if type(self) is Recurrent else 3,
            )
        checks.projection(proj_size, hidden_size)
        checks.divides(heads, hidden_size=hidden_size, proj_size=proj_size)

        self.cell = wired(cell, layer_norm)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.layer_norm = layer_norm
        self.recurrent_dropout = recurrent_dropout
        self.zoneout = zoneout_pair(self.cell, zoneout)
        self.weight_drop = weight_drop
        self.heads = heads
        self.grad_clip = grad_clip
        self.recompute = recompute
        self.learn_state = learn_state
        self.engine = engine
        self._forget = _forget

        self._retrace()
        self._name_weights()
        self._initial = {}
        for suffix, sizes in self._places():
            self._initial.update(register(self, specs(self.program, sizes), suffix, device, dtype))
        if learn_state:
            starts = [Spec(f"{state}_0", (len(self._suffixes), width), 0.0) for state, width in self._widths()]
            self._initial.update(register(self, starts, "", device, dtype))
        self.reset_parameters()

    def _options(self) -> Options:
        return Options(
            bias=self.bias,
            projection=self.proj_size > 0,
            heads=self.heads,
            zoneout=self.zoneout,
            recurrent_dropout=self.recurrent_dropout,
            grad_clip=float(self.grad_clip or 0),
            recompute=self.recompute,
        )

    def _name_weights(self) -> None:
        self._states = self.cell.states
        self._suffixes = [suffix for suffix, _ in self._places()]
        self._all_weights = [[f"{name}{suffix}" for name in self._weight_names] for suffix in self._suffixes]

    def _places(self) -> list[tuple[str, Sizes]]:
        return [
            (f"_l{layer}{direction}", self._sizes(layer))
            for layer in range(self.num_layers)
            for direction in self._directions()
        ]

    def _directions(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def _output_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _sizes(self, layer: int) -> Sizes:
        below = self._output_size() * len(self._directions())
        return Sizes(self.input_size if layer == 0 else below, self.hidden_size, self._output_size())

    def _widths(self) -> list[tuple[str, int]]:
        """The width of each state, by name."""
        return [(state, self.hidden_size if k else self._output_size()) for k, state in enumerate(self._states)]

    def reset_parameters(self) -> None:
        """Draw all weights anew, as PyTorch does; gains start from 1, a learned state from 0."""
        initialise(self, self._initial, self.hidden_size)
        if self._forget is not None:
            for suffix in self._suffixes:
                self._forget.apply(self, self.cell.gates, suffix, self.hidden_size)

    @property
    def mode(self) -> str:
        """The name of the cell: PyTorch's attribute."""
        return type(self.cell).__name__

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The learned tensors, a list for each layer and direction: PyTorch's attribute."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self) -> None:
        """Does nothing: it is there because code written for PyTorch's layers calls it."""

    def extra_repr(self) -> str:
        """The sizes, and every option that is not at its default."""
        defaults = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
            "layer_norm": False,
            "recurrent_dropout": 0.0,
            "zoneout": (0.0, 0.0),
            "weight_drop": 0.0,
            "heads": 1,
            "grad_clip": None,
            "recompute": False,
            "learn_state": False,
            "engine": "auto",
        }
        changed = {name: getattr(self, name) for name in defaults if getattr(self, name) != defaults[name]}
        return shown_settings(self, changed)

    if TYPE_CHECKING:  # TracedModule has it

        @overload
        def __call__(
            self, input: PackedSequence, hx: State | None = None, *, lengths: Any = None, reset: Tensor | None = None
        ) -> tuple[PackedSequence, State]: ...
        @overload
        def __call__(
            self, input: Tensor, hx: State | None = None, *, lengths: Any = None, reset: Tensor | None = None
        ) -> tuple[Tensor, State]: ...
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Run over a sequence; see the class."""
            return super().__call__(*args, **kwargs)

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        *,
        lengths: Any = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, State]:
        """Run over a sequence; see the class."""
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx, lengths, reset)
        output, state, _ = self._run(input, hx, lengths, reset, shown=None)
        return output, state

    def trace(
        self, input: Tensor, hx: State | None = None, *, lengths: Any = None, reset: Tensor | None = None
    ) -> Trace:
        """Run over a sequence and return all gates and states of all layers with the result.

        >>> import torch, holdfast
        >>> traced = holdfast.LSTM(3, 5).trace(torch.randn(7, 2, 3))
        >>> [record.name for record in traced.layers], list(traced.layers[0].gates)
        (['l0'], ['i', 'f', 'g', 'o'])
        >>> traced.layers[0].states["c"].shape
        torch.Size([7, 2, 5])
        """
        if isinstance(input, PackedSequence):
            raise TypeError("trace takes a padded tensor with lengths=, not a PackedSequence")
        if self._untraceable is not None:
            raise CellError(self._untraceable, place="")
        output, state, records = self._run(input, hx, lengths, reset, shown=self._shown[self.training])
        return Trace(output, state, records)

    def stream(self, batch_size: int = 1, int8: bool = False) -> Stream:
        """A stream that runs this layer one time step at a time, in microseconds; see `Stream`.

        >>> import numpy as np, holdfast
        >>> stream = holdfast.GRU(3, 5).stream()
        >>> stream.step(np.zeros((1, 3), dtype=np.float32)).shape
        (1, 5)

        Args:
            batch_size: how many sequences run side by side.
            int8: whether its weights are kept in 8 bits, which is faster and a little less exact; see `Stream`.
        """
        return Stream(self, batch_size, int8)

    def _forward_packed(
        self, packed: PackedSequence, hx: State | None, lengths: object, reset: object
    ) -> tuple[PackedSequence, State]:
        """Run over the sequences of a PackedSequence, in its own (sorted) order."""
        for name, given in (("lengths", lengths), ("reset", reset)):
            if given is not None:
                raise ValueError(f"{name} cannot be given with a PackedSequence, which brings its own lengths")
        if packed.data.dim() != 2:
            raise ValueError(f"a PackedSequence must hold 2-D data (steps, features); got {packed.data.dim()}-D")
        padded, own_lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes))
        state = None if hx is None else checks.state_tensors(hx, self._states)
        if state is not None:
            checks.state_shapes(state, self._state_shapes(padded.shape[1]), batched=True)
            if packed.sorted_indices is not None:
                state = [s.index_select(1, packed.sorted_indices) for s in state]
        lengths = own_lengths.to(padded.device)
        output, final, _ = self._run_batched(padded, state, lengths, None, shown=None)
        data = pack_padded_sequence(output, own_lengths).data
        if packed.unsorted_indices is not None:
            final = [s.index_select(1, packed.unsorted_indices) for s in final]
        result = PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        return result, self._state_result(final)

    def _run(
        self, x: Tensor, hx: State | None, lengths: object, reset: object, shown: tuple[str, ...] | None
    ) -> tuple[Tensor, State, list[LayerTrace]]:
        """Check what was given, bring it to (T, B, I), run, and bring the results back to the input's layout."""
        checks.input_shape(type(self).__name__, x, self.input_size, self.batch_first)
        batched = x.dim() == 3
        turned = batched and self.batch_first
        if not batched:
            x = x.unsqueeze(1)
        elif turned:
            x = x.transpose(0, 1)
        state = None
        if hx is not None:
            state = checks.state_tensors(hx, self._states)
            checks.state_shapes(state, self._state_shapes(x.shape[1]), batched)
            if not batched:
                state = [s.unsqueeze(1) for s in state]
        if lengths is not None:
            if not batched:
                raise ValueError("lengths needs a batch: unbatched input is one sequence, all of which counts")
            lengths = checks.lengths(lengths, x.shape[1], x.device)
        if reset is not None:
            layout = (x.shape[0],) if not batched else x.shape[1::-1] if turned else x.shape[:2]
            names = "(T,)" if not batched else "(B, T)" if turned else "(T, B)"
            reset = checks.reset(reset, layout, names, x.device)
            reset = reset.unsqueeze(1) if not batched else reset.transpose(0, 1) if turned else reset
        output, final, records = self._run_batched(x, state, lengths, reset, shown)
        if turned or not batched:
            back = _turned if turned else _without_batch
            output = back(output)
            records = [
                LayerTrace(
                    record.name,
                    {name: back(series) for name, series in record.gates.items()},
                    {name: back(series) for name, series in record.states.items()},
                )
                for record in records
            ]
            final = final if batched else [s.squeeze(1) for s in final]
        return output, self._state_result(final), records

    def _state_shapes(self, batch: int) -> list[tuple[int, ...]]:
        return [(len(self._suffixes), batch, width) for _, width in self._widths()]

    def _state_result(self, final: list[Tensor]) -> State:
        return final[0] if len(final) == 1 else tuple(final)

    def _run_batched(
        self,
        x: Tensor,
        state: list[Tensor] | None,
        lengths: Tensor | None,
        reset: Tensor | None,
        shown: tuple[str, ...] | None,
    ) -> tuple[Tensor, list[Tensor], list[LayerTrace]]:
        """All layers over (T, B, I)."""
        weights = self._weights()
        autocast = autocast_is_on(x.device)
        checks.like_weights("input", x, weights[0][0], autocast)
        for given in state or ():
            checks.like_weights("hx", given, weights[0][0], autocast)
        home = self._learned_state()
        if autocast:
            x = x.to(autocast_dtype(x))
            state = None if state is None else cast_for_autocast(state)
            weights = [cast_for_autocast(tensors) for tensors in weights]
            home = cast_for_autocast(home)
        first = self._first_states(x, state, home)
        text = self._texts[self.training, shown is not None]
        traced, resets = shown is not None, reset is not None
        masks = self._masks[traced] if self.training else []
        engine = choose(
            self.engine,
            text,
            x.device,
            x.dtype,
            self.hidden_size,
            traced=traced,
            lengths=lengths is not None,
            reset=resets,
        ).engine
        directions = 2 if self.bidirectional else 1
        finals: list[list[Tensor]] = []
        records: list[LayerTrace] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                k = layer * directions + direction
                inputs = Inputs(
                    x,
                    first[k],
                    [h[k] for h in home] if resets else [],
                    self._dropped(weights[k]) if self.training else weights[k],
                    self._drawn_masks(x, masks) if masks else [],
                    lengths,
                    reset,
                    direction == 1,
                )
                done = operator.run(text, inputs, engine, shown)
                outputs.append(done.output)
                finals.append(done.final)
                if shown is not None:
                    states = dict(zip(self._states, [done.output, *done.states]))
                    records.append(LayerTrace(self._suffixes[k][1:], dict(zip(shown, done.shown)), states))
            x = outputs[0] if directions == 1 else torch.cat(outputs, -1)
            if self.training and self.dropout and layer < self.num_layers - 1:
                x = noise.dropout(x, self.dropout)
        if len(finals) == 1:
            return x, [final.unsqueeze(0) for final in finals[0]], records
        return x, [torch.stack(column) for column in zip(*finals)], records

    def _weights(self) -> list[list[Tensor]]:
        """The learned tensors, a list for each layer and direction."""
        own: Any = self._parameters  # where attributes of a module are looked for last, by a function of Python
        return [[own[n] if n in own else getattr(self, n) for n in names] for names in self._all_weights]

    def _learned_state(self) -> list[Tensor]:
        return [getattr(self, f"{state}_0") for state in self._states] if self.learn_state else []

    def _first_states(self, x: Tensor, state: list[Tensor] | None, home: list[Tensor]) -> list[list[Tensor]]:
        """What each layer and direction starts from, one (B, H) a state."""
        count, batch = len(self._suffixes), x.shape[1]
        if state is not None:
            return [[s[k] for s in state] for k in range(count)]
        if home:
            return [[h[k].expand(batch, -1) for h in home] for k in range(count)]
        # Nobody writes to them, so zeros of one width are one tensor.
        zeros = {width: x.new_zeros(batch, width) for width in {self._output_size(), self.hidden_size}}
        return [[zeros[width] for _, width in self._widths()]] * count

    def _dropped(self, weights: list[Tensor]) -> list[Tensor]:
        """The learned tensors with weight drop on the recurrent ones."""
        if not self.weight_drop:
            return weights
        return [
            noise.dropout(w, self.weight_drop) if name in self._recurrent_weights else w
            for name, w in zip(self._weight_names, weights)
        ]

    def _drawn_masks(self, x: Tensor, masks: list[tuple[float, str, str]]) -> list[Tensor]:
        """The masks of one layer in one direction."""
        steps, batch = x.shape[:2]
        widths = {"units": self.hidden_size, "output": self._output_size()}
        return [
            noise.bernoulli(p, (steps, batch, widths[wide]) if per == "step" else (batch, widths[wide]), x)
            for p, per, wide in masks
        ]


def _turned(series: Tensor) -> Tensor:
    """(T, B, ·) as (B, T, ·), and back."""
    return series.transpose(0, 1)


def _without_batch(series: Tensor) -> Tensor:
    """(T, 1, ·) as (T, ·)."""
    return series.squeeze(1)
