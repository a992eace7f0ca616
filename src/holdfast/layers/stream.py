"""The streaming contract: one time step in, one output out, in microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from holdfast.engines import llvm
from holdfast.engines.llvm.precision import INT8, of
from holdfast.engines.llvm.stream import Stepper
from holdfast.engines.tensors import readable
from holdfast.language import parse

from . import checks
from .tracing import State

if TYPE_CHECKING:
    from .recurrent import Recurrent

_address = Tensor.data_ptr
_room = torch.UntypedStorage.nbytes


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; for one made in inference mode, PyTorch does not count."""
    return 0 if tensor.is_inference() else tensor._version


def _folded(tensor: Tensor) -> bool:
    """Whether several entries lie in one place, as those of an expanded tensor do."""
    return any(stride == 0 and size > 1 for size, stride in zip(tensor.shape, tensor.stride()))


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
        int8: whether to keep the weights in 8 bits, each row with a scale of its own: a step then reads a quarter of
            the bytes, and its results are a little off; `holdfast.explain(stream)` says how much. A change to the
            layer's weights that PyTorch does not see, such as one through `.data`, is then not followed.
    """

    def __init__(self, layer: Recurrent, batch_size: int = 1, int8: bool = False) -> None:
        checks.whole("batch_size", batch_size)
        if layer.bidirectional:
            raise ValueError("a bidirectional layer cannot stream: its second direction begins at the end")
        weight = layer.all_weights[0][0]
        why = llvm.refusal(weight.device, weight.dtype)
        if why is None and weight.dtype not in (torch.float32, torch.float64):
            kind = str(weight.dtype).removeprefix("torch.")
            why = f"it computes single steps in float32 and float64, the layer is in {kind}"
        if why is not None:
            raise ValueError(f"a stream runs on the compiled CPU engine, which cannot serve this layer: {why}")
        if int8 and weight.dtype != torch.float32:
            raise ValueError(f"int8 weights stand for float32 ones; the layer is in {weight.dtype}")
        self._layer = layer
        self._dtype = weight.dtype
        self.int8 = int8
        self.batch_size = batch_size
        self._follow()
        self.reset()

    @property
    def layer(self) -> Recurrent:
        """The layer that it runs."""
        return self._layer

    def _follow(self) -> None:
        """Compile for the layer's options as they are now, and learn where its weights lie."""
        layer = self._layer
        text = layer._texts[False, False]
        weights = self._weights()
        output = layer.proj_size or layer.hidden_size
        stepper = Stepper(
            parse(text),
            layer.input_size,
            layer.hidden_size,
            output,
            layer.num_layers,
            self.batch_size,
            INT8 if self.int8 else of(self._dtype),
        )
        stepper.bind(weights)
        self._text, self._stepper = text, stepper
        self._x, self._y, self._run = stepper.x, stepper.y, stepper.step
        self._kind: Any = stepper.y.dtype
        self._shape, self._out_shape = stepper.x.shape, stepper.y.shape
        self._remember()

    def _weights(self) -> list[list[Tensor]]:
        """The layer's weights, if a stream can read them where they lie."""
        found = [[w.detach() for w in own] for own in self._layer.all_weights]
        for w in (w for own in found for w in own):
            if w.device.type != "cpu" or w.dtype != self._dtype:
                raise RuntimeError(
                    f"the layer is on {w.device} in {w.dtype} now, this stream runs on the CPU in {self._dtype}: "
                    "make a new one"
                )
            if not w.is_contiguous():
                raise RuntimeError("a stream reads the weights where they lie, and needs them contiguous")
        return found

    def _moved(self) -> bool:
        """Whether weights lie elsewhere than when the kernels were told, or the layer has other options."""
        return (
            [*map(_address, self._own)] != self._at
            or [*map(_room, self._storages)] != self._rooms
            or len(self._layer._parameters) != len(self._all)
            or not all(map(is_, self._layer._parameters.values(), self._all))
            or self._layer._texts is not self._texts
            or (self._askew and not all(p.is_contiguous() for p in self._own))
            or self._computed
            or (self.int8 and [*map(_version, self._own)] != self._versions)
        )

    def _remember(self) -> None:
        """Remember where the weights lie; they are looked for again in each step if there may be no sign of a change.

        So it is with a weight that is computed from others: one that is parametrized, or pruned.
        """
        layer = self._layer
        names = [name for own in layer._all_weights for name in own]
        self._all = [*layer._parameters.values()]
        self._own = [p for name, p in layer._parameters.items() if p is not None and name in names]
        self._at = [*map(_address, self._own)]
        # They are held here, so at the same address lies the same storage; which may have been freed and made again.
        self._storages = [p.untyped_storage() for p in self._own]
        self._rooms = [*map(_room, self._storages)]
        self._versions = [*map(_version, self._own)]
        self._computed = len(self._own) < len(names)
        # Only a square weight can lie otherwise at the same address and keep its shape.
        self._askew = any(p.dim() == 2 and p.shape[0] == p.shape[1] for p in self._own)
        self._texts = layer._texts

    def _refresh(self) -> None:
        """Follow the layer, whose weights lie elsewhere now or whose options have changed."""
        if self._layer._texts[False, False] == self._text:
            self._stepper.bind(self._weights())
            self._remember()
        else:
            state = self.state
            self._follow()
            self.state = state

    def step(self, x: Array, out: Array | None = None) -> Array:
        """One time step.

        Args:
            x: (B, I), a NumPy array or a tensor.
            out: where the output goes, of x's kind and the layer's dtype; by default to a fresh one.

        Returns:
            The output, (B, H).
        """
        if self._moved():
            self._refresh()
        of_numpy = isinstance(x, np.ndarray)
        if of_numpy:
            if x.shape != self._shape or (x.dtype is not self._kind and getattr(x.dtype, "kind", "") not in "fiub"):
                raise self._wrong("x", x, self._shape)
            target = None if out is None else self._array(out)
            self._x[...] = x
        else:
            values = self._tensor("x", x, self._shape)
            target = None if out is None else self._tensor("out", out, self._out_shape, self._dtype)
            self._x[...] = values
        self._run()
        if target is not None:
            target[...] = self._y
            return out  # type: ignore[return-value]
        found = self._y.copy()
        return found if isinstance(x, np.ndarray) else torch.from_numpy(found)

    def _array(self, out: Any) -> np.ndarray[Any, Any]:
        """An array that the output can be written to."""
        if (
            not isinstance(out, np.ndarray)
            or out.shape != self._out_shape
            or out.dtype != self._y.dtype
            or not out.flags.writeable
        ):
            raise self._wrong("out", out, self._out_shape)
        return out

    def _tensor(
        self, name: str, given: Any, shape: tuple[int, ...], dtype: torch.dtype | None = None
    ) -> np.ndarray[Any, Any]:
        """A tensor's values as an array: in the stream's dtype, or the tensor's own memory where that is asked for."""
        if not isinstance(given, Tensor):
            raise self._wrong(name, given, shape)
        plain = given.device.type == "cpu" and given.layout == torch.strided and not given.is_complex()
        if given.shape != shape or not plain or (dtype is not None and given.dtype != dtype):
            raise self._wrong(name, given, shape)
        own = readable(name, given)
        if dtype is not None and (own is not given or _folded(given)):
            raise self._wrong(name, given, shape)
        if dtype is None:
            given = own
            given = given if given.dtype == self._dtype else given.to(self._dtype)
        return given.detach().numpy()

    def _wrong(self, name: str, given: Any, shape: tuple[int, ...]) -> Exception:
        if not isinstance(given, np.ndarray | Tensor):
            return TypeError(f"{name} must be a NumPy array or a tensor, of one kind, got {type(given).__name__}")
        wanted = (
            "of real numbers"
            if name == "x"
            else f"of {self._dtype}, of x's kind, with a place for each, that can be written to"
        )
        where = f" on {given.device}" if isinstance(given, Tensor) else ""
        return ValueError(
            f"{name} must be a CPU array or tensor {tuple(shape)} {wanted}; "
            f"got {type(given).__name__} {tuple(given.shape)} of {given.dtype}{where}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self._layer, self.batch_size, self.int8, self.state)

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
        for name, tensor in zip(self._layer._states, given):
            if tensor.is_complex():
                raise TypeError(f"the state {name} must be of real numbers; got dtype {tensor.dtype}")
        given = [readable(f"the state {name}", t) for name, t in zip(self._layer._states, given)]
        columns = [t.detach().to(self._dtype).cpu().numpy() for t in given]
        for k in range(len(self._stepper.layers)):
            for own, new in zip(self._stepper.states(k), columns):
                own[...] = new[k]

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
                    raise TypeError(f"rows must be whole numbers or bools, got {which.dtype}: pass done.bool()")
                which = which.astype(np.int64)
                if which.size and not (-self.batch_size <= which.min() and which.max() < self.batch_size):
                    raise IndexError(f"rows must lie below batch_size, {self.batch_size}; got {which.tolist()}")
        learned = self._layer._learned_state()
        checks.state_shapes([h.unsqueeze(1) for h in learned], self._layer._state_shapes(1), batched=True)
        home = [readable(f"{name}_0", h).detach().numpy() for name, h in zip(self._layer._states, learned)]
        for k in range(len(self._stepper.layers)):
            for s, own in enumerate(self._stepper.states(k)):
                own[which] = home[s][k] if home else 0

    def __repr__(self) -> str:
        return f"Stream({self._layer!r}, batch_size={self.batch_size}{', int8=True' * self.int8})"


def _rebuilt(layer: Recurrent, batch_size: int, int8: bool, state: State) -> Stream:
    """A copy of a stream, on a copy of its layer."""
    stream = Stream(layer, batch_size, int8)
    stream.state = state
    return stream
