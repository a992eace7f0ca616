"""A run is a folder that a person can read.

config.toml           what was asked for, complete: the task, the data, every option
metrics.jsonl         one object a line: step, loss, norm, rate, and valid_… where it was evaluated
model.safetensors     the best model; its metadata holds what builds it
checkpoints/          the latest two, to go on from
report.html           curves, baselines, samples
README.md             the model card
data/                 what was given in memory, and the model that the run began with, so that it can read them again
.origin               says that the run was made on this machine, in this place: see `origin.py`
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from torch import Tensor, nn

from holdfast.extras import require

from . import origin
from .files import remove_parts, sync_folder, write_atomically
from .options import TrainingOptions
from .tensors import DamagedFile, load_tensors, save_tensors

KEPT = 2  # checkpoints
CONFIG, METRICS, MODEL, CHECKPOINTS = "config.toml", "metrics.jsonl", "model.safetensors", "checkpoints"
DATA = "data"
_OWN = (CONFIG, METRICS, MODEL, CHECKPOINTS, DATA, "report.html", "README.md", "recent.safetensors", origin.MARK)


class RunError(ValueError):
    """A folder that is not a run, or cannot become one."""


class Run:
    """A run's folder.

    Args:
        folder: where it is.
        facts: what `model.safetensors` is to say beside the weights: how the model is built.
        trust_paths: whether files that the run names may be opened although it was not made here.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any] | None = None, trust_paths: bool = False) -> None:
        self.folder = folder
        self.trust_paths = trust_paths
        self.facts = dict(facts or {})
        self.lines: TextIO | None = None
        self.events: Any = None

    @classmethod
    def create(cls, folder: Path, config: Mapping[str, Any]) -> Run:
        """A new run.

        Raises:
            RunError: something is there already.
            OSError: the folder cannot be written to.
        """
        cls.check_free(folder)
        content = _written(config)  # what cannot be written leaves no folder
        there = folder.is_dir()
        try:
            (folder / CHECKPOINTS).mkdir(parents=True)
            write_atomically(folder / CONFIG, content)
        except OSError:  # of a full disk perhaps; a folder without its configuration would block the next try
            shutil.rmtree(folder / CHECKPOINTS if there else folder, ignore_errors=True)
            raise
        origin.mark(folder, config["data"])
        return cls(folder)

    @staticmethod
    def check_free(folder: Path, data: bool = True) -> None:
        """Refuse a folder that is in use.

        Args:
            folder: what is to become a run's.
            data: whether it may hold the data that the run is made of.

        Raises:
            RunError: something else is there already.
        """
        allowed = {DATA} if data else set()
        if folder.exists() and (not folder.is_dir() or any(path.name not in allowed for path in folder.iterdir())):
            if (folder / CONFIG).is_file():
                raise RunError(f"{folder} holds a run already; go on with --resume {folder}, or choose another --out")
            raise RunError(f"{folder} exists and is not empty; choose another --out")

    @staticmethod
    def check_packages(options: TrainingOptions) -> None:
        """Refuse to begin a run without the packages that write it.

        Raises:
            MissingExtra: one is not installed.
        """
        for module in ("tomli_w", "safetensors.torch"):
            require(module, "train")
        if options.tensorboard:
            require("tensorboard", "tensorboard")

    @classmethod
    def open(cls, folder: Path, trust_paths: bool = False) -> Run:
        """A run that is there.

        Args:
            folder: where it is.
            trust_paths: whether files that it names may be opened although it was not made here.

        Raises:
            RunError: there is none.
        """
        if not (folder / CONFIG).is_file():
            what = "is not a run: it has no config.toml" if folder.is_dir() else "does not exist"
            raise RunError(f"{folder} {what}")
        return cls(folder, trust_paths=trust_paths)

    def may_open(self, data: Mapping[str, Any]) -> bool:
        """Whether the files that its configuration names outside of its folder may be opened again.

        They may if the run was made on this machine, by this user, and neither it nor what it names has changed its
        place; or if somebody trusts it.
        """
        return self.trust_paths or origin.is_own(self.folder, data)

    def has(self, path: Path) -> bool:
        """Whether a path is one of the files that the run consists of, which nothing else may be written over."""
        folder, place = Path(os.path.realpath(self.folder)), Path(os.path.realpath(path))
        if not place.is_relative_to(folder):
            return False
        first = place.relative_to(folder).parts[:1]
        return first in [(name,) for name in _OWN] or not first

    def copied_to(self, folder: Path) -> Run:
        """A copy in another folder, which is made; it may open what this one may.

        Raises:
            RunError: something is there already.
        """
        self.check_free(folder, data=False)
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        copy = Run(folder, trust_paths=self.trust_paths)
        data = copy.config()["data"]
        if origin.is_own(self.folder, data):
            origin.mark(folder, data)
        return copy

    def copy_model(self, folder: Path) -> None:
        """Copy what makes the model to a folder, which is made."""
        folder.mkdir(parents=True)
        for name in (CONFIG, MODEL):
            shutil.copy(self.folder / name, folder / name)

    # The configuration.

    def config(self) -> dict[str, Any]:
        """What was asked for."""
        path = self.folder / CONFIG
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RunError(f"{path} is not TOML: {error}") from None
        for name, kind in (("task", str), ("data", dict), ("options", dict)):
            if not isinstance(found.get(name), kind):
                raise RunError(f"{path} is not that of a run: {name} is missing, or is not what it must be")
        return found

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write what was asked for."""
        write_atomically(self.folder / CONFIG, _written(config))

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep other processes from training in the same folder.

        Raises:
            RunError: one is at it.
        """
        if sys.platform == "win32":  # where an open file cannot be replaced, they stop each other
            yield
            return
        import fcntl

        with (self.folder / CHECKPOINTS / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"another process is training in {self.folder}") from None
            yield

    # What the loop writes.

    def write_events(self, after: int) -> None:
        """Write TensorBoard events too, for the steps after some step."""
        writer = require("torch.utils.tensorboard", "tensorboard").SummaryWriter
        self.events = writer(str(self.folder / "tensorboard"), purge_step=after + 1)

    def fixed(self, steps: int, evaluations: int) -> None:
        """Write the numbers of steps and evaluations into the configuration."""
        config = self.config()
        config["options"] |= {"steps": steps, "evaluations": evaluations}
        self.write_config(config)

    def log(self, line: Mapping[str, Any]) -> None:
        """Add a line to the metrics."""
        if self.lines is None:
            self.lines = (self.folder / METRICS).open("a", encoding="utf-8")
        numbers = {name: value if math.isfinite(value) else None for name, value in line.items()}  # JSON has no NaN
        self.lines.write(json.dumps(numbers) + "\n")
        if self.events is not None:
            for name, value in line.items():
                if name != "step":
                    self.events.add_scalar(name, value, line["step"])

    def flush(self) -> None:
        """Force the metrics to the disk."""
        if self.lines is not None:
            self.lines.flush()
            os.fsync(self.lines.fileno())

    def best(self, model: nn.Module, step: int, measures: Mapping[str, float]) -> None:
        """Write the best model."""
        save_tensors(self.folder / MODEL, model.state_dict(), {**self.facts, "step": step, "valid": dict(measures)})

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write a checkpoint, and remove those before the last two."""
        self.flush()
        folder = self.folder / CHECKPOINTS
        save_tensors(folder / f"step-{step:09d}.safetensors", tensors, facts)
        for old in self.checkpoints()[:-KEPT]:
            old.unlink()
        sync_folder(folder)

    def close(self) -> None:
        """Finish the metrics."""
        if self.events is not None:
            self.events.close()
        if self.lines is not None:
            try:
                self.flush()
            finally:
                self.lines.close()
                self.lines = None

    # What is read.

    def checkpoints(self) -> list[Path]:
        """The checkpoints, the latest last."""
        return sorted((self.folder / CHECKPOINTS).glob("step-*.safetensors"))

    def latest(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The latest checkpoint; None if there is none yet.

        Raises:
            DamagedFile: it is not as it was written.
        """
        known = self.checkpoints()
        if not known:
            return None
        try:
            return load_tensors(known[-1])
        except DamagedFile as error:
            before = f"; without that file the run goes on from {known[-2].name}" if len(known) > 1 else ""
            raise DamagedFile(f"{error}{before}") from None

    def rewind(self, step: int) -> None:
        """Remove what was written after a step: what a killed process left behind."""
        remove_parts(self.folder)
        remove_parts(self.folder / CHECKPOINTS)
        kept = [json.dumps(line) for line in self.metrics() if line["step"] <= step]
        write_atomically(self.folder / METRICS, "".join(line + "\n" for line in kept))

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of the metrics that are whole."""
        path = self.folder / METRICS
        if not path.is_file():
            return []
        found = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:  # the last line of a process that was killed
                break
        return found

    def model(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The best model's weights, and how it is built.

        Raises:
            RunError: there is none yet.
            DamagedFile: the file is not as it was written, or is another.
        """
        path = self.folder / MODEL
        if not path.is_file():
            raise RunError(f"{self.folder} has no model yet: it was stopped before its first evaluation")
        tensors, facts = load_tensors(path)
        if not {"step", "valid"} <= facts.keys():
            raise DamagedFile(f"{path} is another file of holdfast's, not a run's best model")
        return tensors, facts


def _written(config: Mapping[str, Any]) -> bytes:
    """A configuration as its file has it.

    Raises:
        RunError: a name or an option in it is not text that can be written.
    """
    text: str = require("tomli_w", "train").dumps(dict(config))
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        line = text[: error.start].rpartition("\n")[2] + text[error.start :].partition("\n")[0]
        raise RunError(f"the run cannot be written down: {line!a} is not UTF-8 text") from None
