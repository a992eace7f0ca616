"""What the estimators have in common: parameters in scikit-learn's manner, and a run's folder with the model."""

from __future__ import annotations

import importlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from holdfast.naming import nearest
from holdfast.training import CONFIG, DATA, Run, RunError, Watcher, options_of

from .fitting import Fitted
from .fitting import fit as _fit
from .task import Result, Sources, Task

R = TypeVar("R", bound=Fitted)


class Estimator(Generic[R]):
    """A task in scikit-learn's manner.

    Parameters are set in the constructor and looked at in `fit`, and `clone`, `get_params`, `set_params`, pipelines and
    grid searches work. What was fitted is a run's folder, as `holdfast fit` makes it, and `holdfast.load` gives it
    back. Where that is a temporary one, copies and pickles have their own.

    scikit-learn asks estimators what they are instead of whose children they are, so it need not be installed.

    Attributes:
        task: what is learned.
        extras: parameters that are not the task's options, by name, with their defaults.
    """

    task: ClassVar[Task[Any, Any]]
    extras: ClassVar[Mapping[str, Any]] = {}
    _defaults: ClassVar[dict[str, Any]]
    _fitted: R | None = None
    _passing = False  # whether the run's folder is gone with the estimator

    def __init_subclass__(cls, **told: Any) -> None:
        super().__init_subclass__(**told)
        if not hasattr(cls, "task"):
            return  # it has children that say what they learn
        cls._defaults = {**{o.name: o.default for o in options_of(cls.task.options)}, **cls.extras}
        cls.__signature__ = Signature(  # type: ignore[attr-defined]
            [Parameter(name, Parameter.KEYWORD_ONLY, default=default) for name, default in cls._defaults.items()]
        )

    def __init__(self, **parameters: Any) -> None:
        for name in parameters:
            if name not in self._defaults:
                raise TypeError(f"there is no option {name!r}{nearest(name, list(self._defaults))}")
        for name, default in self._defaults.items():
            setattr(self, name, parameters.get(name, default))

    @classmethod
    def of(cls, fitted: R) -> Self:
        """The estimator of a run."""
        found = cls(**{o.name: getattr(fitted.options, o.name) for o in options_of(cls.task.options)})
        found._take(fitted)
        return found

    # scikit-learn's conventions.

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters by name."""
        return {name: getattr(self, name) for name in self._defaults}

    def set_params(self, **params: Any) -> Self:
        """Set some parameters; they hold from the next `fit` on.

        Raises:
            ValueError: there is no such parameter.
        """
        for name, value in params.items():
            if name not in self._defaults:
                raise ValueError(f"there is no parameter {name!r}{nearest(name, list(self._defaults))}")
            setattr(self, name, value)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is a model."""
        return self._fitted is not None

    def __repr__(self) -> str:
        changed = {name: value for name, value in self.get_params().items() if value != self._defaults[name]}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    # The run.

    @property
    def options(self) -> dict[str, Any]:
        """Those parameters that are the task's options."""
        return {name: value for name, value in self.get_params().items() if name not in self.extras}

    def _learn(
        self, keep: Callable[[Path], Sources], out: str | Path | None, watcher: Watcher | None, in_memory: bool
    ) -> None:
        """Train into a folder.

        Args:
            keep: puts data that are in memory into a folder of the run's, and says where all data are.
            out: the run's folder, which is made; None: a temporary one, gone with the estimator.
            watcher: who is told what happens.
            in_memory: whether there are such data.

        Raises:
            RunError: something is there already, which nothing may be written over.
        """
        folder = self._passing_folder() if out is None else Path(out).expanduser()
        Run.check_free(folder)
        kept = folder / DATA
        if in_memory and kept.exists():
            raise RunError(f"{kept} is there already, and data that are in memory are kept there; choose another out")
        try:
            _fit(self.task, keep(kept), folder, self.options, watcher)
        finally:
            if in_memory and not (folder / CONFIG).is_file():
                shutil.rmtree(kept, ignore_errors=True)
        self._open(folder, passing=out is None)

    def _open(self, folder: Path, passing: bool, trust_paths: bool = False) -> None:
        """Go on with the run in a folder."""
        self._take(self.task.fitted(self.task, Run.open(folder, trust_paths)))
        self._passing = passing

    def _take(self, fitted: R) -> None:
        """Go on with a run."""
        self._fitted = fitted

    def _passing_folder(self) -> Path:
        """A folder for a run that is gone with the estimator."""
        place = tempfile.mkdtemp(prefix=f"holdfast-{type(self).__name__.lower()}-")
        weakref.finalize(self, shutil.rmtree, place, ignore_errors=True)
        return Path(place) / "run"

    @property
    def run(self) -> R:
        """The run that was fitted: its folder, model, options and measures.

        Raises:
            RunError: there is none yet; where scikit-learn is installed, it is its NotFittedError too.
        """
        if self._fitted is None:
            raise _not_fitted(f"the {type(self).__name__} has learned nothing yet: call fit first, or holdfast.load")
        return self._fitted

    def save(self, out: str | Path) -> Path:
        """Copy the run to a folder, which is made.

        Raises:
            RunError: something is there already.
        """
        folder = Path(out).expanduser()
        self.run.run.copied_to(folder)
        self._open(folder, passing=False)
        return folder

    def evaluate(self, *args: Any, **kwargs: Any) -> Result:
        """Measure the model beside the baselines, as `holdfast evaluate` does."""
        return self.run.evaluate(*args, **kwargs)

    # Copies and pickles.

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._passing:  # a copy must outlive it, and a pickle the process
            folder = self.run.folder
            within = [path for path in folder.rglob("*") if path.is_file()]
            state |= {"_fitted": None, "_packed": {str(p.relative_to(folder)): p.read_bytes() for p in within}}
            state["_trusted"] = self.run.run.may_open(self.run.config["data"])  # a pickle can do more than name files
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        packed, trusted = state.pop("_packed", {}), state.pop("_trusted", False)
        self.__dict__.update(state)
        if not packed:
            return
        folder = self._passing_folder()
        for name, content in packed.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        self._open(folder, passing=True, trust_paths=trusted)


def _not_fitted(message: str) -> RunError:
    """An error that scikit-learn knows too, where it is installed."""
    if find_spec("sklearn") is None:
        return RunError(message)
    known = importlib.import_module("sklearn.exceptions").NotFittedError
    again = {"__reduce__": lambda self: (_not_fitted, (message,))}  # for pickles: there is no such class by name
    return type("NotFitted", (RunError, known), again)(message)
