"""The single step of any cell, with the interface of `torch.nn.LSTMCell`: for decoders and agents."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from holdfast.engines import operator
from holdfast.engines.choose import choose
from holdfast.engines.inputs import Inputs
from holdfast.engines.parameters import Sizes, specs
from holdfast.language import Cell, Options

from . import checks, noise
from .options import autocast_is_on, cast_for_autocast, shown_settings, wired, zoneout_pair
from .traced import TracedModule
from .tracing import State
from .weights import ForgetBias, initialise, register


class RecurrentCell(TracedModule):
    """One step of any cell.

    >>> import torch, holdfast
    >>> cell = holdfast.RecurrentCell(holdfast.cells.GRU(reset_after=False), 3, 5)
    >>> cell(torch.randn(2, 3)).shape
    torch.Size([2, 5])

    Args:
        cell: the cell, as an object.
        input_size: I, the number of features of the input.
        hidden_size: H, the number of units.
        bias: whether there are b_ih and b_hh.
        device, dtype: of the learned tensors.
        layer_norm, zoneout, heads, grad_clip, engine: as for `Recurrent`.

    Call:
        `cell(input, hx=None)` with input (B, I) or (I,) returns the new state: a tensor for cells with one state, a
        tuple for others. Without hx the state starts from zero.
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        layer_norm: bool = False,
        zoneout: float | tuple[float, float] = 0.0,
        heads: int = 1,
        grad_clip: float | None = None,
        engine: str = "auto",
        _forget: ForgetBias | None = None,
    ) -> None:
        super().__init__()
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("heads", heads)):
            checks.whole(name, size)
        checks.flag("bias", bias)
        checks.flag("layer_norm", layer_norm)
        checks.divides(heads, hidden_size=hidden_size)
        self.cell = wired(cell, layer_norm)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        self.layer_norm = layer_norm
        self.zoneout = zoneout_pair(self.cell, zoneout)
        self.heads = heads
        self.grad_clip = grad_clip
        self.engine = engine
        self._forget = _forget
        self._retrace()
        self._initial = register(
            self, specs(self.program, Sizes(input_size, hidden_size, hidden_size)), "", device, dtype
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew, as PyTorch does; gains start from 1."""
        initialise(self, self._initial, self.hidden_size)
        if self._forget is not None:
            self._forget.apply(self, self.cell.gates, "", self.hidden_size)

    def _places(self) -> list[tuple[str, Sizes]]:
        return [("", Sizes(self.input_size, self.hidden_size, self.hidden_size))]

    def _options(self) -> Options:
        return Options(bias=self.bias, heads=self.heads, zoneout=self.zoneout, grad_clip=float(self.grad_clip or 0))

    def extra_repr(self) -> str:
        """The sizes, and every option that is not at its default."""
        defaults = {
            "bias": True,
            "layer_norm": False,
            "zoneout": (0.0, 0.0),
            "heads": 1,
            "grad_clip": None,
            "engine": "auto",
        }
        changed = {name: getattr(self, name) for name in defaults if getattr(self, name) != defaults[name]}
        return shown_settings(self, changed)

    def forward(self, input: Tensor, hx: State | None = None) -> State:
        """One step; see the class."""
        name, states = type(self).__name__, self.cell.states
        if not isinstance(input, Tensor):
            raise TypeError(f"{name}: input must be a tensor, got {type(input).__name__}")
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {input.shape[-1]} expected {self.input_size}")
        batched = input.dim() == 2
        x = input if batched else input.unsqueeze(0)
        weights = [getattr(self, weight) for weight in self._weight_names]
        if hx is None:
            state = [x.new_zeros(x.shape[0], self.hidden_size, dtype=weights[0].dtype) for _ in states]
        else:
            state = checks.state_tensors(hx, states)
            checks.step_state_shapes(name, state, x.shape[0], self.hidden_size, batched)
            if not batched:
                state = [s.unsqueeze(0) for s in state]
        autocast = autocast_is_on(x.device)
        for what, given in [("input", x), *(("hx", s) for s in state)]:
            checks.like_weights(what, given, weights[0], autocast)
        if autocast:
            x, *state = cast_for_autocast([x, *state])
            weights = cast_for_autocast(weights)
        inputs = Inputs(x.unsqueeze(0), state, [], weights, self._drawn_masks(x), None, None, reverse=False)
        text = self._texts[self.training, False]
        engine = choose(self.engine, text, x.device, x.dtype, self.hidden_size).engine
        done = operator.run(text, inputs, engine)
        final = done.final if batched else [s.squeeze(0) for s in done.final]
        return final[0] if len(final) == 1 else tuple(final)

    def _drawn_masks(self, x: Tensor) -> list[Tensor]:
        if not self.training:
            return []
        batch = (x.shape[0], self.hidden_size)
        return [noise.bernoulli(p, (1, *batch) if per == "step" else batch, x) for p, per, _ in self._masks[False]]
