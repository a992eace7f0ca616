"""PyTorch's own recurrent kernels, oneDNN's and ATen's on a CPU, cuDNN's on a GPU: for plain cells only.

Which cell a program is, is told by its graph: a cell of one's own that computes what `torch.nn.LSTM` does counts as
one. In eager mode autograd records the call as any of PyTorch's (`run`). Inside the registered operator, which is what
torch.compile, torch.export and vmap see, nothing is saved, and the way back runs forward once more.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from holdfast import cells
from holdfast.language import Cell, Options, Program
from holdfast.language import trace as trace_cell
from holdfast.language.graph import Node
from holdfast.language.operations import COMMUTATIVE

from . import reference
from .gradients import Gradients
from .inputs import Inputs
from .tensors import Signature

__all__ = ["backward", "beside", "forward", "kernel", "refusal", "run", "saved_shapes"]

_KERNELS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "LSTM": torch._VF.lstm,
    "GRU": torch._VF.gru,
    "RNN with tanh": torch._VF.rnn_tanh,
    "RNN with relu": torch._VF.rnn_relu,
}


def refusal(
    program: Program, device: torch.device, dtype: torch.dtype, traced: bool, lengths: bool, reset: bool
) -> str | None:
    """Why these kernels cannot serve such a call; None if they can.

    Args:
        program: the traced cell.
        device, dtype: those of the input.
        traced: whether the states and the shown values of every step are wanted.
        lengths: whether lengths are given.
        reset: whether boundaries are given.
    """
    if device.type not in ("cpu", "cuda"):
        return f"it runs on the CPU and on CUDA devices, the input is on {device}"
    if device.type == "cpu" and dtype not in (torch.float32, torch.float64):  # states would be rounded at every step
        return f"on the CPU it computes in float32 and float64, the input is {str(dtype).removeprefix('torch.')}"
    asked = [name for name, given in (("trace", traced), ("lengths", lengths), ("reset", reset)) if given]
    if asked:
        return f"it takes a call without trace, lengths (a PackedSequence has them) and reset; given was {asked[0]}"
    others = beside(program)
    if others:
        return f"it takes a plain LSTM, GRU or RNN; this one has {', '.join(others)}"
    if kernel(program) is None:
        return (
            "it takes a plain LSTM, GRU or RNN (tanh or relu), with or without bias, the LSTM also with a projection; "
            f"the equations of this {program.cell} are others"
        )
    return None


def beside(program: Program) -> list[str]:
    """What a program has that PyTorch's layers have not, as far as it has a name."""
    named = {
        "layer_norm": program.layer_norm,
        f"heads={program.heads}": program.heads > 1,
        f"grad_clip={program.grad_clip:g}": program.grad_clip > 0,
        "recompute": program.recompute,
    }
    return [*(name for name, given in named.items() if given), *(m.name for m in program.masks)]


@functools.lru_cache(maxsize=512)
def kernel(program: Program) -> str | None:
    """Which of PyTorch's cells a program is, by name; None for any other."""
    if beside(program):
        return None
    options = Options(bias=program.bias, projection=program.projection)
    plain: dict[str, Cell] = {"LSTM": cells.LSTM()}
    if not program.projection:
        plain |= {"GRU": cells.GRU(), "RNN with tanh": cells.RNN("tanh"), "RNN with relu": cells.RNN("relu")}
    return next((name for name, cell in plain.items() if _alike(program, trace_cell(cell, options))), None)


def _alike(one: Program, other: Program) -> bool:
    """Whether two programs compute the same from the same tensors, whatever they call it and in whatever order.

    `other` is plain: it learns the tensors of PyTorch's layers and no more.
    """
    if len(one.gates) != len(other.gates) or len(one.states) != len(other.states):
        return False
    if one.parameters or len(one.weights) > 1 or one.weights[0].gates != one.gates:
        return False

    def label(program: Program, node: Node) -> object:
        if node.op == "state":
            return program.states.index(node.label)
        if node.op in ("input", "product"):
            return program.gates.index(node.label.split()[-1])
        return node.label

    @functools.cache
    def same(a: int, b: int) -> bool:
        mine, yours = one.nodes[a], other.nodes[b]
        if mine.op != yours.op or label(one, mine) != label(other, yours):
            return False
        orders = [mine.args, mine.args[::-1]] if mine.op in COMMUTATIVE else [mine.args]
        return any(all(map(same, order, yours.args)) for order in orders)

    return all(map(same, one.results, other.results))


