"""Recurrent layers as plain loops: one sequence at a time, one step at a time, on vectors.

Nothing here is batched, masked or padded. A sequence of the batch is cut out at its true length and run alone, so that
whatever a batched implementation does about padding can be compared with an implementation that has none. Gradients
are autograd's. Shapes: T steps, B sequences, I inputs, H units, P outputs (the projection, or H), G gates, L layers,
D directions.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

DIRECTION_SUFFIX = ("", "_reverse")


@dataclass(frozen=True)
class Setup:
    """What is computed: the cell's kind and its options."""

    kind: str  # rnn, lstm, gru, slstm, nig, nfg, nog, niaf, noaf, np, cifg or fgr
    hidden: int
    layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    projection: int = 0  # lstm and slstm only; 0 means none
    heads: int = 1
    peephole: bool = False  # lstm only
    coupled: bool = False  # lstm only
    layer_norm: bool = False
    cell_clip: float | None = None  # lstm only
    gate_activation: str = "sigmoid"
    activation: str = "tanh"
    reset_after: bool = True  # gru only
    forget_gate: str = "sigmoid"  # slstm only; or "exp"
    zoneout: tuple[float, float] = (0.0, 0.0)
    recurrent_dropout: float = 0.0
    training: bool = False

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def output(self) -> int:
        """The width P of h."""
        return self.projection or self.hidden

    @property
    def gates(self) -> str:
        """One letter for each block of H rows of the weights, in the order of the rows."""
        if self.kind == "lstm" and self.coupled:
            return "igo"
        return {"rnn": "h", "gru": "rzn", "nig": "fgo", "nfg": "igo", "nog": "ifg", "cifg": "igo"}.get(
            self.kind, "ifgo"
        )

    @property
    def peepholes(self) -> str:
        """One letter for each row of weight_ch, in the order of the rows."""
        if self.kind == "lstm":
            if not self.peephole:
                return ""
            return "io" if self.coupled else "ifo"
        table = {"nig": "fo", "nfg": "io", "nog": "if", "niaf": "ifo", "noaf": "ifo", "cifg": "io", "fgr": "ifo"}
        return table.get(self.kind, "")

    @property
    def states(self) -> str:
        """One letter for each state, in the order in which they are passed and returned."""
        return {"rnn": "h", "gru": "h", "slstm": "hcnm", "fgr": "hcifo"}.get(self.kind, "hc")

    def width(self, state: str) -> int:
        return self.output if state == "h" else self.hidden


@dataclass(frozen=True)
class Noise:
    """Everything random, drawn by the caller. A missing key means that nothing was drawn."""

    recurrent: dict[tuple[int, int], Tensor] = field(default_factory=dict)  # (layer, direction) -> (B, P) of 0 and 1
    zoneout_h: dict[tuple[int, int], Tensor] = field(default_factory=dict)  # -> (T, B, P), 1 keeps the old value
    zoneout_c: dict[tuple[int, int], Tensor] = field(default_factory=dict)  # -> (T, B, H), 1 keeps the old value
    weight: dict[str, Tensor] = field(default_factory=dict)  # weight's full name -> factor, already scaled
    dropout: dict[int, Tensor] = field(
        default_factory=dict
    )  # layer -> factor on its output (T, B, D*P), already scaled


@dataclass(frozen=True)
class StepNoise:
    """The part of the noise that one step of one sequence sees; None means that nothing was drawn."""

    recurrent: Tensor | None = None  # (P,)
    zoneout_h: Tensor | None = None  # (P,)
    zoneout_c: Tensor | None = None  # (H,)


# ---------------------------------------------------------------------------------------------------------------------
# Functions that the equations use
# ---------------------------------------------------------------------------------------------------------------------


def identity(v: Tensor) -> Tensor:
    return v


def softplus(v: Tensor) -> Tensor:
    """log(1 + e^v), which neither overflows nor turns into v beyond some threshold."""
    return torch.logaddexp(v, torch.zeros_like(v))


def hard_sigmoid(v: Tensor) -> Tensor:
    """PyTorch's: a straight line from 0 at -3 to 1 at 3."""
    return torch.clamp(v / 6 + 0.5, 0.0, 1.0)


def normalised(v: Tensor) -> Tensor:
    """A vector with mean 0 and variance 1."""
    centred = v - v.mean()
    return centred / torch.sqrt((centred * centred).mean() + 1e-5)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "identity": identity,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "softplus": softplus,
}


