"""Loops are found in assembly, what they hold on the stack is counted, and their share of the peak is modelled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import assembly, emitted, mca, throughput
from benchmarks.assembly import Loop, loops
from benchmarks.emitted import PROCESSORS

from holdfast.engines.llvm.products import Products

needs_mca = pytest.mark.skipif(throughput.program() is None, reason=throughput.INSTALL)

NESTED = """
	.text
outer:                                  # @outer
	pushq	%rbp
.LBB0_1:                                # =>This Loop Header: Depth=1
	xorl	%eax, %eax
	vmovups	(%rsp), %ymm1                   # of the outer loop: no matter
.LBB0_2:                                #   Parent Loop BB0_1 Depth=1
	vbroadcastss	(%rdi,%rax,4), %ymm0
	vfmadd231ps	(%rsi), %ymm0, %ymm1
	vmovups	64(%rsp), %ymm2                 # 32-byte Reload
	vfmadd231ps	32(%rsi), %ymm0, %ymm2
	vmovups	%ymm2, 64(%rsp)                 # 32-byte Spill
	incq	%rax
	cmpq	%rax, %rcx
	jne	.LBB0_2
	decq	%rdx
	jne	.LBB0_1
	retq
plain:
.LBB1_1:
	leaq	8(%rsp,%rax), %rsi
	imulq	%rdx, %rax
	vfmadd231ss	(%rsi), %xmm0, %xmm1
	decq	%rcx
	jne	.LBB1_1
	retq
"""
ALIGNED = """
run:
	movq	%rsp, %rbp
	andq	$-32, %rsp
	movq	%rsp, %rbx
.LBB0_1:
	jmp	.LBB0_3
.LBB0_2:
	vfmadd231pd	-96(%rbp), %ymm0, %ymm1
	vmulpd	32(%rbx), %ymm0, %ymm3
	vmulpd	(%r12), %ymm0, %ymm3
	incq	%rax
.LBB0_3:
	cmpq	%rax, %rcx
	jg	.LBB0_2
	retq
