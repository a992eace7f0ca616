"""The oracles against things that share no code with them: PyTorch's own layers, numerical differences, and paper."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.oracles import clipped, sequences
from tests.oracles.sequences import Noise, Setup

STEPS, BATCH, INPUTS, HIDDEN = 5, 3, 3, 4
KINDS = ["rnn", "lstm", "gru", "slstm", "nig", "nfg", "nog", "niaf", "noaf", "np", "cifg", "fgr"]


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(20)
        yield


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def assert_same(ours: Tensor, theirs: Tensor, tolerance: float = 1e-11) -> None:
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def make_weights(setup: Setup, inputs: int = INPUTS, learned: bool = False) -> dict[str, Tensor]:
    """Random weights of every shape that a setup has."""
    rows, hidden, output = len(setup.gates) * setup.hidden, setup.hidden, setup.output
    weights = {}
    for layer in range(setup.layers):
        for suffix in [f"_l{layer}", f"_l{layer}_reverse"][: setup.directions]:
            shapes = {
                "weight_ih": (rows, inputs if layer == 0 else setup.directions * output),
                "weight_hh": (rows, output // setup.heads),
            }
            if setup.bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            if setup.projection:
                shapes["weight_hr"] = (output, hidden)
            if setup.peepholes:
                shapes["weight_ch"] = (len(setup.peepholes), hidden)
            if setup.layer_norm:
                shapes |= {"weight_ln_x": (rows,), "weight_ln_h": (rows,)}
                if setup.kind in ("lstm", "slstm", "np", "cifg"):
                    shapes |= {"weight_ln_c": (hidden,), "bias_ln_c": (hidden,)}
            if setup.kind == "fgr":
                for gate in "ifo":
                    shapes[f"weight_g{gate}"] = (3 * hidden, hidden // setup.heads)
                    if setup.layer_norm:
                        shapes[f"weight_ln_g{gate}"] = (3 * hidden,)
            weights |= {name + suffix: 0.7 * normal(*shape) for name, shape in shapes.items()}
    if learned:
        for state in setup.states:
            weights[f"{state}_0"] = make_state(setup, state)
    return weights


def make_state(setup: Setup, state: str, *batch: int) -> Tensor:
    """A random state; sLSTM's normaliser is a sum of exponentials, and so never negative."""
    value = normal(setup.layers * setup.directions, *batch, setup.width(state))
    return value.abs() if setup.kind == "slstm" and state == "n" else value


def make_hx(setup: Setup, batch: int = BATCH) -> list[Tensor]:
    return [make_state(setup, state, batch) for state in setup.states]


def coin(*shape: int) -> Tensor:
    return (torch.rand(*shape) < 0.5).double()


def make_noise(setup: Setup, weights: dict[str, Tensor]) -> Noise:
    """Something of every kind of noise."""
    keys = [(layer, direction) for layer in range(setup.layers) for direction in range(setup.directions)]
    return Noise(
        recurrent={key: coin(BATCH, setup.output) for key in keys},
        zoneout_h={key: coin(STEPS, BATCH, setup.output) for key in keys},
        zoneout_c={key: coin(STEPS, BATCH, setup.hidden) for key in keys},
        weight={
            name: 1.25 * coin(*w.shape) for name, w in weights.items() if name.startswith(("weight_hh", "weight_g"))
        },
        dropout={layer: 2 * coin(STEPS, BATCH, setup.directions * setup.output) for layer in range(setup.layers - 1)},
    )


def plain_run(setup: Setup, weights: dict[str, Tensor], x: Tensor, hx: list[Tensor] | None = None) -> Tensor:
    return sequences.run(setup, weights, x, hx, None, None, Noise())[0]


# ---------------------------------------------------------------------------------------------------------------------
# PyTorch's layers and cells
# ---------------------------------------------------------------------------------------------------------------------

TORCH_LAYERS: dict[str, tuple[Setup, Callable[..., torch.nn.RNNBase]]] = {
    "rnn": (Setup("rnn", HIDDEN), torch.nn.RNN),
    "relu rnn": (Setup("rnn", HIDDEN, activation="relu"), lambda *a, **k: torch.nn.RNN(*a, nonlinearity="relu", **k)),
    "gru": (Setup("gru", HIDDEN), torch.nn.GRU),
    "lstm": (Setup("lstm", HIDDEN), torch.nn.LSTM),
    "lstm without bias": (Setup("lstm", HIDDEN, bias=False), lambda *a, **k: torch.nn.LSTM(*a, bias=False, **k)),
    "projected lstm": (
        Setup("lstm", HIDDEN, projection=2),
        lambda *a, **k: torch.nn.LSTM(*a, proj_size=2, **k),
    ),
}


