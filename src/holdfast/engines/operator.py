"""A whole sequence as one operator of PyTorch's, forward and backward, whatever the engine.

The operator is what torch.compile and torch.export see; its program travels as text. A functorch transform that
differentiates, or a forward-mode level, cannot go through such an operator (a tangent would silently be zero): such a
call goes to the differentiable reference run instead. A plain vmap runs the operator once per member.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._functorch import TransformType

from holdfast.language import Program, parse

from . import eager, llvm, reference, triton, vendor
from .choose import choose
from .compiling import constant, opaque
from .engine import Checked
from .inputs import Inputs, check_lengths
from .tensors import check_devices, checked, flat, signed

# By the name that the operator carries.
_ENGINES = {
    "reference": Checked(reference),
    "llvm": Checked(llvm),
    "triton": Checked(triton),
    "vendor": Checked(vendor),
}


class Outcome(NamedTuple):
    """What a run over a sequence gives.

    Attributes:
        output: (T, B, P); 0 past a length.
        final: the final state, one tensor a state.
        states: in a trace, the states after the first at every step, each (T, B, H); 0 past a length.
        shown: in a trace, the program's shown values at every step, each (T, B, H); 0 past a length.
    """

    output: Tensor
    final: list[Tensor]
    states: list[Tensor]
    shown: list[Tensor]


def run(text: str, inputs: Inputs, engine: str, shown: Sequence[str] | None = None) -> Outcome:
    """Run a program, given as text, over a sequence: by the operator, or differentiably under a transform.

    Args:
        text: the program.
        inputs: what it runs on.
        engine: the engine by name, as `choose` gave it.
        shown: the names of the program's shown values, if these and the states of every step are wanted.
    """
    trace, states = shown is not None, len(inputs.state)
    transforms = _transforms()
    if transforms.differentiate:
        return _outcome(_differentiably(text, inputs, trace), states, shown)
    tensors = flat(inputs)
    # Inside vmap a tensor does not tell whether its members require a gradient.
    save = torch.is_grad_enabled() and (transforms.any or True in [t.requires_grad for t in tensors])
    if engine != "reference" and not transforms.any and eager.possible(tensors):
        program = parse(text)
        if engine == "vendor":  # recorded by autograd as PyTorch's own layers are
            return _outcome(vendor.run(program, checked(program, inputs)[1]), states, shown)
        call = eager.Run(program, engine, _ENGINES[engine], trace, _gradients)
        return _outcome(eager.run(call, inputs, save), states, shown)
    _teach_flop_counter()
    save = save or _is_traced()  # whether its graph will be differentiated cannot be told
    results = recurrence(
        inputs.x,
        list(inputs.state),
        list(inputs.home),
        list(inputs.weights),
        list(inputs.masks),
        inputs.lengths,
        inputs.reset,
        text,
        engine,
        inputs.reverse,
        trace,
        save,
    )
    return _outcome(results, states, shown)


class _Transforms(NamedTuple):
    differentiate: bool
    any: bool


_NO_TRANSFORMS = _Transforms(False, False)


@constant
def _transforms() -> _Transforms:
    """Which transforms of torch.func are at work."""
    forward_mode = torch.autograd.forward_ad._current_level >= 0
    if not forward_mode and torch._C._functorch.peek_interpreter_stack() is None:
        return _NO_TRANSFORMS
    levels = [level.key() for level in torch._C._functorch.get_interpreter_stack() or ()]
    differentiate = forward_mode or TransformType.Grad in levels or TransformType.Jvp in levels
    return _Transforms(differentiate, forward_mode or bool(levels))


@constant
def _teach_flop_counter() -> None:
    """Let PyTorch's counter of operations know the operators; it is not imported, which takes half a second."""
    if "torch.utils.flop_counter" in sys.modules:
        from . import flops

        flops.teach_counters()


@constant
def _is_traced() -> bool:
    """Whether torch.jit.trace records the call."""
    return torch._C._get_tracing_state() is not None


def differentiates() -> bool:
    """Whether a differentiating transform of torch.func, or a forward-mode level, is at work."""
    return _transforms().differentiate


