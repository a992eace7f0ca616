"""Kernels for machines that are not at hand, the choice of vectors by name, and machine code kept between processes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import pytest
import torch

import holdfast
from holdfast.engines.llvm import machine
from holdfast.engines.llvm.emit import emit
from holdfast.engines.llvm.matmul import Matmul
from holdfast.engines.llvm.precision import DOUBLE, HALF, SINGLE, Precision
from holdfast.engines.llvm.tile_matmul import TileMatmul
from holdfast.engines.steps import lowering
from holdfast.engines.steps.step import Step
from tests.engines.llvm.calls import lacking

ROOT = Path(__file__).parents[3]

# Other machines.

ARM, AMD = "AArch64", "x86-64"
TARGETS = {
    "Linux on ARM": machine.Target("portable", "aarch64-unknown-linux-gnu", "generic", "", 128, 24),
    "macOS on ARM": machine.Target("portable", "arm64-apple-darwin", "apple-m1", "", 128, 24),
    "macOS on x86-64": machine.Target("portable", "x86_64-apple-darwin", "x86-64", "", 128, 12),
    "Windows on x86-64": machine.Target("portable", "x86_64-pc-windows-msvc", "x86-64", "", 128, 12),
    "macOS with AVX2": machine.Target("avx2", "x86_64-apple-darwin", "haswell", "", 256, 12),
    "Windows with AVX2": machine.Target("avx2", "x86_64-pc-windows-msvc", "haswell", "", 256, 12),
    "Windows with AVX-512": machine.Target("avx512", "x86_64-pc-windows-msvc", "skylake-avx512", "", 512, 24),
}
EVERY = ("Linux on ARM", "macOS on ARM", "macOS on x86-64", "Windows on x86-64")
LAYERS: dict[str, Any] = {
    "LSTM": lambda: holdfast.LSTM(3, 8),
    "everything": lambda: holdfast.LSTM(
        3, 8, layer_norm=True, peephole=True, proj_size=4, heads=2, zoneout=(0.1, 0.1), cell_clip=1.0, grad_clip=1.0
    ),
    "SLSTM": lambda: holdfast.SLSTM(3, 8, forget_gate="exp", activation="softplus"),
    "GRU": lambda: holdfast.GRU(3, 8, reset_after=False, gate_activation="hard_sigmoid"),
}
MATMUL, TILES = "products over all steps", "products in tiles over all steps"
MATHEMATICS = ("exp", "tanh", "log", "log1p", "fma", "sqrt", "pow")


@pytest.fixture(scope="module", autouse=True)
def _all_of_llvm() -> None:
    machine.host()
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def _steps(name: str, half: bool = False) -> dict[str, tuple[Step, bool]]:
    """The kernels of a layer, and whether each reads its weights where they lie."""
    program = LAYERS[name]().program
    within, ahead = ("outside", "outside") if program.layer_norm else ("within", "ahead")
    found = {
        "forward": (lowering.forward(program, False, True, True, within, half).step, False),
        "traced": (lowering.forward(program, True, False, False, ahead, half).step, False),
        "backward": (lowering.backward(program, False, True, True, ())[1].step, False),
    }
    if half:  # no stream is in bfloat16
        return found
    return found | {"stream": (lowering.forward(program, False, False, False, "stream").step, True)}


def _text(layer: str, what: str, target: machine.Target, precision: Precision) -> str:
    """The IR of a kernel."""
    if what == MATMUL:
        return Matmul(target, precision).text()
    if what == TILES:
        return TileMatmul(target).text()
    step, raw = _steps(layer, precision.half)[what]
    return emit(step, target, precision, raw)[0]


def _object(text: str, target: machine.Target) -> tuple[bytes, str]:
    """The object file and the optimised IR of a kernel."""
    try:
        llvm.Target.from_triple(target.triple)
    except RuntimeError:
        pytest.skip(f"this llvmlite has no compiler for {target.triple}")
    compiler = target.machine()
    module = machine.optimised(text, compiler)
    return compiler.emit_object(module), str(module)


def _format(code: bytes) -> tuple[str, str]:
    """What an object file is: its format and the processor, by its first bytes."""
    if code[:4] == b"\x7fELF":
        return "ELF", {183: ARM, 62: AMD}[struct.unpack_from("<H", code, 18)[0]]
    if code[:4] == b"\xcf\xfa\xed\xfe":
        return "Mach-O", {0x0100000C: ARM, 0x01000007: AMD}[struct.unpack_from("<I", code, 4)[0]]
    return "COFF", {0x8664: AMD, 0xAA64: ARM}[struct.unpack_from("<H", code)[0]]


def _check(layer: str, name: str, precision: Precision, *kernels: str) -> None:
    target = TARGETS[name]
    system = name.split()[0]
    tiles = [TILES] if target.tiles else []
    for what in kernels or (*_steps(layer, precision.half), MATMUL, *tiles):
        code, ir = _object(_text(layer, what, target, precision), target)
        assert _format(code) == ({"Linux": "ELF", "macOS": "Mach-O", "Windows": "COFF"}[system], _processor(name))
        assert b"run\0" in code, what
        called = set(re.findall(r"^declare [^@]*@([\w.]+)\(", ir, re.MULTILINE))
        outside = {f for f in called if not f.startswith("llvm.")}
        assert outside <= {target.give_way}, what  # of the system's library, and of nobody's mathematics
        assert not target.openmp
        for function in MATHEMATICS:
            for suffix in ("", "f"):
                assert not re.search(rb"[\0_]" + (function + suffix).encode() + rb"\0", code), f"{what}: {function}"


def _processor(name: str) -> str:
    return ARM if name.endswith("ARM") else AMD


@pytest.mark.parametrize("name", EVERY)
def test_a_layer_with_every_option_compiles_for_every_system(name: str) -> None:
    _check("everything", name, SINGLE, "backward", MATMUL)
    _check("everything", name, HALF, "forward")


@pytest.mark.full
@pytest.mark.parametrize("precision", [SINGLE, DOUBLE, HALF], ids=["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", TARGETS)
def test_every_layer_compiles_for_every_system(name: str, layer: str, precision: Precision) -> None:
    _check(layer, name, precision)


def test_only_a_machine_with_pytorchs_openmp_calls_it() -> None:
    step, _ = _steps("GRU")["forward"]
    for openmp in (False, True):
        target = machine.Target("portable", "x86_64-unknown-linux-gnu", "x86-64", "", 128, 12, openmp)
        text, _, _ = emit(step, target, SINGLE)
        assert ("GOMP_parallel" in text) == openmp


# Vectors by name.

ALL = ("avx2", "fma", "avx512f", "avx512vl", "avx512dq", "avx512bw")
HALVES = ("avx512bf16", "amx-tile", "amx-bf16")
WINDOWS, MAC = "x86_64-pc-windows-msvc", "arm64-apple-darwin"


def _host_of(monkeypatch: pytest.MonkeyPatch, triple: str, *features: str, wanted: str = "") -> machine.Target:
    """The target on a machine that has these features."""
    known = type(llvm.get_host_cpu_features())({name: name in features for name in (*ALL, *HALVES)})
    monkeypatch.setattr(machine.llvm, "get_process_triple", lambda: triple)
    monkeypatch.setattr(machine.llvm, "get_host_cpu_features", lambda: known)
    found: machine.Target = machine.host.__wrapped__(wanted)
    return found


def test_the_best_vectors_that_a_machine_has_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _host_of(monkeypatch, WINDOWS, *ALL).name == "avx512"
    assert _host_of(monkeypatch, WINDOWS, *ALL[:2]).name == "avx2"
    assert _host_of(monkeypatch, WINDOWS).name == "portable"
    assert _host_of(monkeypatch, MAC).name == "portable"
    assert _host_of(monkeypatch, WINDOWS, "avx2").name == "portable"  # without fused multiplication
    for missing in ALL[2:]:
        assert _host_of(monkeypatch, WINDOWS, *(f for f in ALL if f != missing)).name == "avx2"


@pytest.mark.parametrize(
    ("triple", "features", "rows"),
    [
        ("x86_64-unknown-linux-gnu", ("avx2", "fma"), (3, 4)),
        ("x86_64-unknown-linux-gnu", ("avx2", "fma", "avx512f", "avx512vl", "avx512dq", "avx512bw"), (6, 8)),
        ("aarch64-unknown-linux-gnu", (), (4, 4)),
    ],
)
def test_a_register_tile_has_as_many_rows_as_find_room(
    triple: str, features: tuple[str, ...], rows: tuple[int, int]
) -> None:
    target = machine.target_for(triple, "", llvm.FeatureMap(dict.fromkeys(features, True)))
    assert (target.tile_rows(4), target.tile_rows(3)) == rows


def test_products_of_bfloat16_are_used_where_all_that_they_need_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_tiles_granted", lambda: True)
    for features, wanted, dots, tiles in (
        ((*ALL, *HALVES), "", True, True),
        ((*ALL, *HALVES), "avx512", True, False),  # by name, without the tiles
        ((*ALL, *HALVES), "avx2", False, False),
        ((*ALL, *HALVES), "portable", False, False),
        (ALL, "", False, False),
        ((*ALL, HALVES[0]), "", True, False),
        ((*ALL, *HALVES[:2]), "", True, False),
        ((*ALL, *HALVES[1:]), "", False, False),
        ((*ALL[:2], *HALVES), "", False, False),
    ):
        found = _host_of(monkeypatch, WINDOWS, *features, wanted=wanted)
        assert (found.dots, found.tiles) == (dots, tiles), (features, wanted)
    monkeypatch.setattr(machine, "_tiles_granted", lambda: False)  # the system keeps them
    found = _host_of(monkeypatch, WINDOWS, *ALL, *HALVES)
    assert (found.dots, found.tiles) == (True, False)


def test_the_system_is_asked_for_the_tiles_on_linux_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class System:
        def __init__(self, answer: int) -> None:
            self.answer = answer

        @property
        def syscall(self) -> Any:
            def call(*numbers: Any) -> int:
                asked.append([number.value for number in numbers])
                return self.answer

            return call

    for answer in (0, -1):
        monkeypatch.setattr(machine.sys, "platform", "linux")
        monkeypatch.setattr(machine.ctypes, "CDLL", lambda _, answer=answer: System(answer))
        assert machine._tiles_granted() == (answer == 0)
    assert asked == [[158, 0x1023, 18]] * 2
    for platform in ("darwin", "win32"):
        monkeypatch.setattr(machine.sys, "platform", platform)
        assert not machine._tiles_granted()
    assert len(asked) == 2


def test_a_cache_of_unknown_size_is_taken_for_one_of_a_mebibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "SC_LEVEL2_CACHE_SIZE"
    for names, size, expected in (({name: 1}, 2 << 20, 2 << 20), ({name: 1}, 0, 1 << 20), ({}, 2 << 20, 1 << 20)):
        monkeypatch.setattr(machine.os, "sysconf_names", names, raising=False)
        monkeypatch.setattr(machine.os, "sysconf", lambda _, size=size: size, raising=False)
        assert machine.own_cache.__wrapped__() == expected


@pytest.mark.parametrize(
    ("triple", "features", "wanted", "best"),
    [
        (WINDOWS, ALL[:2], "avx512", "avx2"),
        (WINDOWS, (), "avx512", "portable"),
        (WINDOWS, (), "avx2", "portable"),
        (MAC, (), "avx2", "portable"),
    ],
)
def test_vectors_that_a_machine_lacks_are_refused(
    triple: str, features: tuple[str, ...], wanted: str, best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = f"^{machine.VARIABLE} is {wanted}, but this machine has {best} only$"
    with pytest.raises(ValueError, match=expected):
        _host_of(monkeypatch, triple, *features, wanted=wanted)


@pytest.mark.parametrize("wanted", ["sse2", "AVX2", "avx512f", " avx2"])
def test_unknown_vectors_are_refused(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = holdfast.LSTM(3, 5, engine="llvm"), torch.randn(4, 2, 3)
    expected = f"^{machine.VARIABLE} must be one of portable, avx2, avx512; got '{wanted}'$"
    with pytest.raises(ValueError, match=expected):
        machine.host(wanted)
    monkeypatch.setenv(machine.VARIABLE, wanted)
    for call in (machine.current, lambda: layer(x)):
        with pytest.raises(ValueError, match=expected):
            call()


def test_a_lower_target_is_the_same_on_every_machine_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = _host_of(monkeypatch, WINDOWS, *ALL, wanted="avx2")
    assert wide == _host_of(monkeypatch, WINDOWS, *ALL[:2])
    assert _host_of(monkeypatch, WINDOWS, *ALL, wanted="portable") == _host_of(monkeypatch, WINDOWS)


# Machine code kept between processes.


def _returning(number: int) -> str:
    return f"define i64 @run() {{\n  ret i64 {number}\n}}\n"


class Cache:
    """A cache of its own, and how often LLVM's optimiser has run."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(root))
        self.folder = root / "holdfast" / "kernels"
        self.optimised = 0
        original = machine.optimised

        def count(*given: Any) -> Any:
            self.optimised += 1
            return original(*given)

        monkeypatch.setattr(machine, "optimised", count)

    def result(self, number: int, target: machine.Target | None = None) -> int:
        """What a function returns that is to return a number."""
        address = machine.compiled(_returning(number), target or machine.host())
        found: int = ctypes.CFUNCTYPE(ctypes.c_int64)(address)()
        return found

    def files(self) -> list[Path]:
        """What is kept."""
        return sorted(self.folder.iterdir())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    return Cache(tmp_path, monkeypatch)