@pytest.mark.parametrize("name", TORCH_LAYERS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_outputs_states_and_gradients_are_those_of_packed_sequences_in_pytorch(name: str, bidirectional: bool) -> None:
    setup, make = TORCH_LAYERS[name]
    setup = replace(setup, layers=2, bidirectional=bidirectional)
    layer = make(INPUTS, HIDDEN, num_layers=2, bidirectional=bidirectional, dtype=torch.float64)
    weights = dict(layer.named_parameters())
    lengths = torch.tensor([3, STEPS, 1])
    x = normal(STEPS, BATCH, INPUTS).requires_grad_()
    hx = [state.requires_grad_() for state in make_hx(setup)]

    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    output, last = layer(packed, tuple(hx) if len(hx) > 1 else hx[0])
    theirs = [pad_packed_sequence(output, total_length=STEPS)[0], *(last if len(hx) > 1 else [last])]
    output, last = sequences.run(setup, weights, x, hx, lengths, None, Noise())
    ours = [output, *last]
    for one, other in zip(ours, theirs):
        assert_same(one, other)

    arriving = [torch.randn_like(value) for value in ours]
    wanted = [x, *hx, *weights.values()]
    gradients = torch.autograd.grad(ours, wanted, arriving)
    for one, other in zip(gradients, torch.autograd.grad(theirs, wanted, arriving)):
        assert_same(one, other)


def test_without_a_state_pytorch_and_the_oracle_start_from_zero() -> None:
    layer = torch.nn.LSTM(INPUTS, HIDDEN, dtype=torch.float64)
    x = normal(STEPS, BATCH, INPUTS)
    assert_same(plain_run(Setup("lstm", HIDDEN), dict(layer.named_parameters()), x), layer(x)[0])


def test_steps_of_an_lstm_are_those_of_the_cell_in_pytorch() -> None:
    cell = torch.nn.LSTMCell(INPUTS, HIDDEN, dtype=torch.float64)
    setup = Setup("lstm", HIDDEN)
    x, states = normal(STEPS, INPUTS), [normal(HIDDEN), normal(HIDDEN)]
    theirs = tuple(states)
    for x_t in x:
        states = sequences.step(setup, dict(cell.named_parameters()), x_t, states, sequences.StepNoise())
        theirs = cell(x_t, theirs)
        for one, other in zip(states, theirs):
            assert_same(one, other)


# ---------------------------------------------------------------------------------------------------------------------
# The equations, on paper
# ---------------------------------------------------------------------------------------------------------------------


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


def one_unit(**rows: list[float]) -> dict[str, Tensor]:
    """Weights of a layer with one input and one unit, given as a number for each gate."""
    vectors = {f"{name}_l0": torch.tensor(values, dtype=torch.float64) for name, values in rows.items()}
    return {name: v.unsqueeze(1) if name.startswith("weight") else v for name, v in vectors.items()}


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)


# The numbers of one unit: of the gates i, f, g, o (a cell with fewer gates takes some), and of the peepholes i, f, o.
W = [0.5, -0.4, 0.9, 0.3]
U = [0.2, 0.6, -0.7, 0.8]
B_X = [0.1, 0.2, -0.1, 0.3]
B_H = [0.05, -0.2, 0.1, 0.4]
PEEP = [0.3, -0.5, 0.7]
X, H_0, C_0 = [0.8, -1.1], 0.4, -0.6


@pytest.mark.parametrize("kind", ["peephole", "nig", "nfg", "nog", "niaf", "noaf", "np", "cifg"])
def test_the_lstm_with_peepholes_and_its_variants_are_as_on_paper(kind: str) -> None:
    i_is, f_is, g_is, o_is = range(4)
    h, c, expected = H_0, C_0, []
    p_i, p_f, p_o = (0.0, 0.0, 0.0) if kind == "np" else PEEP
    for x in X:
        pre = [W[k] * x + B_X[k] + U[k] * h + B_H[k] for k in range(4)]
        i = 1.0 if kind == "nig" else sigmoid(pre[i_is] + p_i * c)
        f = {"nfg": 1.0, "cifg": 1 - i}.get(kind, sigmoid(pre[f_is] + p_f * c))
        g = pre[g_is] if kind == "niaf" else math.tanh(pre[g_is])
        c = f * c + i * g
        o = 1.0 if kind == "nog" else sigmoid(pre[o_is] + p_o * c)
        h = o * c if kind == "noaf" else o * math.tanh(c)
        expected.append(h)

    rows = {"nig": [1, 2, 3], "nfg": [0, 2, 3], "cifg": [0, 2, 3], "nog": [0, 1, 2]}.get(kind, [0, 1, 2, 3])
    peepholes = {"nig": [1, 2], "nfg": [0, 2], "cifg": [0, 2], "nog": [0, 1]}.get(kind, [0, 1, 2])
    numbers_of = {"weight_ih": W, "weight_hh": U, "bias_ih": B_X, "bias_hh": B_H}
    weights = one_unit(**{name: [values[k] for k in rows] for name, values in numbers_of.items()})
    if kind != "np":
        weights |= one_unit(weight_ch=[PEEP[k] for k in peepholes])
    setup = Setup("lstm", 1, peephole=True) if kind == "peephole" else Setup(kind, 1)
    output, (last_h, last_c) = sequences.run(
        setup, weights, numbers(*X), [numbers(H_0), numbers(C_0)], None, None, Noise()
    )
    assert_same(output, numbers(*expected))
    assert_same(last_h, numbers(h))
    assert_same(last_c, numbers(c))

    if kind == "cifg":
        same = replace(setup, kind="lstm", coupled=True, peephole=True)
        assert_same(plain_run(same, weights, numbers(*X), [numbers(H_0), numbers(C_0)]), output)


