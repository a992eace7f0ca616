"""A cell's definition, and how it becomes a program: its step is run once on symbolic values."""

from __future__ import annotations

import inspect
import keyword
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import CodeType, FrameType, MappingProxyType
from typing import Any

from .errors import CellError, place_in, place_of, suggestion
from .graph import Graph, Node, pruned
from .operations import OPERATIONS
from .program import MAIN_WEIGHT, Mask, Parameter, Program, Weight
from .symbols import Operand, Value, leaf, number_of


class Cell:
    """The equations of a recurrent cell.

    A cell names its `gates` (each has rows in weight_ih and weight_hh) and its `states` (the first is the output), and
    says in `step` how the new states follow from the gates and the old states:

    >>> from holdfast.language import Cell, sigmoid, tanh, trace
    >>> class MinimalGatedUnit(Cell):
    ...     gates = ("f", "n")
    ...     states = ("h",)
    ...     def step(self, gate, state):
    ...         f = sigmoid(gate.f)
    ...         n = tanh(gate.n.input + f * gate.n.recurrent)
    ...         return (1 - f) * state.h + f * n
    >>> trace(MinimalGatedUnit()).gates
    ('f', 'n')

    Options of a cell are attributes of the object; a plain `if` on them is decided when the step is traced. A layer
    works with a copy of its own, whose attributes cannot be set: what was decided would not change with them.

    Attributes:
        gates: names of the gates.
        states: names of the states; the first is the output, and what the recurrent products read.
        layer_norm: set by a layer with that option. The gates are then normalised already when the step sees them; a
            cell with a memory should normalise what it shows of it (see `LSTM`).
        shows: which local variable of `step` a trace shows as a gate, where it has another name than the gate, or where
            the gate has no activation: `shows = {"r": "reset"}`, `shows = {"g": "g"}`; `shows = {"r": "gate.r"}` shows
            the gate before its activation.
    """

    gates: tuple[str, ...] = ()
    states: tuple[str, ...] = ("h",)
    layer_norm: bool = False
    shows: Mapping[str, str] = MappingProxyType({})
    _frozen: bool = False

    def __setattr__(self, name: str, value: Any) -> None:
        self._refuse_if_frozen(name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse_if_frozen(name)
        super().__delattr__(name)

    def __setstate__(self, state: Any) -> None:
        """Copies and pickles: what is frozen stays frozen."""
        for part in state if isinstance(state, tuple) else (state,):
            for name, value in (part or {}).items():
                object.__setattr__(self, name, value)

    def _refuse_if_frozen(self, name: str) -> None:
        if self._frozen:
            raise AttributeError(
                f"{name} of a {type(self).__name__} that a layer was made with is fixed: its step has been traced. "
                "Make another cell, and another layer with it"
            )

    @property
    def shown(self) -> tuple[str, ...]:
        """What a trace shows, by name: the gates, and what else `shows` names."""
        return (*self.gates, *(name for name in self.shows if name not in self.gates))

    def settings(self) -> dict[str, Any]:
        """The options of the constructor that are attributes too and are not at their defaults."""
        return {
            name: getattr(self, name)
            for name, option in inspect.signature(type(self)).parameters.items()
            if hasattr(self, name) and repr(getattr(self, name)) != repr(option.default)
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.settings().items())})"

    def step(self, gate: Gates, state: States) -> Any:
        """The new states, in the order of `states`: one value, or a tuple of as many as there are states."""
        raise CellError(f"{type(self).__name__} has no step method")


@dataclass(frozen=True)
class Options:
    """What a layer adds around any cell's step. The meaning of each is the layer's; see `Recurrent`."""

    bias: bool = True
    projection: bool = False
    heads: int = 1
    zoneout: tuple[float, float] = (0.0, 0.0)
    recurrent_dropout: float = 0.0
    grad_clip: float = 0.0
    recompute: bool = False


class GateValue(Value):
    """A gate's W x + U h + b, with its two parts."""

    __slots__ = ("_trace", "name")

    def __init__(self, trace: _Trace, name: str) -> None:
        self._trace = trace
        self.name = name
        total = self.input + self.recurrent
        super().__init__(trace.graph, total.index)

    @property
    def input(self) -> Value:
        """The input part, W x + b_ih."""
        return leaf(self._trace.graph, "input", self.name)

    @property
    def recurrent(self) -> Value:
        """The recurrent part, U h + b_hh."""
        return self._trace.product(self.name, leaf(self._trace.graph, "state", self._trace.cell.states[0]))


