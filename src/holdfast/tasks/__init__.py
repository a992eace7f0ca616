"""The applications."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.naming import nearest
from holdfast.training import Run, RunError

from . import classification, composition, dialogue, forecasting, text, transcription, translation
from .figures import shown
from .fitting import Fitted, fit, resume
from .task import Preset, Result, Sources, Task
from .verdict import MEASURED_ON, verdict

__all__ = [
    "MEASURED_ON",
    "TASKS",
    "Fitted",
    "Preset",
    "Result",
    "Sources",
    "Task",
    "classification",
    "composition",
    "dialogue",
    "fit",
    "forecasting",
    "load",
    "opened",
    "resume",
    "shown",
    "task_of",
    "text",
    "transcription",
    "translation",
    "verdict",
]

TASKS: dict[str, Task[Any, Any]] = {
    task.name: task
    for task in (
        text.Text(),
        forecasting.Forecast(),
        classification.Classify(),
        classification.Regress(),
        transcription.Transcribe(),
        translation.Translate(),
        dialogue.Chat(),
        composition.Compose(),
    )
}


def task_of(run: Run) -> Task:  # type: ignore[type-arg]
    """The task that a run is of.

    Raises:
        RunError: its configuration names none that is known.
    """
    name = run.config().get("task")
    if name not in TASKS:
        raise RunError(
            f"{run.folder} is a run of the task {name!r}, which is not known{nearest(str(name), list(TASKS))}"
        )
    return TASKS[name]


def opened(folder: str | Path, device: str = "cpu", trust_paths: bool = False) -> Fitted:
    """A run that has been trained, as its task sees it, on a device.

    Args:
        folder: the run's.
        trust_paths: as for `load`.

    Raises:
        OptionError: there is no such device.
        RunError: there is no run, or it has no model yet.
        DamagedFile: its model is not as it was written.
    """
    run = Run.open(Path(folder), trust_paths)
    task = task_of(run)
    found: Fitted = task.fitted(task, run, device)
    return found


def load(folder: str | Path, device: str = "cpu", trust_paths: bool = False) -> Any:
    """A run that has been trained: `run.evaluate(…)`, for text `run.generate(…)`, for speech `run.transcribe(…)`.

    Of the tasks forecast, classify and regress it is a `Forecaster`, a `SequenceClassifier` or a `SequenceRegressor`.

    >>> import pathlib, tempfile, holdfast
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     text = pathlib.Path(folder, "text.txt")
    ...     written = text.write_text("to be or not to be, " * 50)
    ...     tiny = {"steps": 2, "hidden": 8, "embedding": 4, "batch_size": 2, "window": 16}
    ...     run = holdfast.tasks.text.fit(text, out=f"{folder}/run", **tiny)
    ...     len(holdfast.load(run.folder).generate("to ", length=5)[0])
    5

    Args:
        folder: the run's folder; nothing beside it is opened to use the model.
        device: where its model is to be: cpu, cuda, cuda:1, …; auto: a GPU if there is one.
        trust_paths: whether what must read the training data again (to measure baselines, say) may open the files and
            URLs that the run names although it was not made here, or has been moved or copied. A run from a stranger
            may name any.

    Raises:
        OptionError: there is no such device.
        RunError: there is no run, or it has no model yet.
        DamagedFile: its model is not as it was written.
    """
    fitted = opened(folder, device, trust_paths)
    return fitted.task.loaded(fitted)