"""
FREE = ALIGNED.replace("movq\t%rsp, %rbp", "movq\t%rdi, %rbp").replace("movq\t%rsp, %rbx", "movq\t%rsi, %rbx")
LINUX = """
tile:                                   // @tile
.LBB0_1:
	ldr	q0, [x0, #16]
	ldp	q1, q2, [sp, #32]                   // 32-byte Reload
	fmla	v1.4s, v0.4s, v2.s[0]
	str	q1, [sp, #32]
	madd	x3, x4, x5, x6
	subs	x1, x1, #1
	b.ne	.LBB0_1
	ret
"""
MACOS = """
_tile:                                  ; @tile
LBB0_1:                                 ; =>This Inner Loop Header: Depth=1
	ldur	q0, [x29, #-16]
	fmla.4s	v1, v0, v2[0]
	ldr	q3, [x0]
	cbnz	x1, LBB0_1
	ret
"""
TILES = """
tiles:
.LBB0_1:
	tileloadd	(%rdi,%rax), %tmm4
	tdpbf16ps	%tmm4, %tmm5, %tmm0
	decq	%rcx
	jne	.LBB0_1
	retq
"""
SWITCH = """
chosen:
	cmpq	$3, %rdi
.LBB0_1:
	jmpq	*%rax
.LBB0_2:
	vfmadd231ps	%ymm0, %ymm1, %ymm2
	jmp	.LBB0_1
.LBB0_3:
	retq
.LJTI0_0:
	.long	.LBB0_2-.LJTI0_0
	.long	.LBB0_3-.LJTI0_0
"""


@pytest.mark.parametrize(
    ("text", "name", "multiply_adds", "stack"),
    [
        (NESTED, "outer", 2, 2),
        (ALIGNED, "run", 1, 2),
        (FREE, "run", 1, 0),  # the frame's registers hold something else
        (LINUX, "tile", 1, 2),
        (MACOS, "tile", 1, 0),  # nobody said that x29 is the frame's
        (MACOS.replace("LBB0_1:", "\tmov\tx29, sp\nLBB0_1:"), "tile", 1, 1),
        (TILES, "tiles", 1, 0),
        (SWITCH, "chosen", 1, 0),
    ],
)
def test_innermost_loops_are_found_with_their_stack_accesses(
    text: str, name: str, multiply_adds: int, stack: int
) -> None:
    [loop] = loops(text)
    assert (loop.function, loop.multiply_adds, loop.stack) == (name, multiply_adds, stack)


def test_a_loop_is_its_blocks_and_nothing_between() -> None:
    [loop] = loops(ALIGNED)
    assert [assembly.mnemonic(line) for line in loop.instructions] == [
        *("vfmadd231pd", "vmulpd", "vmulpd", "incq"),
        *("cmpq", "jg"),
    ]


def test_a_loop_is_the_same_whatever_its_labels_are_called() -> None:
    [one], [other], [different] = (
        loops(NESTED.replace(*pair)) for pair in ((".LBB0", ".LBB0"), (".LBB0", ".LBB7"), ("64(%rsp)", "32(%rsp)"))
    )
    assert one.same() == other.same() != different.same()


def _turn(*lines: str) -> Loop:
    jump = "jne\t.LBB0_1" if any("%" in line for line in lines) else "b.ne\t.LBB0_1"
    [loop] = loops("\n".join(("f:", ".LBB0_1:", *lines, jump)))
    return loop


@pytest.mark.parametrize(
    ("lines", "sums", "chain"),
    [
        (["vfmadd231ps %ymm0, %ymm1, %ymm2"], True, 1),
        (["vfmadd231ps %ymm0, %ymm1, %ymm2"] * 3, True, 3),
        (["vfmadd231ps %ymm0, %ymm1, %ymm2", "vfmadd231ps %ymm0, %ymm1, %ymm3"], True, 1),
        (["vmovups (%rdi), %ymm2", "vfmadd231ps %ymm0, %ymm1, %ymm2"], False, 0),
        (["vpslld $16, %ymm0, %ymm5", "vfmadd213ps %ymm1, %ymm3, %ymm5", "vmovaps %ymm5, %ymm1"], True, 1),
        (["vmovups 8(%rsp), %ymm2", "vfmadd231ps %ymm0, %ymm1, %ymm2", "vmovups %ymm2, 8(%rsp)"], True, 1),
        (["vmovups 8(%rsp), %ymm2", "vfmadd231ps %ymm0, %ymm1, %ymm2", "vmovups %ymm2, (%rdi)"], False, 0),
        (["vmovups (%rdi), %zmm2 {%k1} {z}", "vfmadd231ps %zmm0, %zmm1, %zmm2"], False, 0),
        (["vmovups (%rdi), %zmm2 {%k1}", "vfmadd231ps %zmm0, %zmm1, %zmm2"], True, 1),
        (["vxorps %xmm2, %xmm2, %xmm2", "vfmadd231ps %ymm0, %ymm1, %ymm2"], False, 0),
        (["vxorps %ymm4, %ymm2, %ymm2", "vfmadd231ps %ymm0, %ymm1, %ymm2"], True, 1),
        (["vpmaddwd %ymm0, %ymm1, %ymm2", "vpaddd %ymm2, %ymm3, %ymm3"], True, 0),
        (["vpmaddwd %ymm0, %ymm1, %ymm2"], False, 0),
        (["fmla v0.4s, v1.4s, v2.s[0]"], True, 1),
        (["ldp q1, q0, [x0]", "fmla v0.4s, v1.4s, v2.s[0]"], False, 0),
        (["smull v4.4s, v0.4h, v1.4h", "add v3.4s, v3.4s, v4.4s"], True, 0),
    ],
)
def test_sums_are_told_from_what_is_elementwise(lines: list[str], sums: bool, chain: int) -> None:
    loop = _turn(*lines)
    assert (loop.sums, loop.chain) == (sums, chain)


# Kernels.


def test_what_the_engine_would_choose_there_is_compiled() -> None:
    chosen = {
        name: (p.target.name, p.target.bits, p.target.dots, p.target.tiles) for name, p in emitted.PROCESSORS.items()
    }
    assert chosen == {
        "haswell": ("avx2", 256, False, False),
        "znver3": ("avx2", 256, False, False),
        "znver4": ("avx512", 512, True, False),
        "sapphirerapids": ("avx512", 512, True, True),
        "neoverse-n1": ("portable", 128, False, False),
        "neoverse-v1": ("portable", 128, False, False),
        "apple-m1": ("portable", 128, False, False),
    }


def test_every_kernel_can_be_written() -> None:
    target = PROCESSORS["sapphirerapids"].target
    for layer in emitted.LAYERS:
        assert '@"run"(' in emitted.ir(f"{layer} stream", "float32", target)
    for kernel in emitted.KERNELS:
        assert any(
            emitted.exists(kernel, dtype, processor.target)
            for dtype in emitted.DTYPES
            for processor in PROCESSORS.values()
        ), kernel


def _run(path: Path, *options: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    status = mca.main([*options, "--processes", "1", "--json", str(path / "mca.json")])
    return status, json.loads((path / "mca.json").read_text())


HASWELL = ("--cpus", "haswell", "--dtypes", "float32", "--stack")


def test_a_register_tile_one_row_too_tall_is_flagged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, proper = _run(tmp_path, *HASWELL, "--kernels", "LSTM forward")
    tiles = {loop["loop"]: loop["stack"] for loop in proper["haswell"] if loop["kind"] == "product"}
    assert (status, tiles) == (0, dict.fromkeys(tiles, 0))
    assert "tile_4_3" in tiles

    original = Products.tile
    monkeypatch.setattr(Products, "tile", lambda self, results, rows: original(self, results, rows + 1))
    status, tall = _run(tmp_path, *HASWELL, "--kernels", "LSTM forward")
    tiles = {loop["loop"]: loop["stack"] for loop in tall["haswell"] if loop["kind"] == "product"}
    assert status == 1
    assert tiles["tile_4_4"] > 0  # 16 registers are full of sums
    assert tiles["tile_4_2"] == 0


def test_elementwise_loops_are_judged_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = (*HASWELL, "--kernels", "GRU forward")
    status, found = _run(tmp_path, *options)
    stack = {loop["kind"]: loop["stack"] for loop in found["haswell"]}
    assert (status, set(stack)) == (0, {"product", "elementwise"})
    assert "kernel elementwise" not in capsys.readouterr().out
    status, _ = _run(tmp_path, *options, "--elementwise")
    assert status == int(stack["elementwise"] > 0)
    assert "kernel elementwise" in capsys.readouterr().out


def test_each_loop_stands_once_for_all_its_kernels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = _run(tmp_path, *HASWELL, "--kernels", "GRU forward", "LSTM coupled forward")
    printed = capsys.readouterr().out
    bodies = [(loop["loop"], *loop["body"]) for loop in found["haswell"]]
    assert len(bodies) == len(set(bodies))
    tiles = {tuple(loop["kernels"]) for loop in found["haswell"] if loop["loop"].startswith("tile_3_")}
    assert tiles == {("GRU forward float32", "LSTM coupled forward float32")}
    assert all(len(line) <= mca.COLUMNS for line in printed.splitlines() if not line.startswith("written"))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(throughput.shutil, "which", lambda name: None)
    assert mca.main(["--cpus", "haswell", "--kernels", "RNN forward"]) == 2
    assert "apt-get install llvm-19" in capsys.readouterr().err


# The model.


@needs_mca
@pytest.mark.parametrize("name", [name for name, processor in PROCESSORS.items() if processor.model])
def test_the_ports_are_those_of_the_model(name: str) -> None:
    processor = PROCESSORS[name]
    bits = processor.target.bits
    register = {512: "%zmm{}", 256: "%ymm{}", 128: "v{}.4s"}[bits]
    order = (0, 1, 2) if processor.x86 else (2, 0, 1)  # where the sum stands
    sums = [2 + k % (12 if bits == 256 else 24) for k in range(24)]  # of 16 registers or 32
    lines = [
        ("vfmadd231ps " if processor.x86 else "fmla ") + ", ".join(register.format((0, 1, k)[part]) for part in order)
        for k in sums
    ]
    found = throughput.throughput(_turn(*lines), processor)
    assert found is not None
    assert found.share == pytest.approx(1, abs=0.05)
    assert found.limit == "multiply-adds"


@needs_mca
def test_what_holds_a_loop_back_is_named() -> None:
    haswell, n1 = PROCESSORS["haswell"], PROCESSORS["neoverse-n1"]
    single = throughput.throughput(_turn("vfmadd231ps %ymm0, %ymm1, %ymm2"), haswell)
    assert single is not None
    assert (round(single.cycles), single.limit) == (5, "latency of sums")
    assert single.share == pytest.approx(0.1, abs=0.01)
    loads = [f"vmovups {32 * k}(%rdi), %ymm{k}" for k in range(8)]
    loaded = throughput.throughput(_turn(*loads, "vfmadd231ps %ymm0, %ymm1, %ymm8"), haswell)
    assert loaded is not None
    assert (round(loaded.cycles), loaded.limit) in ((4, "loads"), (5, "latency of sums"))
    more = [f"ldr q{k}, [x0, #{16 * k}]" for k in range(16)]
    arm = throughput.throughput(_turn(*more, "fmla v16.4s, v0.4s, v1.4s", "subs x1, x1, #1"), n1)
    assert arm is not None
    assert arm.limit == "loads"


@needs_mca
def test_a_load_in_a_multiply_add_takes_no_place_of_its_own_in_the_front_end() -> None:
    sums = [f"vfmadd231ps {32 * k}(%rdi), %ymm0, %ymm{k + 1}" for k in range(12)]
    plain = throughput.throughput(_turn(*sums, "addq $384, %rdi", "cmpq %rdi, %rsi"), PROCESSORS["haswell"])
    assert plain is not None
    assert plain.share > mca.ENOUGH
    indexed = [line.replace("(%rdi)", "(%rdi,%rax)") for line in sums]
    taken_apart = throughput.throughput(_turn(*indexed, "addq $384, %rax", "cmpq %rax, %rsi"), PROCESSORS["haswell"])
    assert taken_apart is not None
    assert taken_apart.limit == "front end"


@needs_mca
def test_what_llvm_does_not_model_has_no_share() -> None:
    [tiles] = loops(TILES)
    assert throughput.throughput(tiles, PROCESSORS["sapphirerapids"]) is None
    [apple] = loops(MACOS)
    assert throughput.throughput(apple, PROCESSORS["apple-m1"]) is None


@needs_mca
def test_the_table_says_how_far_a_kernel_comes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--cpus", "sapphirerapids", "--dtypes", "float32", "--kernels", "LSTM forward")
    status, found = _run(tmp_path, *options)
    tile = next(loop for loop in found["sapphirerapids"] if loop["loop"] == "tile_4_6")
    assert (status, tile["stack"], tile["multiply_adds"]) == (0, 0, 24)
    assert mca.ENOUGH < tile["share"] < 1.01
    printed = capsys.readouterr().out
    assert "loops of products: " in printed
    assert all(len(line) <= mca.COLUMNS for line in printed.splitlines() if not line.startswith("written"))