class Gates:
    """The gates of the step under trace, by name: `gate.i`, `gate.i.input`, `gate.i.recurrent`."""

    def __init__(self, trace: _Trace) -> None:
        self._trace = trace

    def __getattr__(self, name: str) -> GateValue:
        self._trace.note_frames()
        return GateValue(self._trace, self._trace.known_gate(name))


class States:
    """The states before the step under trace, by name: `state.c`."""

    def __init__(self, trace: _Trace) -> None:
        self._trace = trace

    def __getattr__(self, name: str) -> Value:
        self._trace.note_frames()
        states = self._trace.cell.states
        if name not in states:
            raise CellError(f"no state {name!r}; this cell has {', '.join(states)}{suggestion(name, states)}")
        return leaf(self._trace.graph, "state", name)


class Rows:
    """The named rows of a per-unit parameter: `p.i`."""

    def __init__(self, graph: Graph, parameter: Parameter) -> None:
        self._graph = graph
        self._parameter = parameter

    def __getattr__(self, name: str) -> Value:
        rows = self._parameter.rows
        if name not in rows:
            raise CellError(
                f"{self._parameter.name} has no row {name!r}; it has {', '.join(rows)}{suggestion(name, rows)}"
            )
        return leaf(self._graph, "parameter", f"{self._parameter.name}.{name}")


RESERVED_MASKS = ("zoneout_h", "zoneout_c", "recurrent_dropout")  # those of the options of the same names
RESERVED_WEIGHTS = (MAIN_WEIGHT, "weight_ih", "bias_ih", "bias_hh", "weight_hr", "weight_ln_x", "weight_ln_h")

_current: ContextVar[_Trace | None] = ContextVar("trace", default=None)


def _tracing(function: str) -> _Trace:
    trace = _current.get()
    if trace is None:
        raise CellError(f"{function} can be used only inside a cell's step")
    return trace


def parameter(name: str, rows: Iterable[str] = (), initial: float | None = None) -> Any:
    """Learned numbers, one for each unit, as in `p = parameter("weight_ch", "ifo")` and then `p.i * state.c`.

    Args:
        name: the parameter's name in the layer, where the layer's suffix (`_l0` …) is added.
        rows: names of the rows where there are several; without them the parameter itself is the value.
        initial: the value all entries start from; by default they are drawn like the layer's weights.

    Returns:
        A value, or an object with one value a row.

    >>> class Leaky(Cell):
    ...     gates = ("a",)
    ...     def step(self, gate, state):
    ...         return gate.a + parameter("weight_leak", initial=0.5) * state.h
    >>> [p.name for p in trace(Leaky()).parameters]
    ['weight_leak']
    """
    return _tracing("parameter").parameter(Parameter(name, tuple(rows), None if initial is None else float(initial)))


def mask(name: str, probability: float, per: str = "step") -> Value | float:
    """Random ones and zeros, one for each unit: 1 with the given probability, drawn by the layer in training.

    In evaluation it is its expectation, the probability itself.

    Args:
        name: what the mask is called.
        probability: of a one, between 0 and 1.
        per: "step" to draw at each step anew, "sequence" to draw once for the sequence.

    >>> class Noisy(Cell):
    ...     gates = ("a",)
    ...     def step(self, gate, state):
    ...         return mask("kept", 0.9) * gate.a
    >>> [m.name for m in trace(Noisy(), training=True).masks], trace(Noisy()).masks
    (['kept'], ())
    """
    if name in RESERVED_MASKS:
        raise CellError(f"mask: {name!r} is the name of a mask of the layer's own; choose another")
    return _tracing("mask").mask(name, probability, per, "units")


def recur(gate: GateValue | str, value: Value, weight: str = MAIN_WEIGHT) -> Value:
    """A recurrent product of a value the step has computed: U_gate · value, with b_hh if the weight is weight_hh.

    Args:
        gate: the gate whose rows of the weight are meant, as `gate.n` or by its name.
        value: what to multiply.
        weight: another recurrent weight; it gets rows for those gates it is used with, and no bias.

    >>> class Twice(Cell):
    ...     gates = ("a", "b")
    ...     def step(self, gate, state):
    ...         return gate.b.input + recur(gate.b, gate.a * state.h)
    >>> [group.gates for group in trace(Twice()).groups]
    [('a',), ('b',)]
    """
    trace = _tracing("recur")
    name = gate.name if isinstance(gate, GateValue) else gate
    return trace.product(trace.known_gate(name), Value(trace.graph, number_of(trace.graph, value)), weight)


