"""The streaming contract: one time step in, one output out, in microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from holdfast.engines import llvm
from holdfast.engines.llvm.stream import Stepper
from holdfast.language import parse

from . import checks
from .tracing import State

if TYPE_CHECKING:
    from .recurrent import Recurrent

Array = TypeVar("Array", np.ndarray[Any, Any], Tensor)


class Stream:
    """A layer that runs one time step at a time and remembers its state; `layer.stream(batch_size)` makes one.

    It computes what the whole-sequence run computes in evaluation, all layers in one compiled call, and records no
    gradients. The weights are read where they lie: a change to them holds from the next step on.

    >>> import torch, holdfast
    >>> layer = holdfast.LSTM(3, 5, num_layers=2)
    >>> stream, x = layer.stream(), torch.randn(7, 1, 3)
    >>> steps = torch.stack([stream.step(row) for row in x])
    >>> torch.allclose(steps, layer(x)[0], atol=1e-6)
    True

    Args:
        layer: the layer; of one direction, on the CPU, in float32 or float64.
        batch_size: how many sequences run side by side.
    """

    def __init__(self, layer: Recurrent, batch_size: int = 1) -> None:
        checks.whole("batch_size", batch_size)
        if layer.bidirectional:
            raise ValueError("a bidirectional layer cannot stream: its second direction begins at the end")
        weight = layer.all_weights[0][0]
        why = llvm.refusal(weight.device, weight.dtype)
        if why is not None:
            raise ValueError(f"a stream runs on the compiled CPU engine, which cannot serve this layer: {why}")
        self._layer = layer
        self._dtype = weight.dtype
        self._text = ""
        self.batch_size = batch_size
        self._make()
        self.reset()

    def _make(self) -> None:
        """Compile for the layer's options as they are now."""
        layer = self._layer
        self._text = layer._texts[False, False]
        output = layer.proj_size or layer.hidden_size
        double = self._dtype == torch.float64
        self._stepper = Stepper(
            parse(self._text), layer.input_size, layer.hidden_size, output, layer.num_layers, self.batch_size, double
        )
        self._x, self._y = self._stepper.x, self._stepper.y
        self._shape, self._out_shape = self._x.shape, self._y.shape
        self._run = self._stepper.step
        self._parameters = layer._parameters
        self._bind()

    def _bind(self) -> None:
        """Learn where the weights lie."""
        weights = [[w.detach() for w in own] for own in self._layer.all_weights]
        for own in weights:
            for w in own:
                if w.device.type != "cpu" or w.dtype != self._dtype:
                    raise RuntimeError(
                        f"the layer was moved to {w.device}, {w.dtype} while this stream ran; make a new stream"
                    )
                if not w.is_contiguous():
                    raise RuntimeError("a stream needs contiguous weights")
        self._stepper.bind(weights)
        self._seen = self._places()

    def _places(self) -> list[int]:
        return [p.data_ptr() for p in self._parameters.values()]  # type: ignore[union-attr]

    def step(self, x: Array, out: Array | None = None) -> Array:
        """One time step.

        Args:
            x: (B, I), a NumPy array or a tensor.
            out: where the output goes; by default to a fresh array of x's kind.

        Returns:
            The output, (B, H).
        """
        if [p.data_ptr() for p in self._parameters.values()] != self._seen or (  # type: ignore[union-attr]
            self._layer._texts[False, False] is not self._text
        ):
            self._refresh()
        kind = type(x)
        if kind is np.ndarray:
            if x.shape != self._shape:
                raise self._wrong(x)
            self._x[...] = x
            self._run()
            if out is None:
                return self._y.copy()  # type: ignore[return-value]
            if type(out) is not np.ndarray or out.shape != self._out_shape:
                raise self._wrong_out(out)
            out[...] = self._y
            return out
        if not isinstance(x, Tensor):
            raise TypeError(f"x must be a NumPy array or a tensor, got {kind.__name__}")
        if x.shape != self._shape or x.device.type != "cpu":
            raise self._wrong(x)
        self._x[...] = x.detach().numpy()
        self._run()
        if out is None:
            return torch.from_numpy(self._y.copy())
        if not isinstance(out, Tensor) or out.shape != self._out_shape or out.device.type != "cpu":
            raise self._wrong_out(out)
        out.detach().numpy()[...] = self._y
        return out

    def _refresh(self) -> None:
        """Follow the layer, whose weights lie elsewhere now or whose options have changed."""
        if self._layer._texts[False, False] is self._text:
            self._bind()
            return
        state = self.state
        self._make()
        self.state = state

    def _wrong(self, x: Any) -> Exception:
        where = f" on {x.device}" if isinstance(x, Tensor) else ""
        return ValueError(
            f"x must be {tuple(self._shape)} (batch_size, input_size) on the CPU, got {tuple(x.shape)}{where}"
        )

    def _wrong_out(self, out: Any) -> Exception:
        given = tuple(out.shape) if hasattr(out, "shape") else out
        return ValueError(
            f"out must be {tuple(self._out_shape)} and of the kind of x, got {type(out).__name__} {given}"
        )

    @property
    def state(self) -> State:
        """The state as the layer returns it, (layers, B, H), a tuple where there are several; set it to resume."""
        count = len(self._stepper.layers)
        columns = zip(*(self._stepper.states(k) for k in range(count)))
        found = tuple(torch.from_numpy(np.stack(column)) for column in columns)
        return found[0] if len(found) == 1 else found

    @state.setter
    def state(self, value: State) -> None:
        given = checks.state_tensors(value, self._layer._states)
        checks.state_shapes(given, self._layer._state_shapes(self.batch_size), batched=True)
        for k in range(len(self._stepper.layers)):
            for own, new in zip(self._stepper.states(k), given):
                own[...] = new[k].detach().to(self._dtype).cpu().numpy()

    def reset(self, rows: Sequence[int] | np.ndarray[Any, Any] | Tensor | None = None) -> None:
        """Return to the first state, zero or the learned one.

        Args:
            rows: which sequences, by their numbers or as a mask (B,) of bools; by default all.
        """
        which: Any = slice(None)
        if rows is not None:
            which = np.asarray(rows)
            if which.dtype == bool and which.shape != (self.batch_size,):
                raise ValueError(f"rows must be numbers or a mask ({self.batch_size},), got a mask {which.shape}")
            if which.dtype != bool:
                if which.size and not np.issubdtype(which.dtype, np.integer):
                    raise TypeError(f"rows must be whole numbers or bools, got {which.dtype}")
                which = which.astype(np.int64)
                if which.size and not (-self.batch_size <= which.min() and which.max() < self.batch_size):
                    raise IndexError(f"rows must lie below batch_size, {self.batch_size}; got {which.tolist()}")
        home = self._layer._learned_state()
        for k in range(len(self._stepper.layers)):
            for s, own in enumerate(self._stepper.states(k)):
                own[which] = home[s][k].detach().numpy() if home else 0

    def __repr__(self) -> str:
        return f"Stream({self._layer!r}, batch_size={self.batch_size})"