@opaque  # Dynamo cannot trace the run's bookkeeping
def _differentiably(text: str, inputs: Inputs, trace: bool) -> list[Tensor]:
    program = parse(text)
    signed(program, inputs, flat(inputs))
    check_lengths(inputs.lengths, inputs.x.shape[0])
    return reference.run(program, inputs, trace)


def _outcome(results: Sequence[Tensor], states: int, shown: Sequence[str] | None) -> Outcome:
    """The visible results of a run by name; what it saved may follow them."""
    final = 1 + states
    if shown is None:
        return Outcome(results[0], list(results[1:final]), [], [])
    traced = final + states - 1
    return Outcome(
        results[0], list(results[1:final]), list(results[final:traced]), list(results[traced : traced + len(shown)])
    )


def _visible(program: Program, trace: bool) -> int:
    """How many of the operator's results are for the caller; the saved ones follow."""
    return 1 + len(program.states) + (len(program.states) - 1 + len(program.shown) if trace else 0)


# A list that may be empty is `Tensor[]?`: a compiled package (AOTInductor) hands an empty list over as None.
_READ = "Tensor x, Tensor[] state, Tensor[]? home, Tensor[] weights, Tensor[]? masks, Tensor? lengths, Tensor? reset"
_SETTINGS = "str program, str engine, bool reverse, bool trace"


@torch.library.custom_op(
    "holdfast::recurrence", mutates_args=(), schema=f"({_READ}, {_SETTINGS}, bool save) -> Tensor[]"
)
def recurrence(
    x: Tensor,
    state: Sequence[Tensor],
    home: Sequence[Tensor] | None,
    weights: Sequence[Tensor],
    masks: Sequence[Tensor] | None,
    lengths: Tensor | None,
    reset: Tensor | None,
    program: str,
    engine: str,
    reverse: bool,
    trace: bool,
    save: bool,
) -> list[Tensor]:
    """Run a program over a sequence; the arguments are `Inputs`' and `run`'s.

    Args:
        save: whether to return, last, what the backward pass needs.

    Returns:
        output, the final states, in a trace the other states and the shown values, and what is saved.
    """
    _refuse_forward_mode()
    _check_engine(engine, program, x, weights, lengths, reset, trace)
    inputs = Inputs(x, state, home or [], weights, masks or [], lengths, reset, reverse)
    with torch.autocast(x.device.type, enabled=False):
        visible, saved = _ENGINES[engine].forward(parse(program), inputs, trace, save)
    return _own([*visible, *saved], x, state, home, weights, masks)


def _check_engine(
    engine: str,
    program: str,
    x: Tensor,
    weights: Sequence[Tensor],
    lengths: Tensor | None,
    reset: Tensor | None,
    trace: bool,
) -> None:
    """The engine must be able to serve such a call: an exported program may have been moved."""
    given = {"lengths": lengths is not None, "reset": reset is not None}
    hidden = weights[0].shape[0] // len(parse(program).gates)
    choose(engine, program, x.device, x.dtype, hidden, traced=trace, **given)


def _own(results: Sequence[Tensor], *given: Tensor | Sequence[Tensor] | None) -> list[Tensor]:
    """The results as an operator may return them: none shares memory with an argument or another, none is a view."""
    tensors = [t for t in torch.utils._pytree.tree_leaves(given) if isinstance(t, Tensor)]
    taken = {t.untyped_storage().data_ptr() for t in tensors if not t._is_zerotensor()}  # a zero tensor has no memory
    taken.discard(0)  # of empty tensors
    own = []
    for result in results:
        if result.untyped_storage().data_ptr() in taken:
            result = result.clone(memory_format=torch.contiguous_format)
        elif result._is_view():  # some of PyTorch's operations end with a view, and views must not be changed in place
            result = result.data
        taken.add(result.untyped_storage().data_ptr() or -1)
        own.append(result)
    return own


def _refuse_forward_mode() -> None:
    """The operators have no forward mode; PyTorch would leave the tangent out and say nothing."""
    if torch.autograd.forward_ad._current_level >= 0:
        raise NotImplementedError(
            "holdfast's operators have no forward-mode derivative: under jvp or a dual level call the layer itself, "
            "not an exported or compiled program made from it"
        )