def run(program: Program, inputs: Inputs) -> list[Tensor]:
    """The output and the final states of an untraced run over whole sequences, differentiable by autograd."""
    name = kernel(program)
    if name is None:
        raise NotImplementedError(f"engine='vendor' takes plain cells only, not this {program.cell}")
    if inputs.x.numel() == 0:  # of a batch of none
        return reference.run(program, inputs, trace=False)
    x = inputs.x.flip(0) if inputs.reverse else inputs.x
    state = [s.unsqueeze(0).contiguous() for s in inputs.state]
    weights = list(inputs.weights)
    if x.is_cuda and not program.projection:
        weights = _in_one_piece(weights)
    train = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *state, *weights))
    settings: Any = (program.bias, 1, 0.0, train, False, False)  # biases, layers, dropout, …, directions, batch first
    autocast = torch.is_autocast_enabled(x.device.type)
    with torch.autocast(x.device.type, enabled=False) if autocast else contextlib.nullcontext():
        output, *final = _KERNELS[name](x, state if len(state) > 1 else state[0], weights, *settings)
    return [output.flip(0) if inputs.reverse else output, *(s.squeeze(0) for s in final)]


def _in_one_piece(weights: list[Tensor]) -> list[Tensor]:
    """The same as parts of one tensor, laid out as cuDNN has them: matrices, then both biases, zeros if there are none.

    Weights in several pieces PyTorch would join itself at every call, but warn about it.
    """
    parts = [w.reshape(-1) for w in weights]
    if len(weights) == 2:
        parts.append(parts[0].new_zeros(2 * weights[0].shape[0]))
    whole = torch.cat(parts)
    return [part.view(w.shape) for part, w in zip(whole.split([p.numel() for p in parts]), weights)]


def saved_shapes(program: Program, inputs: Inputs, trace: bool) -> list[tuple[tuple[Any, ...], torch.dtype]]:
    """Nothing is saved."""
    return []


def forward(signature: Signature, inputs: Inputs, trace: bool, save: bool) -> tuple[list[Tensor], list[Tensor]]:
    """The output and the final states; nothing is saved for `backward`."""
    with torch.no_grad():
        return run(signature.program, inputs), []


def backward(
    signature: Signature,
    inputs: Inputs,
    saved: Sequence[Tensor],
    output: Tensor | None,
    final: Sequence[Tensor | None],
    traced: Sequence[Tensor | None],
    trace: bool,
    need_x: bool,
) -> Gradients:
    """Back through a run, by running forward once more; the arguments as in `holdfast.engines.reference.backward`."""
    below = torch._C.DispatchKey.AutogradFunctionality  # the operator runs below autograd, which must record here
    with torch.enable_grad(), torch._C._SetExcludeDispatchKeyGuard(below, False):
        state = [s.detach().requires_grad_() for s in inputs.state]
        weights = [w.detach().requires_grad_() for w in inputs.weights]
        x = inputs.x.detach().requires_grad_(need_x)
        results = run(signature.program, inputs._replace(x=x, state=state, weights=weights))
        pairs = [(r, g) for r, g in zip(results, [output, *final]) if g is not None]
        read = [*state, *weights, *([x] if need_x else [])]
        found = torch.autograd.grad(
            [r for r, _ in pairs], read, [g for _, g in pairs], allow_unused=True, materialize_grads=True
        )
    to_state, to_weights = found[: len(state)], found[len(state) : len(state) + len(weights)]
    return Gradients(found[-1] if need_x else None, list(to_state), [], list(to_weights))