def test_full_gate_recurrence_is_as_on_paper() -> None:
    to_i, to_f, to_o = [0.3, -0.2, 0.5], [0.7, 0.1, -0.4], [-0.6, 0.9, 0.2]  # from the gates i, f, o before
    h, c, before = H_0, C_0, [0.2, 0.9, 0.5]
    states = [numbers(v) for v in (h, c, *before)]
    for x in X:
        pre = [W[k] * x + B_X[k] + U[k] * h + B_H[k] for k in range(4)]
        i = sigmoid(pre[0] + PEEP[0] * c + sum(a * b for a, b in zip(to_i, before)))
        f = sigmoid(pre[1] + PEEP[1] * c + sum(a * b for a, b in zip(to_f, before)))
        c = f * c + i * math.tanh(pre[2])
        o = sigmoid(pre[3] + PEEP[2] * c + sum(a * b for a, b in zip(to_o, before)))
        h, before = o * math.tanh(c), [i, f, o]

    weights = one_unit(weight_ih=W, weight_hh=U, bias_ih=B_X, bias_hh=B_H, weight_ch=PEEP)
    for source, name in enumerate(["weight_gi", "weight_gf", "weight_go"]):
        weights |= one_unit(**{name: [to_i[source], to_f[source], to_o[source]]})
    _, last = sequences.run(Setup("fgr", 1), weights, numbers(*X), states, None, None, Noise())
    for state, value in zip(last, [h, c, *before]):
        assert_same(state, numbers(value))


def test_the_original_gru_is_as_on_paper() -> None:
    h = H_0
    for x in X:
        r = sigmoid(W[0] * x + B_X[0] + U[0] * h + B_H[0])
        z = sigmoid(W[1] * x + B_X[1] + U[1] * h + B_H[1])
        n = math.tanh(W[2] * x + B_X[2] + U[2] * (r * h) + B_H[2])
        h = (1 - z) * n + z * h
    weights = one_unit(weight_ih=W[:3], weight_hh=U[:3], bias_ih=B_X[:3], bias_hh=B_H[:3])
    output = plain_run(Setup("gru", 1, reset_after=False), weights, numbers(*X), [numbers(H_0)])
    assert_same(output[-1:], numbers(h))


@pytest.mark.parametrize("forget_gate", ["sigmoid", "exp"])
def test_slstm_is_the_ratio_of_plain_sums_of_exponentials(forget_gate: str) -> None:
    h = c = n = 0.0  # c and n as they are, not divided by e^m
    for x in X:
        pre = [W[k] * x + B_X[k] + U[k] * h + B_H[k] for k in range(4)]
        i, f = math.exp(pre[0]), sigmoid(pre[1]) if forget_gate == "sigmoid" else math.exp(pre[1])
        c, n = f * c + i * math.tanh(pre[2]), f * n + i
        h = sigmoid(pre[3]) * c / n
    weights = one_unit(weight_ih=W, weight_hh=U, bias_ih=B_X, bias_hh=B_H)
    setup = Setup("slstm", 1, forget_gate=forget_gate)
    _, last = sequences.run(setup, weights, numbers(*X), None, None, None, Noise())
    last_h, last_c, last_n, last_m = last
    assert_same(last_h, numbers(h))
    assert_same(last_c * last_m.exp(), numbers(c))
    assert_same(last_n * last_m.exp(), numbers(n))


def test_a_first_step_of_slstm_forgets_nothing_because_nothing_is_there() -> None:
    """With n = 0, the stabiliser m is the input gate's exponent even where the forget gate's is larger."""
    weights = one_unit(weight_ih=[-50.0, 50.0, 1.0, 0.0], weight_hh=[0.0] * 4)
    setup = Setup("slstm", 1, bias=False)
    _, (h, _, n, m) = sequences.run(setup, weights, numbers(1.0), None, None, None, Noise())
    assert_same(torch.cat([h, n, m]).flatten(), torch.tensor([0.5 * math.tanh(1.0), 1.0, -50.0], dtype=torch.float64))


