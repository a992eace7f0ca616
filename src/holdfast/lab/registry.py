"""All long-lag tasks by name."""

from __future__ import annotations

from .arithmetic import Adding, Adding1997, Multiplication, TwoSequences
from .order import TemporalOrder, TemporalOrderOfThree
from .problem import Problem
from .reber import EmbeddedReber
from .symbols import CopyMemory, Distractors, NoiseFree, NoRegularity, Parity

PROBLEMS: dict[str, type[Problem]] = {
    one.name: one
    for one in (
        EmbeddedReber,
        NoiseFree,
        NoRegularity,
        Distractors,
        TwoSequences,
        Adding,
        Adding1997,
        Multiplication,
        TemporalOrder,
        TemporalOrderOfThree,
        CopyMemory,
        Parity,
    )
}