@recurrence.register_fake
def _(
    x: Tensor,
    state: Sequence[Tensor],
    home: Sequence[Tensor] | None,
    weights: Sequence[Tensor],
    masks: Sequence[Tensor] | None,
    lengths: Tensor | None,
    reset: Tensor | None,
    program: str,
    engine: str,
    reverse: bool,
    trace: bool,
    save: bool,
) -> list[Tensor]:
    check_devices(x, [*state, *(home or []), *weights, *(masks or []), lengths, reset])
    parsed = parse(program)
    inputs = Inputs(x, state, home or [], weights, masks or [], lengths, reset, reverse)
    steps, batch, hidden = x.shape[0], x.shape[1], weights[0].shape[0] // len(parsed.gates)
    results = [x.new_empty(steps, batch, state[0].shape[-1])]
    results += [x.new_empty(s.shape) for s in state]
    if trace:
        results += [x.new_empty(steps, batch, hidden) for _ in range(_visible(parsed, True) - len(results))]
    if save:
        results += [x.new_empty(s, dtype=dtype) for s, dtype in _ENGINES[engine].saved_shapes(parsed, inputs, trace)]
    return results


@torch.library.custom_op(
    "holdfast::recurrence_backward",
    mutates_args=(),
    schema=f"(Tensor[]? gradients, bool[] given, {_READ}, Tensor[]? saved, {_SETTINGS}, bool need_x) -> Tensor[]",
)
def recurrence_backward(
    gradients: Sequence[Tensor] | None,
    given: Sequence[bool],
    x: Tensor,
    state: Sequence[Tensor],
    home: Sequence[Tensor] | None,
    weights: Sequence[Tensor],
    masks: Sequence[Tensor] | None,
    lengths: Tensor | None,
    reset: Tensor | None,
    saved: Sequence[Tensor] | None,
    program: str,
    engine: str,
    reverse: bool,
    trace: bool,
    need_x: bool,
) -> list[Tensor]:
    """The way back through `recurrence`.

    Args:
        gradients: those of the visible results that are not zero.
        given: for each visible result, whether there is one.
        saved: what `recurrence` saved.
        need_x: whether the gradient of x is wanted; without it there is an empty tensor in its place.

    Returns:
        The gradients of x, state, home and weights.
    """
    _refuse_forward_mode()
    _check_engine(engine, program, x, weights, lengths, reset, trace)
    parsed = parse(program)
    inputs = Inputs(x, state, home or [], weights, masks or [], lengths, reset, reverse)
    states = len(parsed.states)
    gradients = gradients or []
    if len(given) != _visible(parsed, trace) or sum(given) != len(gradients):
        raise ValueError(
            f"given must say of each of the {_visible(parsed, trace)} visible results whether there is a gradient, and "
            f"gradients hold those; got {len(given)} that name {sum(given)}, and {len(gradients)} gradients"
        )
    arrived = iter(gradients)
    [output], final, traced = _split([next(arrived) if was else None for was in given], [1, states])
    with torch.autocast(x.device.type, enabled=False):
        found = _ENGINES[engine].backward(parsed, inputs, saved or [], output, final, traced, trace, need_x)
    to_x = x.new_empty(0) if found.x is None else found.x
    return _own([to_x, *found.state, *found.home, *found.weights], gradients, x, state, home, weights, saved)


@recurrence_backward.register_fake
def _(
    gradients: Sequence[Tensor] | None,
    given: Sequence[bool],
    x: Tensor,
    state: Sequence[Tensor],
    home: Sequence[Tensor] | None,
    weights: Sequence[Tensor],
    masks: Sequence[Tensor] | None,
    lengths: Tensor | None,
    reset: Tensor | None,
    saved: Sequence[Tensor] | None,
    program: str,
    engine: str,
    reverse: bool,
    trace: bool,
    need_x: bool,
) -> list[Tensor]:
    lists = (gradients or [], state, home or [], weights, masks or [], saved or [])
    check_devices(x, [*(t for tensors in lists for t in tensors), lengths, reset])
    to_x = x.new_empty(x.shape) if need_x else x.new_empty(0)
    return [to_x, *(t.new_empty(t.shape) for t in (*state, *(home or []), *weights))]