class _Trace:
    """The state of one run of a step on symbolic values."""

    def __init__(self, cell: Cell, options: Options, training: bool) -> None:
        self.cell = cell
        self.options = options
        self.training = training
        self.graph = Graph()
        self.parameters: dict[str, Parameter] = {}
        self.masks: dict[str, Mask] = {}
        self.extra_weights: dict[str, list[str]] = {}
        self.frames: list[FrameType] = []

    def known_gate(self, name: object) -> str:
        gates = self.cell.gates
        if not isinstance(name, str) or name not in gates:
            shown = repr(name) if isinstance(name, str) else type(name).__name__
            raise CellError(f"no gate {shown}; this cell has {', '.join(gates)}{suggestion(str(name), gates)}")
        return name

    def parameter(self, wanted: Parameter) -> Value | Rows:
        for name in (wanted.name, *wanted.rows):
            if not name.isidentifier():
                raise CellError(f"parameter: {name!r} is not a name")
        self.check_free("parameter", wanted.name, self.extra_weights)
        known = self.parameters.setdefault(wanted.name, wanted)
        if known != wanted:
            raise CellError(f"parameter {wanted.name!r} was declared before as {known}, now as {wanted}")
        return Rows(self.graph, wanted) if wanted.rows else leaf(self.graph, "parameter", wanted.name)

    def mask(self, name: str, probability: float, per: str, wide: str) -> Value | float:
        if not name.isidentifier():
            raise CellError(f"mask: {name!r} is not a name")
        if not isinstance(probability, int | float) or not 0 <= probability <= 1:
            raise CellError(f"mask {name!r}: the probability must lie between 0 and 1, got {probability!r}")
        if per not in ("step", "sequence"):
            raise CellError(f"mask {name!r}: per must be 'step' or 'sequence', got {per!r}")
        if not self.training or probability in (0, 1):
            return float(probability)
        wanted = Mask(name, float(probability), per, wide)
        if self.masks.setdefault(name, wanted) != wanted:
            raise CellError(f"mask {name!r} was declared before as {self.masks[name]}, now as {wanted}")
        return leaf(self.graph, "mask", name)

    def product(self, gate: str, value: Value, weight: str = MAIN_WEIGHT) -> Value:
        """A recurrent product; recurrent dropout acts on what feeds it."""
        if weight != MAIN_WEIGHT:
            if not weight.isidentifier():
                raise CellError(f"recur: {weight!r} is not a name")
            self.check_free("recur", weight, self.parameters)
            rows = self.extra_weights.setdefault(weight, [])
            if gate not in rows:
                rows.append(gate)
        dropped = self.options.recurrent_dropout
        if dropped:
            keep = 1 - dropped
            value = value * (self.mask("recurrent_dropout", keep, "sequence", "output") / keep)
        return Value(self.graph, self.graph.add("product", [value.index], f"{weight} {gate}"))

    def check_free(self, function: str, name: str, others: Container[str]) -> None:
        """A learned tensor must not be called like one that every layer has, or like one of another kind."""
        if name in RESERVED_WEIGHTS or name in others:
            raise CellError(f"{function}: there is another learned tensor of the name {name!r}")

    def note_frames(self) -> None:
        """Remember the frames of the step and of what it calls, to learn later what the author called the values."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_code is not _RUN_STEP:
            if frame not in self.frames:
                self.frames.append(frame)
            frame = frame.f_back

    def place(self) -> str:
        """The step's last line that ran, or else the line of its definition."""
        step = inspect.unwrap(type(self.cell).step)
        for frame in self.frames:
            if frame.f_code is step.__code__:
                return place_in(frame)
        return place_of(step.__code__, step.__code__.co_firstlineno)

    def locals(self) -> dict[str, int]:
        """The named values of the step: the outermost frame's word counts before those it called."""
        found: dict[str, int] = {}
        shown = {self.cell.shows.get(name, name) for name in self.cell.shown}
        frames = sorted(self.frames, key=_depth)
        for frame in frames:
            for name, value in frame.f_locals.items():
                if isinstance(value, Value) and value.graph is self.graph:
                    found.setdefault(name, value.index)
                elif name in shown and isinstance(value, int | float):  # a gate that is always the same
                    found.setdefault(name, self.graph.constant(value))
        return found