def test_activations_are_those_of_pytorch() -> None:
    v = torch.linspace(-15, 15, 61, dtype=torch.float64)
    for name in ["tanh", "relu", "sigmoid", "softplus"]:
        assert_same(sequences.ACTIVATIONS[name](v), getattr(F, name)(v) if name != "tanh" else v.tanh())
    assert_same(sequences.hard_sigmoid(v), F.hardsigmoid(v))
    assert_same(sequences.identity(v), v)


@pytest.mark.parametrize("gate_activation", ["sigmoid", "hard_sigmoid"])
@pytest.mark.parametrize("activation", ["relu", "identity", "softplus"])
def test_activations_are_used_where_they_belong(gate_activation: str, activation: str) -> None:
    gated = {"sigmoid": torch.sigmoid, "hard_sigmoid": F.hardsigmoid}[gate_activation]
    squash = {"relu": F.relu, "identity": lambda v: v, "softplus": F.softplus}[activation]
    setup = Setup("lstm", HIDDEN, bias=False, gate_activation=gate_activation, activation=activation, cell_clip=0.3)
    weights, x = make_weights(setup), normal(INPUTS)
    h, c = normal(HIDDEN), normal(HIDDEN)
    ours = sequences.step(setup, sequences.layer_weights(weights, Noise(), 0, 0), x, [h, c], sequences.StepNoise())
    i, f, g, o = (weights["weight_ih_l0"] @ x + weights["weight_hh_l0"] @ h).chunk(4)
    new_c = (gated(f) * c + gated(i) * squash(g)).clip(-0.3, 0.3)
    assert (new_c.abs() == 0.3).any()
    assert_same(ours[1], new_c)
    assert_same(ours[0], gated(o) * squash(new_c))


# ---------------------------------------------------------------------------------------------------------------------
# Layer normalisation and heads
# ---------------------------------------------------------------------------------------------------------------------


def test_normalised_is_layer_norm_of_pytorch() -> None:
    v = normal(7)
    assert_same(sequences.normalised(v), F.layer_norm(v, [7], eps=1e-5))


def one_step_by_name(setup: Setup) -> tuple[dict[str, Tensor], Tensor, list[Tensor], list[Tensor]]:
    """Weights named without suffix, x, old states and new states of one step."""
    weights = sequences.layer_weights(make_weights(setup), Noise(), 0, 0)
    x, states = normal(INPUTS), [state[0, 0] for state in make_hx(setup, 1)]
    return weights, x, states, sequences.step(setup, weights, x, states, sequences.StepNoise())


def test_an_lstm_normalises_both_products_and_what_is_read_from_the_cell() -> None:
    w, x, (h, c), (new_h, new_c) = one_step_by_name(Setup("lstm", HIDDEN, layer_norm=True))
    pre = F.layer_norm(w["weight_ih"] @ x, [4 * HIDDEN], w["weight_ln_x"]) + w["bias_ih"]
    pre = pre + F.layer_norm(w["weight_hh"] @ h, [4 * HIDDEN], w["weight_ln_h"]) + w["bias_hh"]
    i, f, g, o = pre.chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    assert_same(new_c, c)
    assert_same(new_h, o.sigmoid() * F.layer_norm(c, [HIDDEN], w["weight_ln_c"], w["bias_ln_c"]).tanh())


def test_a_variant_without_peepholes_normalises_like_an_lstm_and_others_leave_the_cell_alone() -> None:
    w, x, states, new = one_step_by_name(Setup("np", HIDDEN, layer_norm=True))
    like = sequences.step(Setup("lstm", HIDDEN, layer_norm=True), w, x, states, sequences.StepNoise())
    assert_same(torch.cat(new), torch.cat(like))

    _, _, _, (new_h, new_c) = one_step_by_name(Setup("nog", HIDDEN, layer_norm=True))
    assert_same(new_h, new_c.tanh())


def test_an_slstm_normalises_the_ratio() -> None:
    w, _, _, (h, c, n, _) = one_step_by_name(Setup("slstm", HIDDEN, layer_norm=True))
    ratio = F.layer_norm(c / n, [HIDDEN], w["weight_ln_c"], w["bias_ln_c"])
    o = h / ratio
    assert ((o > 0) & (o < 1)).all()


