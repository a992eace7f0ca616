"""Random configurations of a layer and of a call, in which every pair of compatible choices occurs."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Configuration = Mapping[str, Any]
Rule = Callable[[Configuration], bool]
Pair = tuple[tuple[str, Any], tuple[str, Any]]

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
_BENT: dict[str, tuple[Any, ...]] = {
    "kind": ("slstm",),
    "activation": ("relu", "hard_sigmoid"),
    "gate_activation": ("hard_sigmoid",),
    "cell_clip": (True,),
}


def compatible(c: Configuration) -> bool:
    """Whether the choices go together; a partial configuration counts by what it says."""
    return not any(forbidden(c) for _, forbidden in _RULES)


def _fits(c: Configuration, name: str, value: Any) -> bool:
    """Whether a choice goes with compatible ones: only the rules that name it are asked."""
    more = {**c, name: value}
    return not any(forbidden(more) for forbidden in _RULES_OF[name])


def _plain(c: Configuration, name: str) -> bool:
    return name not in c or c[name] == CHOICES[name][0]


def _of_another_kind(name: str) -> Rule:
    def forbidden(c: Configuration) -> bool:
        return not _plain(c, name) and "kind" in c and c["kind"] not in _ONLY_FOR[name]

    return forbidden


def _bends(c: Configuration) -> bool:
    """Whether the slope of something in the equations jumps; the sLSTM's stabiliser is the larger of two numbers."""
    return any(c.get(name) in values for name, values in _BENT.items())


def _kinds(c: Configuration) -> set[str]:
    """The cells that have all the options chosen."""
    kinds = {c["kind"]} if "kind" in c else set(CHOICES["kind"])
    for name, only in _ONLY_FOR.items():
        if c.get(name, CHOICES[name][0]) != CHOICES[name][0]:
            kinds &= set(only)
    if c.get("zoneout") in ("c", "both"):
        kinds -= {"rnn", "gru"}
    return kinds


# What does not go together: the names that a rule reads, and whether it forbids a configuration.
_RULES: list[tuple[tuple[str, ...], Rule]] = [
    *((("kind", name), _of_another_kind(name)) for name in _ONLY_FOR),
    (("kind", "zoneout"), lambda c: c.get("kind") in ("rnn", "gru") and c.get("zoneout") in ("c", "both")),
    (("layers", "dropout"), lambda c: c.get("layers") == 1 and not _plain(c, "dropout")),
    (("layout", "lengths"), lambda c: c.get("layout") in ("unbatched", "packed") and not _plain(c, "lengths")),
    (("layout", "reset"), lambda c: c.get("layout") == "packed" and not _plain(c, "reset")),
    (("hidden", "projection"), lambda c: c.get("hidden") == 1 and not _plain(c, "projection")),
    (("hidden", "heads"), lambda c: c.get("hidden") == 1 and not _plain(c, "heads")),
    # a layer norm of one unit gives zero for everything: what is left of the gradients is rounding alone
    (
        ("hidden", "layer_norm", "dtype"),
        lambda c: c.get("hidden") == 1 and bool(c.get("layer_norm")) and c.get("dtype") != "float64",
    ),
    # of many numbers in bfloat16 some lie so near to a bend that rounding decides on which side they are
    (
        ("dtype", "steps", *_BENT),
        lambda c: c.get("dtype") == "bfloat16" and c.get("steps") in (17, 40) and _bends(c),
    ),
    # several options for one cell alone exclude each other by their cells
    (("kind", "zoneout", *_ONLY_FOR), lambda c: not _kinds(c)),
    # blocks must divide H and P < H, so with both a prime H has no room
    (
        ("hidden", "projection", "heads"),
        lambda c: c.get("hidden") in (7, 17, 31) and not _plain(c, "projection") and not _plain(c, "heads"),
    ),
]
_RULES_OF = {name: [forbidden for names, forbidden in _RULES if name in names] for name in CHOICES}


def pairs() -> set[Pair]:
    """All pairs of compatible choices."""
    found = set()
    for (a, one), (b, other) in itertools.combinations(CHOICES.items(), 2):
        found |= {((a, x), (b, y)) for x in one for y in other if compatible({a: x, b: y})}
    return found


def pairs_in(c: Configuration) -> set[Pair]:
    """The pairs of choices that one configuration holds."""
    return set(itertools.combinations(((name, c[name]) for name in CHOICES), 2))


def configurations(count: int, seed: int = 0) -> list[Configuration]:
    """That many configurations; the first ones are picked so that every compatible pair occurs as soon as can be."""
    return list(_configurations(count, seed))


@functools.cache
def _configurations(count: int, seed: int) -> tuple[Configuration, ...]:
    rng = random.Random(seed)
    missing = pairs()
    found: list[Configuration] = []
    while len(found) < count:
        best = max(_candidates(rng, missing), key=lambda c: len(pairs_in(c) & missing))
        missing -= pairs_in(best)
        found.append(best)
    assert not missing, f"{count} configurations leave {len(missing)} pairs out, for example {next(iter(missing))}"
    return tuple(found)


def few(count: int, most: int = 9) -> list[int]:
    """As few of the first configurations as hold every choice, and every pair of choices of names with few values.

    Those are the pairs in which the engines branch: what is left out pairs cells with sizes, or long lists with each
    other. `most` is how many pairs two names may have.
    """
    sample = configurations(count)
    held = [pairs_in(c) | {((name, value), (name, value)) for name, value in c.items()} for c in sample]
    missing = {((name, value), (name, value)) for name, values in CHOICES.items() for value in values}
    missing |= {p for p in pairs() if len(CHOICES[p[0][0]]) * len(CHOICES[p[1][0]]) <= most}
    found = []
    while missing:
        best = max(range(count), key=lambda k: len(held[k] & missing))
        missing -= held[best]
        found.append(best)
    return sorted(found)


def _candidates(rng: random.Random, missing: set[Pair]) -> Iterator[Configuration]:
    """A few random configurations; while pairs are missing, each is built around one of them."""
    ordered = sorted(missing, key=repr)
    for _ in range(12 if missing else 1):
        yield _completed(rng, dict(rng.choice(ordered)) if ordered else {})


def _completed(rng: random.Random, start: dict[str, Any]) -> Configuration:
    """A configuration with the given choices, the others drawn among those that fit."""
    c = dict(start)
    names = [name for name in CHOICES if name not in c]
    rng.shuffle(names)
    if "kind" in names:  # first, so that the cells' own options are not crowded out
        names.remove("kind")
        names.insert(0, "kind")
    for name in names:
        fitting = [value for value in CHOICES[name] if _fits(c, name, value)]
        c[name] = rng.choice(fitting)
    return {name: c[name] for name in CHOICES}
