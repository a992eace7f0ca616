"""Random configurations of a layer and of a call, in which every pair of compatible choices occurs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from typing import Any

Configuration = Mapping[str, Any]

# The first choice of each is the plain one.
CHOICES: dict[str, tuple[Any, ...]] = {
    "kind": ("lstm", "gru", "rnn", "slstm", "nig", "nfg", "nog", "niaf", "noaf", "np", "cifg", "fgr"),
    "steps": (5, 1, 2, 17, 40),
    "hidden": (8, 1, 7, 9, 15, 16, 17, 31, 33, 100, 128),
    "dtype": ("float32", "float64", "bfloat16"),
    "layers": (1, 2, 3),
    "bidirectional": (False, True),
    "bias": (True, False),
    "layout": ("time first", "batch first", "unbatched", "packed"),
    "lengths": (False, True),
    "reset": (False, True),
    "state": ("zero", "passed", "learned", "learned and passed"),
    "arriving": ("all", "output", "final", "last state", "strided"),
    "training": (True, False),
    "dropout": (False, True),
    "projection": (False, True),
    "heads": (False, True),
    "layer_norm": (False, True),
    "zoneout": ("none", "h", "c", "both"),
    "recurrent_dropout": (False, True),
    "weight_drop": (False, True),
    "grad_clip": (False, True),
    "recompute": (False, True),
    "peephole": (False, True),
    "coupled": (False, True),
    "cell_clip": (False, True),
    "gate_activation": ("sigmoid", "hard_sigmoid"),
    "activation": ("tanh", "relu", "identity", "sigmoid", "hard_sigmoid", "softplus"),
    "reset_after": (True, False),
    "forget_gate": ("sigmoid", "exp"),
}

_ONLY_FOR = {
    "projection": ("lstm", "slstm"),
    "peephole": ("lstm",),
    "coupled": ("lstm",),
    "cell_clip": ("lstm",),
    "gate_activation": ("lstm", "gru", "slstm"),
    "activation": ("lstm", "gru", "rnn", "slstm"),
    "reset_after": ("gru",),
    "forget_gate": ("slstm",),
}


def compatible(c: Configuration) -> bool:
    """Whether the choices go together; a partial configuration counts by what it says."""

    def plain(*names: str) -> bool:
        return all(c.get(name, CHOICES[name][0]) == CHOICES[name][0] for name in names)

    def chosen(name: str, *values: Any) -> bool:
        return c.get(name) in values

    kind = c.get("kind")
    return not any(
        (
            any(kind is not None and kind not in kinds and not plain(name) for name, kinds in _ONLY_FOR.items()),
            kind in ("rnn", "gru") and chosen("zoneout", "c", "both"),
            chosen("layers", 1) and not plain("dropout"),
            chosen("layout", "unbatched") and not plain("lengths"),
            chosen("layout", "packed") and not plain("lengths", "reset"),
            chosen("hidden", 1) and not plain("projection", "heads"),
            # a layer norm of one unit gives zero for everything: what is left of the gradients is rounding alone
            chosen("hidden", 1) and chosen("layer_norm", True) and not chosen("dtype", "float64"),
            # of many numbers in bfloat16 some lie so near to a bend that rounding decides on which side they are
            chosen("dtype", "bfloat16") and _bends(c) and chosen("steps", 17, 40),
            # several options for one cell alone exclude each other by their cells
            len(_kinds(c)) == 0,
            # blocks must divide H and P < H, so with both a prime H has no room
            chosen("hidden", 7, 17, 31) and not plain("projection") and not plain("heads"),
        )
    )


def _bends(c: Configuration) -> bool:
    """Whether the slope of something in the equations jumps; the sLSTM's stabiliser is the larger of two numbers."""
    bent = {
        "kind": ("slstm",),
        "activation": ("relu", "hard_sigmoid"),
        "gate_activation": ("hard_sigmoid",),
        "cell_clip": (True,),
    }
    return any(c.get(name) in values for name, values in bent.items())


def _kinds(c: Configuration) -> set[str]:
    """The cells that have all the options chosen."""
    kinds = {c["kind"]} if "kind" in c else set(CHOICES["kind"])
    for name, only in _ONLY_FOR.items():
        if c.get(name, CHOICES[name][0]) != CHOICES[name][0]:
            kinds &= set(only)
    if c.get("zoneout") in ("c", "both"):
        kinds -= {"rnn", "gru"}
    return kinds


def pairs() -> set[tuple[tuple[str, Any], tuple[str, Any]]]:
    """All pairs of compatible choices."""
    found = set()
    for (a, one), (b, other) in itertools.combinations(CHOICES.items(), 2):
        found |= {((a, x), (b, y)) for x in one for y in other if compatible({a: x, b: y})}
    return found


def pairs_in(c: Configuration) -> set[tuple[tuple[str, Any], tuple[str, Any]]]:
    """The pairs of choices that one configuration holds."""
    return set(itertools.combinations(((name, c[name]) for name in CHOICES), 2))


def configurations(count: int, seed: int = 0) -> list[Configuration]:
    """That many configurations; the first ones are picked so that every compatible pair occurs as soon as can be."""
    rng = random.Random(seed)
    missing = pairs()
    found: list[Configuration] = []
    while len(found) < count:
        best = max(_candidates(rng, missing), key=lambda c: len(pairs_in(c) & missing))
        missing -= pairs_in(best)
        found.append(best)
    assert not missing, f"{count} configurations leave {len(missing)} pairs out, for example {next(iter(missing))}"
    return found


def _candidates(rng: random.Random, missing: set[tuple[tuple[str, Any], tuple[str, Any]]]) -> Iterator[Configuration]:
    """A few random configurations; while pairs are missing, each is built around one of them."""
    for _ in range(12 if missing else 1):
        start = dict(rng.choice(sorted(missing, key=repr))) if missing else {}
        yield _completed(rng, start)


def _completed(rng: random.Random, start: dict[str, Any]) -> Configuration:
    """A configuration with the given choices, the others drawn among those that fit."""
    c = dict(start)
    names = [name for name in CHOICES if name not in c]
    rng.shuffle(names)
    if "kind" in names:  # first, so that the cells' own options are not crowded out
        names.remove("kind")
        names.insert(0, "kind")
    for name in names:
        fitting = [value for value in CHOICES[name] if compatible({**c, name: value})]
        c[name] = rng.choice(fitting)
    return {name: c[name] for name in CHOICES}