@pytest.mark.parametrize("reset_after", [False, True])
def test_a_gru_normalises_each_of_its_products(reset_after: bool) -> None:
    setup = Setup("gru", HIDDEN, layer_norm=True, reset_after=reset_after)
    w, x, (h,), (new_h,) = one_step_by_name(setup)
    x_r, x_z, x_n = (F.layer_norm(w["weight_ih"] @ x, [3 * HIDDEN], w["weight_ln_x"]) + w["bias_ih"]).chunk(3)
    b_r, b_z, b_n = w["bias_hh"].chunk(3)
    if reset_after:
        h_r, h_z, h_n = F.layer_norm(w["weight_hh"] @ h, [3 * HIDDEN], w["weight_ln_h"]).chunk(3)
        r = (x_r + h_r + b_r).sigmoid()
        n = (x_n + r * (h_n + b_n)).tanh()
    else:
        n_rows = slice(2 * HIDDEN, None)
        gates = w["weight_hh"][: 2 * HIDDEN] @ h
        h_r, h_z = F.layer_norm(gates, [2 * HIDDEN], w["weight_ln_h"][: 2 * HIDDEN]).chunk(2)
        r = (x_r + h_r + b_r).sigmoid()
        h_n = F.layer_norm(w["weight_hh"][n_rows] @ (r * h), [HIDDEN], w["weight_ln_h"][n_rows])
        n = (x_n + h_n + b_n).tanh()
    z = (x_z + h_z + b_z).sigmoid()
    assert_same(new_h, (1 - z) * n + z * h)


def test_full_gate_recurrence_normalises_each_gates_product() -> None:
    w, x, (h, c, *before), (_, _, new_i, new_f, new_o) = one_step_by_name(Setup("fgr", HIDDEN, layer_norm=True))
    pre = F.layer_norm(w["weight_ih"] @ x, [4 * HIDDEN], w["weight_ln_x"]) + w["bias_ih"]
    pre = pre + F.layer_norm(w["weight_hh"] @ h, [4 * HIDDEN], w["weight_ln_h"]) + w["bias_hh"]
    i, f, g, o = pre.chunk(4)
    recurrence = torch.zeros(3 * HIDDEN, dtype=torch.float64)
    for gate, value in zip("ifo", before):
        recurrence += F.layer_norm(w[f"weight_g{gate}"] @ value, [3 * HIDDEN], w[f"weight_ln_g{gate}"])
    to_i, to_f, to_o = recurrence.chunk(3)
    p_i, p_f, p_o = w["weight_ch"]
    i, f = (i + to_i + p_i * c).sigmoid(), (f + to_f + p_f * c).sigmoid()
    c = f * c + i * g.tanh()
    assert_same(torch.cat([new_i, new_f, new_o]), torch.cat([i, f, (o + to_o + p_o * c).sigmoid()]))


def dense(setup: Setup, weight: Tensor) -> Tensor:
    """The same matrix with the zeros written out."""
    columns = weight.shape[1]
    full = weight.new_zeros(weight.shape[0], columns * setup.heads)
    for row in range(weight.shape[0]):
        head = (row % setup.hidden) // (setup.hidden // setup.heads)
        full[row, head * columns : (head + 1) * columns] = weight[row]
    return full


@pytest.mark.parametrize(
    "setup",
    [
        Setup("lstm", 4, heads=2),
        Setup("slstm", 6, heads=3, projection=3),
        Setup("gru", 4, heads=4, reset_after=False),
        Setup("fgr", 4, heads=2),
    ],
    ids=lambda setup: setup.kind,
)
def test_heads_are_a_dense_matrix_with_zeros(setup: Setup) -> None:
    weights, x = make_weights(setup), normal(STEPS, BATCH, INPUTS)
    written_out = {
        name: dense(setup, weight) if name.startswith(("weight_hh", "weight_g")) else weight
        for name, weight in weights.items()
    }
    assert_same(plain_run(setup, weights, x), plain_run(replace(setup, heads=1), written_out, x))


# ---------------------------------------------------------------------------------------------------------------------
# Noise
# ---------------------------------------------------------------------------------------------------------------------