def _setup_forward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, state, home, weights, masks, lengths, reset, program, engine, reverse, trace, save = inputs
    visible = _visible(parse(program), trace)
    ctx.absent = home is None, masks is None
    home, masks = home or (), masks or ()
    ctx.save_for_backward(x, *state, *home, *weights, *masks, lengths, reset, *output[visible:])
    ctx.counts = [1, len(state), len(home), len(weights), len(masks), 1, 1]
    ctx.visible = visible
    ctx.save = save
    ctx.settings = program, engine, reverse, trace
    ctx.set_materialize_grads(False)


def _split(tensors: Sequence[Any], counts: Sequence[int]) -> list[list[Any]]:
    """The tensors in runs of the given lengths, and the rest."""
    parts, start = [], 0
    for count in counts:
        parts.append(list(tensors[start : start + count]))
        start += count
    return [*parts, list(tensors[start:])]


def _backward_of_forward(ctx: Any, gradients: Sequence[Tensor | None]) -> tuple[Any, ...]:
    [x], state, home, weights, masks, [lengths], [reset], saved = _split(ctx.saved_tensors, ctx.counts)
    program, engine, reverse, trace = ctx.settings
    inputs = Inputs(x, state, home, weights, masks, lengths, reset, reverse)
    if not ctx.save:  # a graph that was made of a frozen layer: nobody knew that its input would want a gradient
        again = recurrence(x, state, home, weights, masks, lengths, reset, program, engine, reverse, trace, True)
        saved = again[ctx.visible :]
    found = _gradients(program, engine, inputs, saved, gradients[: ctx.visible], trace, ctx.needs_input_grad[0])
    [to_x], to_state, to_home, to_weights, _ = _split(found, [1, len(state), len(home), len(weights)])
    home_or_none, masks_or_none = _formed([to_home, [None] * len(masks)], ctx.absent)
    return to_x, to_state, home_or_none, to_weights, masks_or_none, *[None] * 7


def _formed(gradients: Sequence[list[Any]], absent: Sequence[bool]) -> list[list[Any] | None]:
    """The gradients of lists as autograd wants them: None for a list that was None."""
    return [None if was_none else found for found, was_none in zip(gradients, absent)]


def _gradients(
    program: str,
    engine: str,
    inputs: Inputs,
    saved: Sequence[Tensor],
    arriving: Sequence[Tensor | None],
    trace: bool,
    need_x: bool,
) -> Sequence[Tensor | None]:
    """The gradients of x, state, home and weights, by the operator; differentiable themselves."""
    if any(g is not None and eager.beyond_operators(g) for g in arriving):
        return _gradients_by_reference(program, inputs, trace, arriving)
    _teach_flop_counter()
    to_x, *others = recurrence_backward(
        [g for g in arriving if g is not None],
        [g is not None for g in arriving],
        inputs.x,
        list(inputs.state),
        list(inputs.home),
        list(inputs.weights),
        list(inputs.masks),
        inputs.lengths,
        inputs.reset,
        list(saved),
        program,
        engine,
        inputs.reverse,
        trace,
        need_x,
    )
    return to_x if need_x else None, *others


def _gradients_by_reference(
    program: str, inputs: Inputs, trace: bool, arriving: Sequence[Tensor | None]
) -> Sequence[Tensor]:
    """The gradients of x, state, home and weights by autograd through the reference run."""
    with torch.enable_grad():
        read = [inputs.x, *inputs.state, *inputs.home, *inputs.weights]
        read = [t.detach().requires_grad_() for t in read]
        [x], state, home, weights, _ = _split(read, [1, len(inputs.state), len(inputs.home), len(inputs.weights)])
        outputs = reference.run(parse(program), inputs._replace(x=x, state=state, home=home, weights=weights), trace)
        return _vector_jacobian(outputs, read, arriving, create_graph=False)


