"""The language model that a classifier of texts can begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holdfast.data import Corpus, digests_so_far, files, fingerprint
from holdfast.models import LanguageModel, default_cutoffs
from holdfast.training import CONFIG, Devices, OptionError, Run, RunError, Watcher

from ..caching import cache
from ..fitting import fit, resume
from ..task import Sources
from ..text import Text, TextOptions, TextRun
from .options import SequenceOptions


@dataclass(frozen=True)
class Language:
    """A language model that is there.

    Attributes:
        folder: its run.
        arguments: what its layers are: `cell`, `embedding`, `widths`.
        facts: what belongs to it: the encoding.
    """

    folder: Path
    arguments: dict[str, Any]
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, folder: str | Path) -> Language:
        """That of a run.

        Raises:
            RunError: it is a run of another task, or has no model.
        """
        run = Run.open(Path(folder).expanduser())
        task = run.config()["task"]
        if task != Text.name:
            raise RunError(f"{folder} is a run of the task {task}; a model begins with a run of the task {Text.name}")
        found = TextRun(Text(), run)
        made = found.model.arguments
        if made["layer_norm"]:
            raise RunError(f"{folder} has layer norm inside its cells, with which a model cannot begin")
        widths = [layer.hidden_size for layer in found.model.layers]
        return cls(run.folder, {"cell": made["cell"], "embedding": made["embedding"], "widths": widths}, found.facts)

    def model(self) -> LanguageModel:
        """The model."""
        return TextRun(Text(), Run.open(self.folder)).model


class _Pretraining(Text):
    """A language model of whatever vocabulary."""

    def settle(self, data: Corpus, options: TextOptions, place: Devices) -> TextOptions:
        """Whether the softmax is adaptive: where the vocabulary is large enough."""
        return replace(options, adaptive=bool(default_cutoffs(data.encoding.size)))


def learned(sources: Sources, options: SequenceOptions, place: Devices, watcher: Watcher) -> Sources:
    """The sources with the language model to start from.

    One that is learned from texts is kept in the cache folder, and goes on there where it was stopped: other runs
    with the same texts begin with the same one.
    """
    if options.from_:
        return replace(sources, start=(options.from_,))
    if not options.pretrain:
        return sources
    if place.size > 1:
        raise OptionError("pretrain is for one process: learn with holdfast fit text, and give that run with --from")
    return replace(sources, start=(str(_from_texts(options, watcher)),))


def _from_texts(options: SequenceOptions, watcher: Watcher) -> Path:
    """The run of a language model of unlabelled texts."""
    if options.level not in ("prose", "word", "bpe"):
        raise OptionError(f"pretrain is for the levels prose, word and bpe; got level={options.level}")
    given = {
        "level": options.level,
        "vocabulary": options.vocabulary,
        "cell": options.cell,
        "minutes": options.pretrain_minutes,
        "seed": options.seed,
        "device": options.device,
        **_MODEL,
    }
    digest = digests_so_far([files(options.pretrain)], watcher.busy)[0]
    folder = cache("language") / fingerprint({"digest": digest, **given})[:16]
    if (folder / CONFIG).is_file():
        run = Run.open(folder)
        if not _is_finished(run):
            watcher.busy("going on with the language model")
            resume(_Pretraining(), folder, watcher)
    else:
        watcher.busy("learning the language model")
        fit(_Pretraining(), Sources(options.pretrain), folder, given, watcher)
    return folder


def _is_finished(run: Run) -> bool:
    """Whether all steps of a run were made."""
    found = run.latest()
    position = found[1]["position"] if found else {}
    return bool(position.get("total")) and position["step"] >= position["total"]


_MODEL = {
    "embedding": 256,
    "hidden": 512,
    "layers": 1,
    "dropout": 0.1,
    "weight_drop": 0.0,
    "weight_decay": 0.01,
    "window": 100,
}
