"""LLVM's assembly text as innermost loops: what multiplies and adds there, and what accesses the stack."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_LOCAL = re.compile(r"^\.?L[\w.$]+$")  # a label within a function: .LBB0_1, on macOS LBB0_1
_LABEL = re.compile(r"^([\w.$]+):$")
_COMMENT = re.compile(r"\s*(#+ |//|;).*")  # "#" alone begins a number on AArch64
_IN_TABLE = re.compile(r"\.?LBB\d+_\d+")

# A register with itself: all bits 0, or 1, whatever it held.
_CONSTANT = re.compile(r"v?p?xor|v?pcmpeq")
# Multiply-adds of vectors by their mnemonics; those of single numbers, ss, sd and fmadd, are no work of a product.
_MULTIPLY_ADD = re.compile(
    r"(vfn?m(add|sub)\d{3}p[sd]|vdpbf16ps|tdpbf16ps|vpmaddwd|vpdpwssd"
    r"|fml[as](\.\d+[sd])?|bfdot(\.\d+s)?|bfmmla(\.\d+s)?|[su]m(lal|ull)2?(\.\d+s)?(?= v)) "
)
_OVERWRITES = re.compile(r"vpmaddwd|[su]mull")  # and adds to nothing: an addition follows
_POINTER_OF_STACK = (  # a frame pointer, and a base pointer where the frame is aligned
    re.compile(r"^movq\s+%rsp,\s*%(rbp|rbx)$"),
    re.compile(r"^mov\s+(x29|x19),\s*sp$"),
    re.compile(r"^add\s+(x29),\s*sp,"),
)
_X86_MEMORY = re.compile(r"\(%(\w+)?(?:,\s*%(\w+))?[^)]*\)")
_ARM_MEMORY = re.compile(r"\[(\w+)")


@dataclass(frozen=True)
class Loop:
    """An innermost loop.

    Attributes:
        function: the function that it is in.
        body: its labels and instructions, in the order in which they lie.
        stack: how many instructions access the stack.
        multiply_adds: how many instructions multiply and add vectors.
        sums: whether products are added up over its turns, as in a product of matrices; what is elementwise is not.
        chain: how many multiply-adds of a turn wait for each other in a sum.
    """

    function: str
    body: tuple[str, ...]
    stack: int
    multiply_adds: int
    sums: bool
    chain: int

    @property
    def instructions(self) -> list[str]:
        """The body without its labels."""
        return [line for line in self.body if not _LABEL.match(line)]

    def same(self) -> str:
        """The body with its labels numbered from 0, by which it is the same loop in another kernel."""
        known: dict[str, str] = {}
        text = "\n".join(self.body)
        return _IN_TABLE.sub(lambda m: known.setdefault(m[0], f".L{len(known)}"), text)


@dataclass
class _Block:
    label: str
    lines: list[str] = field(default_factory=list)


@dataclass
class _Function:
    name: str
    blocks: list[_Block]
    tables: set[str] = field(default_factory=set)  # labels that its jump tables name


def mnemonic(instruction: str) -> str:
    """What an instruction does.

    >>> mnemonic("vfmadd231ps %ymm0, %ymm1, %ymm2")
    'vfmadd231ps'
    """
    return instruction.split(None, 1)[0]


def multiplies(instruction: str) -> bool:
    """Whether an instruction multiplies vectors and adds.

    >>> multiplies("fmla v0.4s, v1.4s, v2.s[0]"), multiplies("madd x0, x1, x2, x3")
    (True, False)
    """
    return _MULTIPLY_ADD.match(instruction) is not None


def loops(assembly: str) -> list[Loop]:
    """The innermost loops that multiply and add vectors.

    Args:
        assembly: of x86-64 in AT&T's syntax or of AArch64, as LLVM writes it.
    """
    return [loop for function in _functions(assembly) for loop in _innermost(function) if loop.multiply_adds]


def _functions(assembly: str) -> list[_Function]:
    functions: list[_Function] = []
    for raw in assembly.splitlines():
        line = _COMMENT.sub("", raw).strip()
        label = _LABEL.match(line)
        if label and not _LOCAL.match(label[1]):
            functions.append(_Function(label[1], [_Block("")]))
        elif not line or not functions:
            continue
        elif label:
            functions[-1].blocks.append(_Block(label[1]))
        elif line.startswith("."):
            functions[-1].tables.update(_IN_TABLE.findall(line))
        else:
            blocks = functions[-1].blocks
            if blocks[-1].lines and _jump(blocks[-1].lines[-1]) is not None:
                blocks.append(_Block(""))
            blocks[-1].lines.append(re.sub(r"\s+", " ", line))
    return functions


def _jump(instruction: str) -> tuple[str, bool] | None:
    """Where an instruction jumps to, "" for a place that it computes, and whether it may go on; None if it stays."""
    name, _, operands = instruction.partition(" ")
    last = operands.split(",")[-1].strip()
    if name.startswith("ret"):
        return ("none", False)
    if name in ("jmp", "jmpq", "b", "br"):
        return (last if _LOCAL.match(last) else "", False)
    if name.startswith("j") or re.match(r"^(b\.\w+|cbn?z|tbn?z)$", name):
        return (last, True)
    return None


def _innermost(function: _Function) -> Iterator[Loop]:
    blocks = function.blocks
    following = _following(function)
    found: dict[int, set[int]] = {}
    for end, head in _backward(following):
        found.setdefault(head, {head}).update(_between(head, end, following))
    pointers = {"rsp", "sp"}
    for block in blocks:
        for line in block.lines:
            pointers.update(match[1] for pattern in _POINTER_OF_STACK if (match := pattern.match(line)))
    for head, inside in sorted(found.items()):
        if any(other != head and other in inside for other in found):
            continue
        body: list[str] = []
        for k in sorted(inside):
            body += [f"{blocks[k].label}:"] if blocks[k].label else []
            body += blocks[k].lines
        instructions = [line for line in body if not _LABEL.match(line)]
        stack = sum(_on_stack(line, pointers) for line in instructions)
        sums, chain = _sums(instructions, pointers)
        name = function.name.lstrip("_")
        yield Loop(name, tuple(body), stack, sum(map(multiplies, instructions)), sums, chain)


def _following(function: _Function) -> list[list[int]]:
    """The blocks that may follow each one."""
    blocks = function.blocks
    place = {block.label: k for k, block in enumerate(blocks) if block.label}
    following: list[list[int]] = []
    for k, block in enumerate(blocks):
        jump = _jump(block.lines[-1]) if block.lines else None
        to = []
        if jump is not None:
            target, goes_on = jump
            to = [place[t] for t in ([target] if target else sorted(function.tables)) if t in place]
        if (jump is None or goes_on) and k + 1 < len(blocks):
            to.append(k + 1)
        following.append(to)
    return following


def _backward(following: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The jumps that close a loop, from its end to its head, by a walk from the function's entry."""
    back, seen, open_ = [], {0}, {0}
    path = [(0, iter(following[0]))]
    while path:
        block, rest = path[-1]
        other = next(rest, None)
        if other is None:
            open_.discard(block)
            path.pop()
        elif other in open_:
            back.append((block, other))
        elif other not in seen:
            seen.add(other)
            open_.add(other)
            path.append((other, iter(following[other])))
    return back


