"""Back-propagation through time, written out, with the gradient clipped between the steps.

With a bound v, the gradient with respect to the states that a step starts from is cut to [-v, v], elementwise, once it
has come back through that step. This holds for the first step and for a step that starts from a reset as well: then it
is the initial or learned state's gradient that is cut, before it is summed over sequences. Here there are no hooks:
the steps are run again one by one, from the last to the first, and autograd never sees more than a single one.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tests.oracles.sequences import (
    Noise,
    Setup,
    layer_weights,
    learned_states,
    order,
    run,
    starts_anew,
    step,
    step_noise,
    true_lengths,
)


@dataclass(frozen=True)
class Visit:
    """One step of the forward pass: where it was, and the states it started from."""

    t: int
    anew: bool  # whether those states came from a reset
    states: list[Tensor]


def gradients(
    setup: Setup,
    grad_clip: float,
    weights: dict[str, Tensor],
    x: Tensor,  # (T, B, I)
    hx: list[Tensor] | None,  # each (L*D, B, width)
    lengths: Tensor | None,  # (B,)
    reset: Tensor | None,  # (T, B) of bool
    noise: Noise,
    output_gradient: Tensor,  # (T, B, D*P)
    final_gradients: list[Tensor],  # each (L*D, B, width)
) -> dict[str, Tensor]:
    """Return the gradients, named "x", by the weights' own names, and "hx0", "hx1", ... where hx is passed."""
    weights = {name: weight.detach() for name, weight in weights.items()}
    x = x.detach()
    hx = None if hx is None else [state.detach() for state in hx]

    result = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for s, state in enumerate(hx or []):
        result[f"hx{s}"] = torch.zeros_like(state)

    inputs = layer_inputs(setup, weights, x, hx, lengths, reset, noise)
    arriving = output_gradient  # the gradient of the output of the layer in hand
    for layer in reversed(range(setup.layers)):
        if layer in noise.dropout and layer < setup.layers - 1:
            arriving = arriving * noise.dropout[layer]
        input_gradient = torch.zeros_like(inputs[layer])
        for direction in range(setup.directions):
            first = direction * setup.output
            side = arriving[:, :, first : first + setup.output]  # (T, B, P)
            k = layer * setup.directions + direction
            for b, length in enumerate(true_lengths(x, lengths)):
                visits = forward(setup, weights, inputs[layer], hx, reset, noise, layer, direction, b, length)
                state_gradients = [gradient[k, b] for gradient in final_gradients]
                for visit in reversed(visits):
                    state_gradients[0] = state_gradients[0] + side[visit.t, b]
                    from_step = through_step(
                        setup, weights, inputs[layer], noise, layer, direction, b, visit, state_gradients
                    )
                    for name, gradient in from_step.weights.items():
                        result[name] += gradient
                    input_gradient[visit.t, b] += from_step.x
                    state_gradients = [gradient.clamp(-grad_clip, grad_clip) for gradient in from_step.states]
                    if visit.anew:
                        to_learned(setup, result, state_gradients, k)
                        state_gradients = [torch.zeros_like(gradient) for gradient in state_gradients]
                if hx is None:
                    to_learned(setup, result, state_gradients, k)
                else:
                    for s, gradient in enumerate(state_gradients):
                        result[f"hx{s}"][k, b] += gradient
        arriving = input_gradient
    result["x"] = arriving
    return result


def layer_inputs(
    setup: Setup,
    weights: dict[str, Tensor],
    x: Tensor,
    hx: list[Tensor] | None,
    lengths: Tensor | None,
    reset: Tensor | None,
    noise: Noise,
) -> list[Tensor]:
    """What each layer reads, found by running the layers below it on their own."""
    inputs = [x]
    for layer in range(1, setup.layers):
        below = replace(setup, layers=layer)
        kept = None if hx is None else [state[: layer * setup.directions] for state in hx]
        output, _ = run(below, weights, x, kept, lengths, reset, noise)
        factor = noise.dropout.get(layer - 1)
        inputs.append(output if factor is None else output * factor)
    return inputs


def forward(
    setup: Setup,
    weights: dict[str, Tensor],
    layer_input: Tensor,
    hx: list[Tensor] | None,
    reset: Tensor | None,
    noise: Noise,
    layer: int,
    direction: int,
    b: int,
    length: int,
) -> list[Visit]:
    """Run one sequence in one layer and direction, and note the states that each step started from."""
    k = layer * setup.directions + direction
    own = layer_weights(weights, noise, layer, direction)
    learned = learned_states(setup, weights, layer_input, k)
    states = learned if hx is None else [state[k, b] for state in hx]
    visits = []
    for t in order(length, direction):
        anew = starts_anew(reset, direction, t, b, length)
        if anew:
            states = learned
        visits.append(Visit(t, anew, states))
        states = step(setup, own, layer_input[t, b], states, step_noise(noise, layer, direction, t, b))
    return visits


@dataclass(frozen=True)
class FromStep:
    """The gradients that leave a step on its way back."""

    x: Tensor
    states: list[Tensor]
    weights: dict[str, Tensor]  # by full name, of the weights that the step uses


def through_step(
    setup: Setup,
    weights: dict[str, Tensor],
    layer_input: Tensor,
    noise: Noise,
    layer: int,
    direction: int,
    b: int,
    visit: Visit,
    state_gradients: list[Tensor],
) -> FromStep:
    """Run a step again, on leaves of its own, and take the gradients of its new states back through it."""
    x = layer_input[visit.t, b].clone().requires_grad_()
    states = [state.clone().requires_grad_() for state in visit.states]
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    own = layer_weights(leaves, noise, layer, direction)
    new = step(setup, own, x, states, step_noise(noise, layer, direction, visit.t, b))

    wanted = [x, *states, *leaves.values()]
    found = torch.autograd.grad(new, wanted, state_gradients, allow_unused=True)
    found = [torch.zeros_like(leaf) if gradient is None else gradient for leaf, gradient in zip(wanted, found)]
    after_states = 1 + len(states)
    return FromStep(x=found[0], states=found[1:after_states], weights=dict(zip(leaves, found[after_states:])))


def to_learned(setup: Setup, result: dict[str, Tensor], state_gradients: list[Tensor], k: int) -> None:
    """Add to the learned states' gradients, where there are learned states."""
    for name, gradient in zip(setup.states, state_gradients):
        if f"{name}_0" in result:
            result[f"{name}_0"][k] += gradient