@pytest.fixture
def open_to_all() -> Any:
    """New files are open to everybody unless their maker says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


posix = pytest.mark.skipif(not hasattr(os, "getuid"), reason="this system has no modes of files")


@posix
@pytest.mark.usefixtures("open_to_all")
def test_the_folder_and_its_files_are_the_users_alone(cache: Cache) -> None:
    cache.result(1)
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(f.stat().st_mode) for f in cache.files()] == [0o600]


def test_what_was_compiled_is_not_optimised_again(cache: Cache) -> None:
    assert [cache.result(7), cache.result(7), cache.result(8), cache.result(8)] == [7, 7, 8, 8]
    assert cache.optimised == 2
    assert len(cache.files()) == 2


@pytest.mark.parametrize("vectors", [pytest.param("avx2", marks=lacking("avx2"))])
def test_another_target_has_other_machine_code(cache: Cache, vectors: str) -> None:
    for target in (machine.host("portable"), machine.host(vectors)):
        assert cache.result(7, target) == 7
    assert cache.optimised == 2
    assert len(cache.files()) == 2


_PROCESS = """
import torch, holdfast
from holdfast.engines.llvm import machine
count, original = 0, machine.optimised
def counted(*given):
    global count
    count += 1
    return original(*given)
machine.optimised = counted
torch.manual_seed(0)
layer = holdfast.RNN(3, 5, engine="llvm")
y, _ = layer(torch.randn(4, 2, 3))
y.sum().backward()
print(count, y.sum().item(), layer.weight_hh_l0.grad.sum().item())
"""


def _process(**more: str) -> list[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | more
    command = [sys.executable, "-W", "error", "-c", _PROCESS]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_second_process_optimises_nothing(cache: Cache) -> None:
    first, second = _process(), _process()
    assert first[0] == "2"
    assert second == ["0", *first[1:]]
    assert len(cache.files()) == 2


DAMAGES: dict[str, Any] = {
    "empty": lambda data: b"",
    "half a hash": lambda data: data[:16],
    "a hash alone": lambda data: data[:32],
    "half": lambda data: data[: len(data) // 2],
    "all but the last byte": lambda data: data[:-1],
    "a byte too many": lambda data: data + b"\0",
    "another hash": lambda data: bytes(32) + data[32:],
    "another byte": lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    "zeros": lambda data: bytes(len(data)),
    "noise": lambda data: os.urandom(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_not_run_but_compiled_again(cache: Cache, damage: str) -> None:
    assert cache.result(7) == 7
    [file] = cache.files()
    whole = file.read_bytes()
    file.write_bytes(DAMAGES[damage](whole))
    assert cache.result(7) == 7
    assert cache.optimised == 2
    assert cache.files() == [file]
    assert file.read_bytes() == whole  # and kept again
    assert cache.result(7) == 7
    assert cache.optimised == 2


def _replaced(cache: Cache) -> None:
    """Somebody replaces what is kept by code that returns 8, with its right hash."""
    assert (cache.result(7), cache.result(8)) == (7, 8)
    codes = {machine_code: f for f in cache.files() for machine_code in [f.read_bytes()]}
    assert len(codes) == 2
    one, other = codes
    for code, file in codes.items():
        file.write_bytes(other if code == one else one)
        assert hashlib.sha256(file.read_bytes()[32:]).digest() == file.read_bytes()[:32]


@posix
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o720, 0o702], ids=oct)
def test_a_folder_that_others_can_write_to_is_not_used(cache: Cache, mode: int) -> None:
    _replaced(cache)
    assert (cache.result(7), cache.result(8)) == (8, 7)  # they are what would be run
    cache.folder.chmod(mode)
    before = {f: f.read_bytes() for f in cache.files()}
    assert (cache.result(7), cache.result(8), cache.result(9)) == (7, 8, 9)
    assert cache.optimised == 5
    assert {f: f.read_bytes() for f in cache.files()} == before


@posix
def test_a_folder_of_somebody_else_is_not_used(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    _replaced(cache)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert (cache.result(7), cache.result(9)) == (7, 9)
    assert len(cache.files()) == 2


def test_where_nothing_can_be_kept_everything_still_runs(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    assert [cache.result(7), cache.result(7)] == [7, 7]
    assert cache.optimised == 2
    assert file.read_text() == "not a folder"
    assert _process()[0] == "2"


def test_a_home_that_cannot_be_written_to_is_no_error(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(file))
    assert cache.result(7) == 7


@posix
def test_a_user_without_a_home_is_no_error(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    def nobody(number: int) -> Any:
        raise KeyError(number)

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert cache.result(7) == 7


def test_a_full_disk_is_no_error_and_leaves_nothing_behind(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.result(1)
    kept = cache.files()

    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert cache.result(7) == 7
    assert cache.files() == kept


def test_without_the_variable_the_folder_lies_in_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        else:
            monkeypatch.setenv("XDG_CACHE_HOME", value)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert machine.cache_folder() == tmp_path / ".cache" / "holdfast" / "kernels"


def test_code_without_the_function_asked_for_is_an_error(cache: Cache) -> None:
    with pytest.raises(RuntimeError, match="has no function walk"):
        machine.compiled(_returning(7), machine.host(), "walk")