def _depth(frame: FrameType) -> int:
    depth, outer = 0, frame.f_back
    while outer is not None:
        depth, outer = depth + 1, outer.f_back
    return depth


def _run_step(trace: _Trace) -> Any:
    return trace.cell.step(Gates(trace), States(trace))


_RUN_STEP: CodeType = _run_step.__code__


def trace(cell: Cell, options: Options = Options(), *, training: bool = False, shown: bool = False) -> Program:
    """Run a cell's step on symbolic values and return what it does.

    Args:
        cell: the cell.
        options: what the layer adds around the step.
        training: whether masks are drawn, or replaced by their expectation.
        shown: whether the program also gives the values that a layer's trace shows; some are computed for that alone.

    >>> class Sum(Cell):
    ...     gates = ("a",)
    ...     def step(self, gate, state):
    ...         return gate.a + state.h
    >>> [node.op for node in trace(Sum()).nodes]
    ['input', 'state', 'product', 'add', 'add']
    """
    _check_names(cell)
    work = _Trace(cell, options, training)
    token = _current.set(work)
    try:
        returned = _run_step(work)
        raw = _returned_states(work, returned)
        results = _surrounded(work, raw)
    finally:
        _current.reset(token)
    return _program(work, raw, results, shown)


def _check_names(cell: Cell) -> None:
    step = type(cell).step
    place = place_of(step.__code__, step.__code__.co_firstlineno) if hasattr(step, "__code__") else ""
    for kind, names in (("gates", cell.gates), ("states", cell.states)):
        if not isinstance(names, tuple) or not names:
            raise CellError(f"{kind} must be a tuple of at least one name, got {names!r}", place)
        for name in names:
            if not (isinstance(name, str) and name.isidentifier()) or keyword.iskeyword(name) or name.startswith("_"):
                raise CellError(f"{kind}: {name!r} is not a name", place)
        if len(set(names)) < len(names):
            raise CellError(f"{kind} names something twice: {', '.join(names)}", place)
    sums = {f"gate.{gate}" for gate in cell.gates}
    if not isinstance(cell.shows, Mapping) or not all(
        isinstance(name, str)
        and name.isidentifier()
        and isinstance(value, str)
        and (value.isidentifier() or value in sums)
        for name, value in cell.shows.items()
    ):
        raise CellError(
            "shows must say, by a gate's name, which local variable of the step is its value, or 'gate.…' for the gate "
            f"before its activation; got {cell.shows!r}",
            place,
        )


def _returned_states(trace: _Trace, returned: object) -> tuple[Value, ...]:
    states = trace.cell.states
    values = tuple(returned) if isinstance(returned, tuple | list) else (returned,)
    if len(values) != len(states):
        raise CellError(
            f"step must return {len(states)} value{'s' * (len(states) > 1)} ({', '.join(states)}), got {len(values)}",
            trace.place(),
        )
    for name, value in zip(states, values):
        if not isinstance(value, Value | int | float) or isinstance(value, bool):
            kind = "None (no return statement?)" if value is None else type(value).__name__
            raise CellError(f"step must return a value for the state {name!r}, got {kind}", trace.place())
    return tuple(Value(trace.graph, number_of(trace.graph, v)) for v in values)


def _surrounded(trace: _Trace, raw: tuple[Value, ...]) -> tuple[Value, ...]:
    """The new states with projection and zoneout around them."""
    output, *rest = raw
    if trace.options.projection:
        output = Value(trace.graph, trace.graph.add("project", [output.index]))
    results = []
    for position, (name, new) in enumerate(zip(trace.cell.states, (output, *rest))):
        probability = trace.options.zoneout[min(position, 1)]
        if probability:
            old = leaf(trace.graph, "state", name)
            kept, wide = ("zoneout_c", "units") if position else ("zoneout_h", "output")
            keep: Operand = trace.mask(kept, probability, "step", wide)
            new = keep * old + (1 - keep) * new
        results.append(new)
    return tuple(results)