# ---------------------------------------------------------------------------------------------------------------------
# One step of one sequence in one layer and direction
# ---------------------------------------------------------------------------------------------------------------------


def recurrent_product(setup: Setup, weight: Tensor, h: Tensor) -> Tensor:
    """Multiply h with a matrix whose gates are block diagonal: a head's rows see the head's own part of h only."""
    rows, columns = setup.hidden // setup.heads, h.shape[0] // setup.heads
    pieces = []
    for gate in range(weight.shape[0] // setup.hidden):
        for head in range(setup.heads):
            first = gate * setup.hidden + head * rows
            block = weight[first : first + rows]  # (H/heads, P/heads)
            pieces.append(block @ h[head * columns : (head + 1) * columns])
    return torch.cat(pieces)  # (G*H,)


def masked(setup: Setup, state: Tensor, noise: StepNoise) -> Tensor:
    """What a recurrent product sees of a state: recurrent dropout, in training only."""
    if not setup.training or noise.recurrent is None:
        return state
    return state * noise.recurrent / (1.0 - setup.recurrent_dropout)


def input_part(setup: Setup, weights: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """X_k = W_k x + b_ih_k for every gate k."""
    product = weights["weight_ih"] @ x  # (G*H,)
    if setup.layer_norm:
        product = normalised(product) * weights["weight_ln_x"]
    if setup.bias:
        product = product + weights["bias_ih"]
    return dict(zip(setup.gates, product.split(setup.hidden)))  # each (H,)


def recurrent_part(setup: Setup, weights: dict[str, Tensor], h: Tensor) -> dict[str, Tensor]:
    """R_k = U_k h' + b_hh_k for every gate k, where h is already masked."""
    product = recurrent_product(setup, weights["weight_hh"], h)  # (G*H,)
    if setup.layer_norm:
        product = normalised(product) * weights["weight_ln_h"]
    if setup.bias:
        product = product + weights["bias_hh"]
    return dict(zip(setup.gates, product.split(setup.hidden)))  # each (H,)


def preactivations(
    setup: Setup, weights: dict[str, Tensor], x: Tensor, h: Tensor, noise: StepNoise
) -> dict[str, Tensor]:
    """pre_k = X_k + R_k for every gate k."""
    from_x = input_part(setup, weights, x)
    from_h = recurrent_part(setup, weights, masked(setup, h, noise))
    return {gate: from_x[gate] + from_h[gate] for gate in setup.gates}


def rnn_step(
    setup: Setup, weights: dict[str, Tensor], x: Tensor, states: list[Tensor], noise: StepNoise
) -> list[Tensor]:
    squash = ACTIVATIONS[setup.activation]
    return [squash(preactivations(setup, weights, x, states[0], noise)["h"])]


def gru_step(
    setup: Setup, weights: dict[str, Tensor], x: Tensor, states: list[Tensor], noise: StepNoise
) -> list[Tensor]:
    gated, squash = ACTIVATIONS[setup.gate_activation], ACTIVATIONS[setup.activation]
    (h,) = states
    if setup.reset_after:
        from_x = input_part(setup, weights, x)
        from_h = recurrent_part(setup, weights, masked(setup, h, noise))
        r = gated(from_x["r"] + from_h["r"])
        z = gated(from_x["z"] + from_h["z"])
        n = squash(from_x["n"] + r * from_h["n"])
    else:
        r, z, n = original_gru_gates(setup, weights, x, h, noise)
    return [(1 - z) * n + z * h]


def original_gru_gates(
    setup: Setup, weights: dict[str, Tensor], x: Tensor, h: Tensor, noise: StepNoise
) -> tuple[Tensor, Tensor, Tensor]:
    """The first published form, where the reset gate acts before the product. So there are two recurrent products."""
    gated, squash = ACTIVATIONS[setup.gate_activation], ACTIVATIONS[setup.activation]
    split = 2 * setup.hidden  # rows of r and z, then rows of n
    from_x = input_part(setup, weights, x)

    gates = recurrent_product(setup, weights["weight_hh"][:split], masked(setup, h, noise))  # (2*H,)
    if setup.layer_norm:
        gates = normalised(gates) * weights["weight_ln_h"][:split]
    if setup.bias:
        gates = gates + weights["bias_hh"][:split]
    r = gated(from_x["r"] + gates[: setup.hidden])
    z = gated(from_x["z"] + gates[setup.hidden :])

    candidate = recurrent_product(setup, weights["weight_hh"][split:], masked(setup, r * h, noise))  # (H,)
    if setup.layer_norm:
        candidate = normalised(candidate) * weights["weight_ln_h"][split:]
    if setup.bias:
        candidate = candidate + weights["bias_hh"][split:]
    n = squash(from_x["n"] + candidate)
    return r, z, n


def lstm_step(
    setup: Setup, weights: dict[str, Tensor], x: Tensor, states: list[Tensor], noise: StepNoise
) -> list[Tensor]:
    """The LSTM and its eight variants (Greff et al.), each of which leaves out or adds one thing."""
    gated, squash = ACTIVATIONS[setup.gate_activation], ACTIVATIONS[setup.activation]
    h, c = states[0], states[1]
    pre = preactivations(setup, weights, x, h, noise)
    peep = dict(zip(setup.peepholes, weights["weight_ch"])) if setup.peepholes else {}  # each (H,)

    if setup.kind == "fgr":
        # Full gate recurrence: every gate also sees all gates of the step before.
        for name, gate_before in zip(("weight_gi", "weight_gf", "weight_go"), states[2:]):
            product = recurrent_product(setup, weights[name], masked(setup, gate_before, noise))  # (3*H,)
            if setup.layer_norm:
                product = normalised(product) * weights[name.replace("weight_", "weight_ln_")]
            for gate, part in zip("ifo", product.split(setup.hidden)):
                pre[gate] = pre[gate] + part

    def gate(name: str, cell: Tensor) -> Tensor:
        """One gate, which looks at the cell where it has a peephole."""
        return gated(pre[name] + peep[name] * cell) if name in peep else gated(pre[name])

    # A gate without rows of its own is open (1), but for a coupled forget gate.
    opened = torch.ones_like(c)
    i = gate("i", c) if "i" in pre else opened
    if "f" in pre:
        f = gate("f", c)
    elif setup.kind in ("lstm", "cifg"):
        f = 1 - i
    else:
        f = opened
    g = pre["g"] if setup.kind == "niaf" else squash(pre["g"])

    c = f * c + i * g
    if setup.cell_clip is not None:
        c = torch.clamp(c, -setup.cell_clip, setup.cell_clip)
    o = gate("o", c) if "o" in pre else opened

    if setup.kind == "noaf":
        h = o * c
    elif setup.layer_norm and setup.kind in ("lstm", "np", "cifg"):
        # Only what is read from the cell is normalised; the cell itself goes on as it is.
        h = o * squash(normalised(c) * weights["weight_ln_c"] + weights["bias_ln_c"])
    else:
        h = o * squash(c)
    return [h, c, i, f, o] if setup.kind == "fgr" else [h, c]


def slstm_step(
    setup: Setup, weights: dict[str, Tensor], x: Tensor, states: list[Tensor], noise: StepNoise
) -> list[Tensor]:
    gated, squash = ACTIVATIONS[setup.gate_activation], ACTIVATIONS[setup.activation]
    h, c, n, m = states
    pre = preactivations(setup, weights, x, h, noise)
    log_f = pre["f"] if setup.forget_gate == "exp" else -softplus(-pre["f"])  # log(sigmoid(v)) = -log(1 + e^-v)

    # c and n are stored divided by e^m. With n = 0 nothing is stored yet, so that there is no old scale to respect.
    new_m = torch.where(n == 0, pre["i"], torch.maximum(log_f + m, pre["i"]))
    i = torch.exp(pre["i"] - new_m)
    f = torch.exp(log_f + m - new_m)
    g = squash(pre["g"])
    o = gated(pre["o"])
    c = f * c + i * g
    n = f * n + i
    h = c / n
    if setup.layer_norm:
        h = normalised(h) * weights["weight_ln_c"] + weights["bias_ln_c"]
    return [o * h, c, n, new_m]


def step(setup: Setup, weights: dict[str, Tensor], x: Tensor, states: list[Tensor], noise: StepNoise) -> list[Tensor]:
    """Return the states after one step; weights are one layer's and direction's, named without suffix."""
    equations = {"rnn": rnn_step, "gru": gru_step, "slstm": slstm_step}.get(setup.kind, lstm_step)
    new = equations(setup, weights, x, states, noise)
    if setup.projection:
        new = [weights["weight_hr"] @ new[0], *new[1:]]

    # Zoneout: h has a probability and a mask of its own; all other states share one of each.
    kept_h, kept_others = setup.zoneout
    h = zoned_out(setup, states[0], new[0], kept_h, noise.zoneout_h)
    others = [zoned_out(setup, *pair, kept_others, noise.zoneout_c) for pair in zip(states[1:], new[1:])]
    return [h, *others]


def zoned_out(setup: Setup, old: Tensor, new: Tensor, probability: float, mask: Tensor | None) -> Tensor:
    """Keep the old value where the mask is 1; in evaluation, take the expectation."""
    if not setup.training:
        return probability * old + (1 - probability) * new
    if mask is None:
        return new
    return mask * old + (1 - mask) * new


# ---------------------------------------------------------------------------------------------------------------------
# One sequence, and then all of them
# ---------------------------------------------------------------------------------------------------------------------


def layer_weights(weights: dict[str, Tensor], noise: Noise, layer: int, direction: int) -> dict[str, Tensor]:
    """One layer's and direction's weights, named without suffix, the recurrent ones with their dropped entries."""
    suffix = f"_l{layer}{DIRECTION_SUFFIX[direction]}"
    chosen = {}
    for name, weight in weights.items():
        if name.endswith(suffix):
            chosen[name.removesuffix(suffix)] = weight * noise.weight[name] if name in noise.weight else weight
    return chosen


def step_noise(noise: Noise, layer: int, direction: int, t: int, b: int) -> StepNoise:
    """Cut out what step t of sequence b sees."""
    key = (layer, direction)
    return StepNoise(
        recurrent=noise.recurrent[key][b] if key in noise.recurrent else None,
        zoneout_h=noise.zoneout_h[key][t, b] if key in noise.zoneout_h else None,
        zoneout_c=noise.zoneout_c[key][t, b] if key in noise.zoneout_c else None,
    )


def learned_states(setup: Setup, weights: dict[str, Tensor], like: Tensor, k: int) -> list[Tensor]:
    """The states that direction k (counted over the layers) starts from and is reset to: learned, or zero."""
    return [
        weights[f"{name}_0"][k] if f"{name}_0" in weights else like.new_zeros(setup.width(name))
        for name in setup.states
    ]


def true_lengths(x: Tensor, lengths: Tensor | None) -> list[int]:
    return [x.shape[0]] * x.shape[1] if lengths is None else [int(length) for length in lengths]


def order(length: int, direction: int) -> list[int]:
    """The positions of a sequence in the order in which a direction visits them."""
    positions = list(range(length))
    return positions if direction == 0 else positions[::-1]


def starts_anew(reset: Tensor | None, direction: int, t: int, b: int, length: int) -> bool:
    """Whether the state is reset before position t is processed. A mark at t lies between t - 1 and t."""
    if reset is None:
        return False
    if direction == 0:
        return bool(reset[t, b])
    return t + 1 < length and bool(reset[t + 1, b])


def run(
    setup: Setup,
    weights: dict[str, Tensor],
    x: Tensor,  # (T, B, I)
    hx: list[Tensor] | None,  # each (L*D, B, width)
    lengths: Tensor | None,  # (B,)
    reset: Tensor | None,  # (T, B) of bool
    noise: Noise,
) -> tuple[Tensor, list[Tensor]]:
    """Return the output (T, B, D*P), zero past a sequence's end, and the final states, each (L*D, B, width)."""
    steps, batch = x.shape[0], x.shape[1]
    finals: list[list[list[Tensor]]] = []  # [layer and direction][sequence][state]
    layer_input = x
    for layer in range(setup.layers):
        sides = []
        for direction in range(setup.directions):
            k = layer * setup.directions + direction
            own = layer_weights(weights, noise, layer, direction)
            learned = learned_states(setup, weights, x, k)
            columns, last = [], []
            for b, length in enumerate(true_lengths(x, lengths)):
                sequence = layer_input[:length, b]  # (length, I)
                states = learned if hx is None else [state[k, b] for state in hx]
                outputs = [x.new_zeros(setup.output)] * steps  # at its end, padding is all that is still zero
                for t in order(length, direction):
                    if starts_anew(reset, direction, t, b, length):
                        states = learned
                    states = step(setup, own, sequence[t], states, step_noise(noise, layer, direction, t, b))
                    outputs[t] = states[0]
                columns.append(torch.stack(outputs))  # (T, P)
                last.append(states)
            sides.append(torch.stack(columns, dim=1))  # (T, B, P)
            finals.append(last)
        output = torch.cat(sides, dim=2)  # (T, B, D*P)
        layer_input = output * noise.dropout[layer] if layer in noise.dropout else output

    final_states = [
        torch.stack([torch.stack([finals[k][b][s] for b in range(batch)]) for k in range(len(finals))])
        for s in range(len(setup.states))
    ]
    return output, final_states