def test_recurrent_dropout_is_the_same_as_dropping_columns_of_the_recurrent_weights() -> None:
    for setup in [
        Setup("lstm", HIDDEN),
        Setup("gru", HIDDEN),
        Setup("gru", HIDDEN, reset_after=False),
        Setup("fgr", HIDDEN),
    ]:
        weights, x, mask = make_weights(setup), normal(STEPS, 1, INPUTS), torch.tensor([1.0, 0.0, 1.0, 0.0]).double()
        recurrent = [name for name in weights if name.startswith(("weight_hh", "weight_g"))]
        by_columns = weights | {name: weights[name] * mask / 0.8 for name in recurrent}
        expected = plain_run(setup, by_columns, x)

        noise = Noise(recurrent={(0, 0): mask.unsqueeze(0)})
        training = replace(setup, recurrent_dropout=0.2, training=True)
        assert_same(sequences.run(training, weights, x, None, None, None, noise)[0], expected)
        evaluation = replace(training, training=False)
        assert_same(sequences.run(evaluation, weights, x, None, None, None, noise)[0], plain_run(setup, weights, x))

        factors = {name: (mask / 0.8).expand_as(weights[name]) for name in recurrent}
        assert_same(sequences.run(setup, weights, x, None, None, None, Noise(weight=factors))[0], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_zoneout_keeps_old_values_in_training_and_mixes_them_in_evaluation(kind: str) -> None:
    plain = Setup(kind, HIDDEN)
    weights, x, hx = make_weights(plain), normal(1, BATCH, INPUTS), make_hx(plain)
    _, new = sequences.run(plain, weights, x, hx, None, None, Noise())

    setup = replace(plain, zoneout=(0.25, 0.4))
    _, mixed = sequences.run(setup, weights, x, hx, None, None, Noise())
    for p, old_state, new_state, state in zip([0.25] + [0.4] * 4, hx, new, mixed):
        assert_same(state, p * old_state + (1 - p) * new_state)

    mask_h, mask_c = coin(1, BATCH, HIDDEN), coin(1, BATCH, HIDDEN)
    noise = Noise(zoneout_h={(0, 0): mask_h}, zoneout_c={(0, 0): mask_c})
    _, kept = sequences.run(replace(setup, training=True), weights, x, hx, None, None, noise)
    for mask, old_state, new_state, state in zip([mask_h] + [mask_c] * 4, hx, new, kept):
        assert_same(state, torch.where(mask == 1, old_state, new_state))


def test_dropout_multiplies_what_the_next_layer_reads() -> None:
    setup = Setup("gru", HIDDEN, layers=2)
    weights, x, factor = make_weights(setup), normal(STEPS, BATCH, INPUTS), 2 * coin(STEPS, BATCH, HIDDEN)
    first = plain_run(replace(setup, layers=1), weights, x)
    second = {name.replace("_l1", "_l0"): weight for name, weight in weights.items() if "_l1" in name}
    expected = plain_run(replace(setup, layers=1), second, first * factor)
    assert_same(sequences.run(setup, weights, x, None, None, None, Noise(dropout={0: factor}))[0], expected)


# ---------------------------------------------------------------------------------------------------------------------
# Lengths, resets and initial states
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_padding_has_no_effect_even_if_it_is_not_a_number(kind: str) -> None:
    setup = Setup(kind, HIDDEN, layers=2, bidirectional=True)
    weights = {name: weight.requires_grad_() for name, weight in make_weights(setup).items()}
    x, hx, lengths = normal(STEPS, BATCH, INPUTS), make_hx(setup), torch.tensor([2, 0, STEPS])
    padding = torch.arange(STEPS).unsqueeze(1) >= lengths  # (T, B)
    reset = padding.clone()
    reset[1, 2] = True
    x = x.masked_fill(padding.unsqueeze(2), math.nan).requires_grad_()
    output, final = sequences.run(setup, weights, x, hx, lengths, reset, Noise())

    assert (output[padding] == 0).all()
    for b, length in [(0, 2), (2, STEPS)]:
        alone, last = sequences.run(
            setup,
            weights,
            x[:length, b : b + 1],
            [state[:, b : b + 1] for state in hx],
            None,
            reset[:length, b : b + 1],
            Noise(),
        )
        assert_same(output[:length, b : b + 1], alone)
        for one, other in zip(final, last):
            assert_same(one[:, b : b + 1], other)
    for state, start in zip(final, hx):
        assert torch.equal(state[:, 1], start[:, 1])

    gradients = torch.autograd.grad(output.sum(), [x, *weights.values()])
    assert (gradients[0][padding] == 0).all()
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("learned", [False, True])
def test_a_reset_is_the_same_as_two_sequences(kind: str, learned: bool) -> None:
    setup = Setup(kind, HIDDEN, bidirectional=True)
    weights, x, hx = make_weights(setup, learned=learned), normal(STEPS, 1, INPUTS), make_hx(setup, 1)
    reset = torch.zeros(STEPS, 1, dtype=torch.bool)
    reset[2] = True
    output, final = sequences.run(setup, weights, x, hx, None, reset, Noise())

    (early, early_final), (late, late_final) = (
        sequences.run(setup, weights, piece, hx, None, None, Noise()) for piece in (x[:2], x[2:])
    )
    (fresh_early, fresh_early_final), (fresh_late, fresh_late_final) = (
        sequences.run(setup, weights, piece, None, None, None, Noise()) for piece in (x[:2], x[2:])
    )
    # What is passed is seen by the piece that a direction begins with; the other starts from the learned state or zero.
    assert_same(output[..., :HIDDEN], torch.cat([early, fresh_late])[..., :HIDDEN])
    assert_same(output[..., HIDDEN:], torch.cat([fresh_early, late])[..., HIDDEN:])
    for state, last_late, last_early in zip(final, fresh_late_final, fresh_early_final):
        assert_same(state[0], last_late[0])
        assert_same(state[1], last_early[1])
    assert not torch.equal(early_final[0], fresh_early_final[0])
    assert not torch.equal(late_final[0], fresh_late_final[0])


def test_a_reset_before_the_first_position_matters_to_the_forward_direction_only() -> None:
    setup = Setup("lstm", HIDDEN, bidirectional=True)
    weights, x, hx = make_weights(setup), normal(STEPS, BATCH, INPUTS), make_hx(setup)
    reset = torch.zeros(STEPS, BATCH, dtype=torch.bool)
    reset[0] = True
    output, _ = sequences.run(setup, weights, x, hx, None, reset, Noise())
    assert_same(output[..., :HIDDEN], plain_run(setup, weights, x)[..., :HIDDEN])
    assert_same(output[..., HIDDEN:], plain_run(setup, weights, x, hx)[..., HIDDEN:])


@pytest.mark.parametrize("kind", KINDS)
def test_learned_states_are_passed_states_for_every_sequence(kind: str) -> None:
    setup = Setup(kind, HIDDEN, layers=2, bidirectional=True)
    weights, x = make_weights(setup, learned=True), normal(STEPS, BATCH, INPUTS)
    hx = [weights[f"{name}_0"].unsqueeze(1).expand(-1, BATCH, -1) for name in setup.states]
    assert_same(plain_run(setup, weights, x), plain_run(setup, weights, x, hx))


def test_the_backward_direction_is_the_forward_one_on_reversed_time() -> None:
    setup = Setup("slstm", HIDDEN, bidirectional=True, projection=2)
    weights, x = make_weights(setup), normal(STEPS, BATCH, INPUTS)
    output, final = sequences.run(setup, weights, x, None, None, None, Noise())
    turned = {name.removesuffix("_reverse"): w for name, w in weights.items() if name.endswith("_reverse")}
    one_way = replace(setup, bidirectional=False)
    backwards, last = sequences.run(one_way, turned, x.flip(0), None, None, None, Noise())
    assert_same(output[..., 2:], backwards.flip(0))
    for one, other in zip(final, last):
        assert_same(one[1], other[0])


# ---------------------------------------------------------------------------------------------------------------------
# Gradients
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setup",
    [
        Setup("lstm", 2, peephole=True, coupled=True, layer_norm=True, zoneout=(0.2, 0.1), bidirectional=True),
        Setup("slstm", 4, heads=2, projection=2, layer_norm=True),
    ],
    ids=lambda setup: setup.kind,
)
def test_gradients_are_numerical_differences(setup: Setup) -> None:
    weights = make_weights(setup, inputs=2, learned=True)
    x, lengths = normal(3, 2, 2), torch.tensor([3, 2])
    reset = torch.tensor([[False, False], [False, True], [True, False]])
    names = list(weights)

    def outputs(x: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        output, final = sequences.run(setup, dict(zip(names, values)), x, None, lengths, reset, Noise())
        return output, *final

    leaves = [value.requires_grad_() for value in (x, *weights.values())]
    assert torch.autograd.gradcheck(outputs, leaves, fast_mode=True)


CLIPPED_SETUPS = [
    *(Setup(kind, HIDDEN, layers=2, bidirectional=True) for kind in KINDS),
    Setup("lstm", HIDDEN, peephole=True, layer_norm=True, cell_clip=0.5, heads=2, zoneout=(0.2, 0.3)),
    Setup("slstm", HIDDEN, layers=2, projection=2, layer_norm=True, bias=False, forget_gate="exp"),
    Setup("gru", HIDDEN, layers=2, bidirectional=True, reset_after=False, layer_norm=True),
]


@pytest.mark.parametrize("start", ["zero", "passed", "learned"])
@pytest.mark.parametrize("setup", CLIPPED_SETUPS, ids=lambda setup: setup.kind)
def test_a_bound_that_is_never_reached_gives_the_gradients_of_autograd(setup: Setup, start: str) -> None:
    setup = replace(setup, recurrent_dropout=0.2, training=True)
    weights = make_weights(setup, learned=start == "learned")
    noise = make_noise(setup, weights)
    lengths, reset = torch.tensor([STEPS, 3, 0]), torch.rand(STEPS, BATCH) < 0.3
    hx = make_hx(setup) if start == "passed" else None

    leaves = {"x": normal(STEPS, BATCH, INPUTS), **weights} | {f"hx{s}": state for s, state in enumerate(hx or [])}
    leaves = {name: leaf.requires_grad_() for name, leaf in leaves.items()}
    output, final = sequences.run(setup, weights, leaves["x"], hx, lengths, reset, noise)
    arriving = [torch.randn_like(value) for value in (output, *final)]
    expected = torch.autograd.grad([output, *final], list(leaves.values()), arriving)

    found = clipped.gradients(setup, 1e9, weights, leaves["x"], hx, lengths, reset, noise, arriving[0], arriving[1:])
    assert set(found) == set(leaves)
    for name, gradient in zip(leaves, expected):
        assert_same(found[name], gradient, 1e-9)


def clipped_by_hand(u: float, x: list[float], h_0: float, arriving: list[float], bound: float) -> list[float]:
    """h = tanh(x + u h'), one unit; return the gradients of every x, of u and of the initial h."""
    h = [h_0]
    for x_t in x:
        h.append(math.tanh(x_t + u * h[-1]))
    of_x, of_u, of_h = [0.0] * len(x), 0.0, 0.0
    for t in reversed(range(len(x))):
        of_pre = (of_h + arriving[t]) * (1 - h[t + 1] ** 2)
        of_x[t] = of_pre
        of_u += of_pre * h[t]
        of_h = max(-bound, min(bound, of_pre * u))
    return [*of_x, of_u, of_h]


@pytest.mark.parametrize("bound", [0.05, 0.2, 100.0])
def test_a_bound_that_is_reached_clips_after_every_step_as_on_paper(bound: float) -> None:
    u, x, h_0, arriving = 0.9, [0.3, -0.5, 0.2], 0.4, [-0.5, 0.1, 1.0]
    weights = one_unit(weight_ih=[1.0], weight_hh=[u])
    found = clipped.gradients(
        Setup("rnn", 1, bias=False),
        bound,
        weights,
        numbers(*x),
        [numbers(h_0)],
        None,
        None,
        Noise(),
        numbers(*arriving),
        [numbers(0.0)],
    )
    ours = torch.cat([found["x"].flatten(), found["weight_hh_l0"].flatten(), found["hx0"].flatten()])
    assert_same(ours, torch.tensor(clipped_by_hand(u, x, h_0, arriving, bound), dtype=torch.float64))


def test_a_learned_states_gradient_is_clipped_before_it_is_summed() -> None:
    """Two sequences, and a reset in each: four starts from the learned state, each of which gives at most the bound."""
    weights = {**one_unit(weight_ih=[0.0], weight_hh=[1.0]), "h_0": torch.zeros(1, 1, dtype=torch.float64)}
    setup = Setup("rnn", 1, bias=False, activation="identity")
    reset = torch.tensor([[False, False], [True, True]])
    ones = torch.ones(2, 2, 1, dtype=torch.float64)
    zero = torch.zeros(1, 2, 1, dtype=torch.float64)
    found = clipped.gradients(setup, 0.25, weights, ones, None, None, reset, Noise(), ones, [zero])
    assert_same(found["h_0"], torch.tensor([[1.0]], dtype=torch.float64))
    # With a state passed, the two first starts are no longer from the learned one.
    found = clipped.gradients(setup, 0.25, weights, ones, [zero], None, reset, Noise(), ones, [zero])
    assert_same(found["h_0"], torch.tensor([[0.5]], dtype=torch.float64))
    assert_same(found["hx0"], torch.full((1, 2, 1), 0.25, dtype=torch.float64))


def test_in_the_backward_direction_clipping_follows_its_own_order_of_steps() -> None:
    setup = Setup("lstm", HIDDEN, bidirectional=True)
    weights, x = make_weights(setup), normal(STEPS, BATCH, INPUTS)
    arriving, last = normal(STEPS, BATCH, 2 * HIDDEN), [torch.zeros(2, BATCH, HIDDEN, dtype=torch.float64)] * 2
    found = clipped.gradients(setup, 0.01, weights, x, None, None, None, Noise(), arriving, last)

    one_way = replace(setup, bidirectional=False)
    ahead = {name: w for name, w in weights.items() if not name.endswith("_reverse")}
    turned = {name.removesuffix("_reverse"): w for name, w in weights.items() if name.endswith("_reverse")}
    last = [state[:1] for state in last]
    side = arriving[..., :HIDDEN], arriving[..., HIDDEN:]
    forwards = clipped.gradients(one_way, 0.01, ahead, x, None, None, None, Noise(), side[0], last)
    backwards = clipped.gradients(one_way, 0.01, turned, x.flip(0), None, None, None, Noise(), side[1].flip(0), last)
    assert_same(found["x"], forwards["x"] + backwards["x"].flip(0))
    assert_same(found["weight_hh_l0_reverse"], backwards["weight_hh_l0"])