def _program(trace: _Trace, raw: tuple[Value, ...], results: tuple[Value, ...], with_shown: bool) -> Program:
    cell = trace.cell
    local = trace.locals()
    names = cell.shown if with_shown else ()
    shown = {name: _shown_value(trace, local, name) for name in names}
    roots = [*(r.index for r in results), *shown.values()]
    nodes, place = pruned(trace.graph.nodes, roots)
    used = {node.label for node in nodes}
    weights = [Weight(MAIN_WEIGHT, cell.gates)]
    weights += [Weight(name, tuple(rows)) for name, rows in trace.extra_weights.items()]
    program = Program(
        cell=type(cell).__name__,
        gates=cell.gates,
        states=cell.states,
        nodes=nodes,
        results=tuple(place[r.index] for r in results),
        shown=tuple((name, place[index]) for name, index in shown.items()),
        names=_names(trace, local, place, nodes, raw, results),
        parameters=tuple(trace.parameters.values()),
        masks=tuple(m for m in trace.masks.values() if m.name in used),
        weights=tuple(weights),
        bias=trace.options.bias,
        layer_norm=cell.layer_norm,
        projection=trace.options.projection,
        heads=trace.options.heads,
        grad_clip=trace.options.grad_clip,
        recompute=trace.options.recompute,
    )
    try:
        program.widths  # noqa: B018  # computing them is the check
    except ValueError as error:
        raise CellError(str(error), trace.place()) from error
    return program


def _shown_value(trace: _Trace, local: Mapping[str, int], name: str) -> int:
    """What a trace shows by a name: a local variable of the step. That of a gate must come after its activation.

    What is to be shown of a gate is never guessed: before its activation it is another number.
    """
    cell = trace.cell
    variable = cell.shows.get(name, name)
    if variable.startswith("gate."):
        return GateValue(trace, variable.removeprefix("gate.")).index
    undeclared = name in cell.gates and name not in cell.shows
    way_out = (
        f"Give that name to the gate's value after its activation, or say what is to be shown: "
        f"shows = {{{name!r}: …}}, with the name of a local variable, or with 'gate.{name}' for the gate "
        "before its activation"
    )
    if variable not in local:
        known = f"it has {', '.join(local)}" if local else "it has none"
        raise CellError(
            f"a trace is to show {name!r}, but the step has no local variable {variable!r}; {known}"
            f"{suggestion(variable, local)}" + (f". {way_out}" if undeclared else ""),
            trace.place(),
        )
    if undeclared and not _activated(trace.graph.nodes, local[variable]):
        raise CellError(
            f"a trace is to show the gate {name!r}, but the local variable {name} is no gate after its activation. "
            f"{way_out}",
            trace.place(),
        )
    return local[variable]


_THROUGH = frozenset({"add", "sub", "neg", "mul", "div", "mean", "where", "minimum", "maximum", "clip"})


def _activated(nodes: Sequence[Node], index: int) -> bool:
    """Whether a value is computed, and every sum of inputs and recurrent products in it goes through a function."""
    if nodes[index].op not in (*OPERATIONS, "const"):
        return False
    to_see = [index]
    while to_see:
        node = nodes[to_see.pop()]
        args = node.args[1:] if node.op == "where" else node.args  # a condition is squashed: it is 0 or 1
        if node.op in ("input", "product"):
            return False
        bounded = node.op in ("minimum", "maximum", "clip") and any(nodes[a].op == "const" for a in args)
        if node.op in _THROUGH and not bounded:
            to_see += args
    return True


def _names(
    trace: _Trace,
    local: Mapping[str, int],
    place: Mapping[int, int],
    nodes: tuple[Any, ...],
    raw: tuple[Value, ...],
    results: tuple[Value, ...],
) -> tuple[tuple[str, int], ...]:
    """What to call the nodes in equations: the new states first, then what the author called the rest."""
    names: dict[int, str] = {}
    for state, result in zip(trace.cell.states, results):
        names.setdefault(place[result.index], state)
    for state, before, result in zip(trace.cell.states, raw, results):
        if before.index != result.index and before.index in place:
            names.setdefault(place[before.index], f"{state}_new")
    for name, index in local.items():
        if index in place and name not in trace.cell.states and nodes[place[index]].op in OPERATIONS:
            names.setdefault(place[index], name)
    return tuple((name, index) for index, name in sorted(names.items()))
