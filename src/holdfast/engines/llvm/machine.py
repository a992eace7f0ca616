"""The machine that kernels are compiled for: its vector units, and the compiler."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import sys
import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from . import threads

MOST_KEPT = 2000  # files of machine code, of some 20 kB each
VARIABLE = "HOLDFAST_VECTORS"  # lowers the target: avx512 (without AMX's tiles), avx2 or portable

_ARCH_PRCTL, _ASK_FOR_STATE, _TILE_DATA = 158, 0x1023, 18  # of Linux on x86-64: arch_prctl(ARCH_REQ_XCOMP_PERM, …)


@dataclass(frozen=True)
class Target:
    """What kernels are compiled for.

    Attributes:
        name: "avx512", "avx2" or "portable".
        triple: LLVM's name of the platform.
        cpu: LLVM's name of the processor; empty for any of its kind.
        features: LLVM's names of what it can do.
        bits: the width of its vectors.
        registers: how many vector registers a register tile may use.
        openmp: whether PyTorch brings an OpenMP runtime whose pool kernels can use.
        dots: whether it multiplies vectors of bfloat16 numbers (AVX-512-BF16).
        tiles: whether it multiplies tiles of them (AMX), and this process may.
        library: whether PyTorch's matrix products over all steps are faster than the engine's own: they were measured
            slower on AMD's processors with AVX-512 only.
        rows: the most rows of a register tile.
    """

    name: str
    triple: str
    cpu: str
    features: str
    bits: int
    registers: int
    openmp: bool = False
    dots: bool = False
    tiles: bool = False
    library: bool = True
    rows: int = 8

    def lanes(self, size: int) -> int:
        """How many numbers of so many bytes a vector holds."""
        return self.bits // (8 * size)

    def tile_rows(self, vectors: int, masked: bool = False) -> int:
        """How many rows a register tile of so many vectors has.

        Beside the sums, the fewer of its factors stay in registers (see `Numbers.multiplied`), and one of the others;
        and a mask, where entries of rows need one and are not read before the vectors.

        >>> avx2, avx512 = (Target("", "", "", "", bits, registers) for bits, registers in ((256, 16), (512, 32)))
        >>> avx2.tile_rows(4), avx512.tile_rows(4), avx2.tile_rows(16)
        (3, 6, 1)
        """

        def needed(rows: int) -> int:
            return rows * vectors + min(rows, vectors) + 1 + (masked and rows > vectors)

        fitting = [rows for rows in range(1, self.rows + 1) if needed(rows) <= self.registers]
        return max(fitting, default=1)

    @property
    def x86(self) -> bool:
        """Whether it has the x86-64 instructions."""
        return self.triple.startswith("x86_64")

    @property
    def attributes(self) -> str:
        """Attributes of functions that make LLVM use the full width."""
        if self.name != "avx512":
            return ""
        return '"prefer-vector-width"="512" "min-legal-vector-width"="512"'

    @property
    def give_way(self) -> str:
        """The function of the system's library that gives the processor to another thread."""
        return "SwitchToThread" if "windows" in self.triple else "sched_yield"

    def machine(self) -> llvm.TargetMachine:
        """LLVM's object for it."""
        target = llvm.Target.from_triple(self.triple)
        return target.create_target_machine(
            cpu=self.cpu, features=self.features, opt=2, reloc="pic", codemodel="jitdefault"
        )


def _initialise() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def target_for(triple: str, cpu: str, features: llvm.FeatureMap, requested: str = "") -> Target:
    """The best target of a machine, at hand or not, or a lower one by name.

    What a process has beside the processor (OpenMP's runtime, the permission to use tiles) is `host`'s to know.

    Args:
        triple: LLVM's name of the platform.
        cpu: LLVM's name of the processor.
        features: what the processor can do, by LLVM's names.
        requested: the name of a target; empty for the best.
    """
    best = "portable"
    if triple.startswith("x86_64") and features.get("avx2") and features.get("fma"):
        wide = all(features.get(f) for f in ("avx512f", "avx512vl", "avx512dq", "avx512bw"))
        best = "avx512" if wide else "avx2"
    names = ("portable", "avx2", "avx512")
    if requested and requested not in names:
        raise ValueError(f"{VARIABLE} must be one of {', '.join(names)}; got {requested!r}")
    if requested and names.index(requested) > names.index(best):
        raise ValueError(f"{VARIABLE} is {requested}, but this machine has {best} only")
    name = requested or best
    if name == "avx512":
        dots = bool(features.get("avx512bf16"))
        tiles = dots and not requested and all(features.get(f) for f in ("amx-tile", "amx-bf16"))
        library = not cpu.startswith("znver")
        return Target(name, triple, cpu, features.flatten(), 512, 32, dots=dots, tiles=tiles, library=library)
    if name == "avx2":
        return Target(name, triple, "haswell", "", 256, 16)
    if triple.startswith("x86_64"):
        return Target(name, triple, "x86-64", "", 128, 16)
    # NEON multiplies by one number of a register. LLVM uses that for up to four rows; the entries of more it spreads as
    # it reads them, which takes the pipes that multiply, and spills.
    return Target(name, triple, cpu, features.flatten(), 128, 32, rows=4)