def _between(head: int, end: int, following: Sequence[Sequence[int]]) -> set[int]:
    """The blocks from which a loop's end is reached without its head, and its end."""
    before: list[list[int]] = [[] for _ in following]
    for k, to in enumerate(following):
        for other in to:
            before[other].append(k)
    inside, left = {head, end}, [end]
    while left:
        block = left.pop()
        if block != head:
            new = [k for k in before[block] if k not in inside]
            inside.update(new)
            left += new
    return inside


def _on_stack(instruction: str, pointers: set[str]) -> bool:
    """Whether an instruction reads or writes the stack; the computation of an address there does not."""
    if instruction.startswith("lea"):
        return False
    of_x86 = any(name in pointers for match in _X86_MEMORY.finditer(instruction) for name in match.groups() if name)
    return of_x86 or any(name in pointers for name in _ARM_MEMORY.findall(instruction))


def _sums(instructions: Sequence[str], pointers: set[str]) -> tuple[bool, int]:
    """Whether products are added up from turn to turn, and how many multiply-adds lie one after the other on that way.

    Each register and place on the stack is followed through a turn: from which values at its start it was computed, and
    through how many multiply-adds.
    """
    product = "*"  # stands for what the turn has multiplied
    values: dict[str, dict[str, int]] = {}
    for line in instructions:
        written, read = _operands(line, pointers)
        new: dict[str, int] = {product: 0} if multiplies(line) else {}
        for place in read:
            for start, count in values.get(place, {place: 0}).items():
                new[start] = max(new.get(start, 0), count + multiplies(line))
        values |= dict.fromkeys(written, new)
    own = [value[place] for place, value in values.items() if place in value and product in value]
    return bool(own), max(own, default=0)


def _operands(instruction: str, pointers: set[str]) -> tuple[list[str], list[str]]:
    """The vector registers and places on the stack that an instruction writes, and those that it reads."""
    name, _, text = instruction.partition(" ")
    adds = multiplies(instruction) and not _OVERWRITES.match(instruction)
    if "%" in text:
        text = re.sub(r"\{%k\d\} \{z\}", "", text)
        merges = re.search(r"\{%k\d\}$", text) is not None
        text = re.sub(r"\s*\{%k\d\}", "", text).strip()
        places = [m for m in re.finditer(r"%[xyzt]mm(\d+)|[-\w.]*\([^)]*\)", text) if m[1] or _on_stack(m[0], pointers)]
        names = [f"v{m[1]}" if m[1] else m[0] for m in places]
        if not places or places[-1].end() != len(text):
            return [], names
        if len(set(names)) == 1 and _CONSTANT.match(name):
            return names[-1:], []
        return names[-1:], names if merges or adds else names[:-1]
    matches = re.finditer(r"\b[vqdsb](\d+)\b|\[[^\]]*\]", text)
    names = [f"v{m[1]}" if m[1] else m[0] for m in matches if m[1] or _on_stack(m[0], pointers)]
    if name.startswith("st"):
        return [place for place in names if place.startswith("[")], [n for n in names if not n.startswith("[")]
    count = 2 if name.startswith("ldp") else 1
    partly = name == "ins" or re.match(r"(v\d+\.\w+|\{ ?v\d+\.\w+ ?\})\[", text)
    return names[:count], names if partly or adds else names[count:]