def _vector_jacobian(
    outputs: Sequence[Tensor], read: Sequence[Tensor], arriving: Sequence[Tensor | None], create_graph: bool = True
) -> Sequence[Tensor]:
    """The gradients of what was read, zeros where nothing depends on it; an output may be a constant."""
    pairs = [(o, g) for o, g in zip(outputs, arriving) if g is not None and o.requires_grad]
    if not pairs:
        return [torch.zeros_like(t) for t in read]
    of, along = zip(*pairs)
    return torch.autograd.grad(of, read, along, create_graph=create_graph, materialize_grads=True)


recurrence.register_autograd(_backward_of_forward, setup_context=_setup_forward)


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    gradients, given, x, state, home, weights, masks, lengths, reset, saved, *settings = inputs
    program, engine, reverse, trace, need_x = settings
    ctx.absent = [tensors is None for tensors in (gradients, home, masks, saved)]
    gradients, home, masks, saved = (tensors or () for tensors in (gradients, home, masks, saved))
    ctx.save_for_backward(*gradients, x, *state, *home, *weights, *masks, lengths, reset)
    ctx.counts = [len(gradients), 1, len(state), len(home), len(weights), len(masks), 1]
    ctx.given = given
    ctx.saved = len(saved)
    ctx.settings = program, engine, reverse, trace, need_x
    ctx.set_materialize_grads(False)


def _backward_of_backward(ctx: Any, second: Sequence[Tensor | None]) -> tuple[Any, ...]:
    """Differentiate the gradients once more, by the differentiable reference run."""
    arrived, [x], state, home, weights, masks, [lengths], [reset] = _split(ctx.saved_tensors, ctx.counts)
    program, _, reverse, trace, need_x = ctx.settings
    again = torch.is_grad_enabled()  # a third derivative is wanted: stay connected to what was given

    def own(tensor: Tensor) -> Tensor:
        """A stand-in to differentiate by: what led to one argument must not count as a path to another."""
        return tensor.view_as(tensor) if again and tensor.requires_grad else tensor.detach().requires_grad_()

    with torch.enable_grad():
        arrived = [own(g) for g in arrived]
        read = [own(t) for t in (x, *state, *home, *weights)]
        [x], state, home, weights, _ = _split(read, [1, len(state), len(home), len(weights)])
        inputs = Inputs(x, state, home, weights, masks, lengths, reset, reverse)
        outputs = [o for o, was in zip(reference.run(parse(program), inputs, trace), ctx.given) if was]
        first = _vector_jacobian(outputs, read, arrived)
        pairs = [
            (f, s) for k, (f, s) in enumerate(zip(first, second)) if s is not None and f.requires_grad and (k or need_x)
        ]
        found: Sequence[Tensor | None] = [None] * (len(read) + len(arrived))
        if pairs:
            firsts, seconds = zip(*pairs)
            found = torch.autograd.grad(firsts, [*read, *arrived], seconds, create_graph=again, allow_unused=True)
    [to_x], to_state, to_home, to_weights, to_arrived = _split(found, [1, len(state), len(home), len(weights)])
    lists = [to_arrived, to_home, [None] * len(masks), [None] * ctx.saved]
    arrived_or_none, home_or_none, masks_or_none, saved_or_none = _formed(lists, ctx.absent)
    along = to_x, to_state, home_or_none, to_weights, masks_or_none
    return arrived_or_none, None, *along, None, None, saved_or_none, *[None] * 5


recurrence_backward.register_autograd(_backward_of_backward, setup_context=_setup_backward)


def _per_member(function: Any) -> Any:
    """How plain vmap runs an operator: once per member, on that member's slices."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[list[Tensor], list[int]]:
        def member(value: Any, dim: Any, k: int) -> Any:
            if isinstance(value, list | tuple):
                return [member(v, d, k) for v, d in zip(value, dim)]
            return value if dim is None or not isinstance(value, Tensor) else value.select(dim, k)

        results = [function(*(member(a, d, k) for a, d in zip(args, in_dims))) for k in range(info.batch_size)]
        return [torch.stack(column) for column in zip(*results)], [0] * len(results[0])

    return rule


recurrence.register_vmap(_per_member(recurrence))
recurrence_backward.register_vmap(_per_member(recurrence_backward))