@functools.cache
def host(requested: str = "") -> Target:
    """The best target that this machine has, or a lower one by name."""
    _initialise()
    found = target_for(llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features(), requested)
    for symbol, address in threads.symbols().items():
        llvm.add_symbol(symbol, address)
    return replace(found, openmp=threads.runtime() is not None, tiles=found.tiles and _tiles_granted())


@functools.cache
def own_cache() -> int:
    """Bytes of the cache that a processor shares with no other; where the system does not tell, what most have."""
    name = "SC_LEVEL2_CACHE_SIZE"
    found = os.sysconf(name) if name in getattr(os, "sysconf_names", {}) else 0
    return found if found > 0 else 1 << 20


def _tiles_granted() -> bool:
    """Ask the system to let this process use AMX's tiles: their state is large, so that it must be asked for."""
    if not sys.platform.startswith("linux"):
        return False
    call = ctypes.CDLL(None).syscall
    call.restype = ctypes.c_long
    return bool(call(*map(ctypes.c_long, (_ARCH_PRCTL, _ASK_FOR_STATE, _TILE_DATA))) == 0)


def current() -> Target:
    """The target that kernels are compiled for now."""
    return host(os.environ.get(VARIABLE, ""))


_lock = threading.RLock()  # llvmlite's compiler must not be entered twice
if hasattr(os, "register_at_fork"):  # nor by a child that was forked while another thread was in it
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
_engines: list[llvm.ExecutionEngine] = []  # kernels live as long as the process


def optimised(text: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """IR as text, through LLVM's optimiser."""
    module = llvm.parse_assembly(text)
    module.verify()
    # The IR is in SSA form and its loops are written as they are to run: higher levels take three times as long to
    # compile and give kernels that are no faster.
    options = llvm.create_pipeline_tuning_options(speed_level=0)
    options.loop_vectorization = False  # the kernels are vectors already
    options.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


def compiled(text: str, target: Target, name: str = "run") -> int:
    """The address of a function of a module, as machine code."""
    with _lock:
        machine = target.machine()
        key = hashlib.sha256("\n".join((text, repr(target), llvmlite.__version__)).encode()).hexdigest()
        known = _cached(key)
        module = llvm.parse_assembly("") if known else optimised(text, machine)
        if known:
            engine = llvm.create_mcjit_compiler(module, machine)
            engine.add_object_file(llvm.ObjectFileRef.from_data(known))
        else:
            objects = machine.emit_object(module)
            _keep(key, objects)
            engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
            engine.add_object_file(llvm.ObjectFileRef.from_data(objects))
        engine.finalize_object()
        _engines.append(engine)
        address: int = engine.get_function_address(name)
        if not address:
            raise RuntimeError(f"the compiled kernel has no function {name}")
        return address


def cache_folder() -> Path:
    """Where machine code is kept between processes."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "holdfast" / "kernels"


def _private_folder() -> Path | None:
    """The cache's folder, if it is there and nobody else can write to it."""
    try:
        folder = cache_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except (OSError, RuntimeError):  # no home that can be written to: kernels are then compiled in each process
        return None
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o077):
        return None
    return folder


def _cached(key: str) -> bytes | None:
    """Machine code from an earlier process; it starts with its own hash, so that a torn file is not run."""
    folder = _private_folder()
    if folder is None:
        return None
    try:
        data = (folder / key).read_bytes()
    except OSError:
        return None
    digest, code = data[:32], data[32:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(key: str, code: bytes) -> None:
    """Keep machine code for later processes."""
    folder = _private_folder()
    if folder is None:
        return
    with contextlib.suppress(OSError):  # a full disk must not stop a run
        _make_room(folder)
        handle, name = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(code).digest() + code)
            os.replace(name, folder / key)
        except OSError:
            os.unlink(name)
            raise


def _make_room(folder: Path) -> None:
    """Remove the older half of what is kept, if it is more than any program needs."""
    kept = list(folder.iterdir())
    if len(kept) >= MOST_KEPT:
        for path in sorted(kept, key=lambda path: path.stat().st_mtime)[: MOST_KEPT // 2]:
            path.unlink(missing_ok=True)
