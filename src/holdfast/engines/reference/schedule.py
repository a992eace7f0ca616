"""In which order one step is computed, and which sums are one operation."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.language import Program
from holdfast.language.program import MAIN_WEIGHT, Group

from .operations import TORCH


@dataclass(frozen=True)
class Schedule:
    """How one step is computed: gate sums that are one operation, and everything else in order."""

    summed: tuple[bool, ...]  # for each group: whether only the sums with the input parts are used
    instructions: tuple[tuple[str, Any, int, tuple[int, ...]], ...]  # kind, what, node, arguments
    constants: Mapping[int, float]


@functools.lru_cache(maxsize=512)
def schedule(program: Program) -> Schedule:
    """The order of a program's step."""
    nodes = program.nodes
    users: dict[int, list[int]] = {}
    for index, node in enumerate(nodes):
        for argument in node.args:
            users.setdefault(argument, []).append(index)
    for root in (*program.results, *(i for _, i in program.shown)):
        users.setdefault(root, []).append(-1)
    inputs = {node.label: index for index, node in enumerate(nodes) if node.op == "input"}

    def sums_of(group: Group) -> list[int] | None:
        """The nodes `input + product` of a group, if its products and those inputs are used for nothing else."""
        sums = []
        for gate, product in zip(group.gates, group.nodes):
            user = users[product][0]
            alone = gate in inputs and users[product] == [user] == users[inputs[gate]]
            if not alone or user < 0 or nodes[user].op != "add":
                return None
            sums.append(user)
        return sums

    def joined(group: Group) -> list[int] | None:
        plain = group.weight == MAIN_WEIGHT and not program.layer_norm and program.heads == 1
        return sums_of(group) if plain else None

    found = [joined(group) for group in program.groups]
    done: set[int] = set()
    instructions: list[tuple[str, Any, int, tuple[int, ...]]] = []
    member = {n: (k, j) for k, group in enumerate(program.groups) for j, n in enumerate(group.nodes)}
    skipped = {inputs[g] for group, sums in zip(program.groups, found) if sums for g in group.gates}
    in_sum = {s: k for k, sums in enumerate(found) if sums for s in sums}
    for index, node in enumerate(nodes):
        if index in skipped or (index in member and found[member[index][0]]):
            continue
        if index in in_sum or index in member:
            k = in_sum[index] if index in in_sum else member[index][0]
            if k not in done:
                targets = found[k] or program.groups[k].nodes
                instructions.append(("group", k, -1, tuple(targets)))
                done.add(k)
        elif node.op in TORCH or node.op == "project":
            instructions.append(("call", TORCH.get(node.op), index, node.args))
        elif node.op != "const":
            instructions.append((node.op, node.label, index, ()))
    constants = {index: float(node.label) for index, node in enumerate(nodes) if node.op == "const"}
    return Schedule(tuple(sums is not None for sums in found), tuple(instructions), constants)
