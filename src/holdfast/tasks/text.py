"""Language models: text in, a model that predicts, scores and writes text out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.data import (
    BUILTIN,
    Corpus,
    DataError,
    Tokens,
    Told,
    Windows,
    build_corpus,
    encode_files,
    encoding_from,
    evaluation_windows,
    untold,
)
from holdfast.data.delimited import listed
from holdfast.microscope import Horizon, memory_horizon
from holdfast.microscope.page import section
from holdfast.microscope.subject import Subject
from holdfast.models import (
    LanguageModel,
    NGram,
    Sampling,
    default_cutoffs,
    largest_order,
    state_tensors,
    write,
)
from holdfast.training import (
    Devices,
    Loss,
    OptionError,
    Run,
    RunError,
    TrainingOptions,
    Watcher,
    option,
    redeclared,
    size,
)

from . import inside
from .caching import cache
from .fitting import Fitted, paths_of
from .fitting import fit as _fit
from .task import Compared, Preset, Sources, Task

LANES, STEPS = 32, 256  # of an evaluation
BASELINE_TOKENS = 2_000_000  # a table of the n-grams of so many takes up to 300 MB
ORDER = 5
BLOCK = 1 << 20  # tokens that are looked at together
SAMPLE_LENGTH, SAMPLE_LINES = 500, 4000  # characters of a sample, lines scored at once
SUBJECT_STEPS, HORIZON_STEPS = 1000, 300  # tokens that are looked at, and back from one of them
GUESSES = 3  # of the next token
TOKEN = {"char": "character", "byte": "byte", "bpe": "piece", "word": "word", "prose": "word"}  # by level


@dataclass(frozen=True, kw_only=True)
class TextOptions(TrainingOptions):
    """A language model: what its tokens are, how large it is, and how it is regularised.

    The defaults are for texts of some megabytes, which a model of this size would learn by heart.
    """

    sizes = (128, 256, 512)

    minutes: float = redeclared("minutes", 20.0)
    batch_size: int = redeclared("batch_size", 32)
    learning_rate: float = redeclared("learning_rate", 0.003)
    weight_decay: float = redeclared("weight_decay", 0.05)
    average: float = redeclared("average", 0.002)

    level: Literal["char", "byte", "bpe", "word", "prose"] = option("char", "What a token is.")
    vocabulary: int = option(0, "Tokens of a bpe, word or prose vocabulary; 0: 4096 for bpe, else every word.", least=0)
    cell: Literal["lstm", "gru", "rnn", "slstm"] = option("lstm", "The recurrent layers' cell.")
    embedding: int = option(64, "Numbers that stand for a token.", least=1)
    hidden: int = size("Units of a layer", (128, 256, 512))
    layers: int = option(1, "Recurrent layers.", least=1)
    layer_norm: bool = option(False, "Layer norm inside the cells.")
    tied: bool = option(False, "The output matrix is the embedding.")
    adaptive: bool = option(False, "Adaptive softmax, for vocabularies of 20,000 tokens and more.")
    dropout: float = option(0.5, "Of what goes from layer to layer, and to the output.", least=0.0, most=0.95)
    input_dropout: float = option(0.0, "Of what goes into the first layer.", least=0.0, most=0.95)
    embedding_dropout: float = option(0.0, "Of whole tokens of the vocabulary.", least=0.0, most=0.95)
    weight_drop: float = option(0.3, "Of the recurrent weights.", least=0.0, most=0.95)
    variational: bool = option(False, "One dropout mask for all steps of a window.")
    activation: float = option(0.0, "Penalty on the square of the activations.", least=0.0)
    slowness: float = option(0.0, "Penalty on the square of their change from step to step.", least=0.0)
    window: int = option(128, "Steps of truncated back-propagation; the state is carried on.", least=1)
    evaluation_tokens: int = option(500_000, "Validation tokens that are read at each evaluation.", least=2)


class TextRun(Fitted):
    """A trained language model."""

    model: LanguageModel

    @property
    def encoding(self) -> Any:
        """What turns text into tokens and back."""
        return encoding_from(self.facts["encoding"])

    def stream(
        self,
        prompt: str = "",
        *,
        count: int = 1,
        length: int = SAMPLE_LENGTH,
        seed: int = 0,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
        **changed: Any,
    ) -> Iterator[list[str]]:
        """New text as it comes: at every step a piece for each sample, which may be empty.

        Args:
            prompt: what the text goes on from; not repeated.
            count: how many texts at once.
            length: the most tokens of each.
            seed: of the choice.
            stop: strings that end a text and are not part of it.
            sampling: how a token is chosen.
            changed: what is otherwise in it, by the names of its fields: `temperature=0.5`.
        """
        return write(
            self.model,
            self.encoding,
            prompt,
            count=count,
            length=length,
            sampling=replace(sampling or Sampling(), **changed),
            seed=seed,
            stop=stop,
        )

    def generate(self, prompt: str = "", **how: Any) -> list[str]:
        """Whole texts; the arguments are those of `stream`."""
        return ["".join(pieces) for pieces in zip(*self.stream(prompt, **how))]

    def unknown_note(self, text: str) -> str:
        """A sentence on the characters or words of a text that the vocabulary does not have; empty: it has them all."""
        unknown = self.encoding.unknown_in(text)
        if not unknown:
            return ""
        what = "character" if self.encoding.level == "char" else "word"
        verb = "is" if len(unknown) == 1 else "are"
        return f"The model does not know {listed(unknown)}, which {verb} read as the unknown {what}."

    def score(self, lines: Iterable[str]) -> Iterator[tuple[float, int]]:
        """For each line the nats it takes to predict it and its end, and the number of its tokens, in order.

        A line is read as if another had ended before it; a carriage return at its end counts as a part of it.
        """
        encoding = self.encoding
        before = encoding.encode("\n")  # for itself: byte pairs would make one token of it and what follows
        pending = iter(lines)
        while group := list(islice(pending, SAMPLE_LINES)):
            ids = [np.concatenate([before, encoding.encode(line.removesuffix("\n") + "\n")]) for line in group]
            yield from self._scores(ids)

    @torch.no_grad()
    def _scores(self, ids: Sequence[np.ndarray[Any, Any]]) -> list[tuple[float, int]]:
        order = sorted(range(len(ids)), key=lambda k: len(ids[k]))
        found: list[tuple[float, int]] = [(0.0, 0)] * len(ids)
        for first in range(0, len(order), LANES):
            some = order[first : first + LANES]
            longest = max(len(ids[k]) for k in some)
            batch = torch.zeros(longest, len(some), dtype=torch.long)
            for column, k in enumerate(some):
                batch[: len(ids[k]), column] = torch.from_numpy(ids[k].astype(np.int64))
            batch = batch.to(self.device)
            output = self.model(batch[:-1])
            nats = self.model.loss(output.features, batch[1:])  # (T, B)
            for column, k in enumerate(some):
                count = len(ids[k]) - 1
                found[k] = (nats[:count, column].double().sum().item(), count)
        return found

    def subject(self, text: str = "", data: Sequence[str | Path] = (), steps: int = SUBJECT_STEPS) -> Subject:
        """This model and some text, as the microscope looks at them.

        Args:
            text: what is read.
            data: files, of which the beginning is read where no text is given; without both, the run's validation data.
            steps: at most so many tokens.

        Raises:
            RunError: there is no text.
        """
        if text:
            ids = self.encoding.encode(text)
        elif data:
            ids = self.task.given(self.facts, paths_of(data), untold).given.ids
        else:
            ids = self.data().valid.ids
        every = len(ids)
        ids = np.asarray(ids[:steps]).astype(np.int64)
        if not len(ids):
            raise RunError("there is no text to look at")
        notes = [f"The first {len(ids):,} of {every:,} steps."] if every > len(ids) else []
        notes += [self.unknown_note(text)] if text else []
        tokens = torch.from_numpy(ids).unsqueeze(1).to(self.device)  # (T, 1)
        encoding = self.encoding
        return Subject(
            title=f"{self.folder.name}: {self.task.summary}",
            model=self.model,
            inputs=(tokens,),
            pieces=[_piece(encoding, int(k)) for k in ids],
            horizon=lambda step: self._horizon(tokens, step),
            guesses=lambda output: self._guesses(output.features),
            other=lambda typed: self.subject(typed, steps=steps),
            note=" ".join(filter(None, notes)),
        )

    @torch.no_grad()
    def _guesses(self, features: Tensor) -> list[list[tuple[str, float]]]:
        """The likeliest next tokens of each step."""
        found = []
        for some in features[:, 0].split(max(1, LANES * STEPS // 16)):
            most = self.model.log_probabilities(some).exp().topk(min(GUESSES, self.model.vocabulary))
            for chances, tokens in zip(most.values.tolist(), most.indices.tolist()):
                likely = [(_piece(self.encoding, k), round(p, 4)) for p, k in zip(chances, tokens)]
                found.append(likely if math.isfinite(chances[0]) else [])  # of a model that has diverged
        return found

    def _horizon(self, tokens: Tensor, step: int) -> Horizon:
        """What the likeliest next token at a step owes to the steps before, as far back as is affordable."""
        first = max(0, step + 1 - HORIZON_STEPS)
        with torch.no_grad():
            state = self.model(tokens[:first]).state if first else None
        return memory_horizon(
            self.model,
            tokens[first : step + 1],
            state,
            read=lambda output: self.model.log_probabilities(output.features[-1]).max(),
        )


class _Problem:
    """A language model's training, as the loop sees it."""

    def __init__(self, task: Text, corpus: Corpus, options: TextOptions, place: Devices) -> None:
        self.task, self.corpus, self.options, self.place = task, corpus, options, place
        self.objective = task.objective

    def epoch(self, number: int) -> Sequence[Any]:
        """The windows of all processes' lanes, of which this one takes its own; each epoch cuts the text elsewhere."""
        options, place = self.options, self.place
        ids = self.corpus.train.ids
        lanes = options.batch_size * place.size
        longest = max(1, min(options.window, (len(ids) + 1 - lanes) // (lanes + 1)))  # of a text shorter than a window
        draw = torch.Generator().manual_seed(options.seed * 1_000_003 + number)
        offset = int(torch.randint(longest, (), generator=draw)) if number else 0
        return _Share(Windows(ids, lanes, longest, offset), place, options.batch_size)

    def carry(self) -> Sequence[Tensor]:
        """Nothing: a model starts from its own first state."""
        return ()

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor], carry: Sequence[Tensor]) -> Loss:
        """The mean loss of a window, and with it the penalties on activations."""
        assert isinstance(model, LanguageModel)
        inputs, targets = (t.to(self.place.device) for t in batch)
        output = model(inputs, model.state_from(carry) if carry else None)
        nats = model.loss(output.features, targets).mean()
        options = self.options
        value = nats
        if options.activation or options.slowness:
            value = nats + model.activation_penalty(output, options.activation, options.slowness)
        return Loss(value, nats, state_tensors(output.state))

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """The measures on the first part of the validation data."""
        return self.task.measures(model, self.corpus.valid.first(self.options.evaluation_tokens))


class _Share(Sequence[Any]):
    """The windows of one process: its own columns."""

    def __init__(self, windows: Windows, place: Devices, batch: int) -> None:
        self.windows = windows
        self.columns = slice(place.rank * batch, (place.rank + 1) * batch)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, k: Any) -> Any:
        inputs, targets = self.windows[k]
        return inputs[:, self.columns], targets[:, self.columns]


class Text(Task[TextOptions, Corpus]):
    """The task."""

    name = "text"
    summary = "A language model: it predicts the next character, byte, piece or word of a text."
    objective = "nats"
    unit = "tokens"
    options = TextOptions
    fitted = TextRun
    use = "Write text with it: holdfast generate {run} --prompt …; look inside: holdfast look {run}"
    presets: ClassVar[Mapping[str, Preset]] = {
        "awd": Preset(
            "words",
            {
                "level": "word",
                "embedding": 400,
                "hidden": 1150,
                "layers": 3,
                "tied": True,
                "variational": True,
                "dropout": 0.4,
                "input_dropout": 0.4,
                "embedding_dropout": 0.1,
                "weight_drop": 0.5,
                "activation": 2.0,
                "slowness": 1.0,
                "window": 70,
                "batch_size": 40,
                "learning_rate": 0.002,
                "weight_decay": 0.01,
                "clip": 0.25,
            },
        ),
        "large": Preset(
            "texts of a hundred megabytes and more",
            {"hidden": 1024, "dropout": 0.1, "weight_drop": 0.0, "weight_decay": 0.01, "batch_size": 64},
        ),
    }

    def read(self, sources: Sources, options: TextOptions, told: Told) -> Corpus:
        """The text as tokens, kept in the cache folder."""
        return build_corpus(
            sources.data or (BUILTIN,),
            sources.valid,
            sources.test,
            level=options.level,
            vocabulary_size=options.vocabulary or None,
            folder=cache("text"),
            told=told,
        )

    def describe(self, data: Corpus) -> dict[str, Any]:
        """Where the text comes from, and how much it is."""
        about: dict[str, Any] = {"text": ", ".join(data.train.sources), "digest": data.digest}
        for split in self.splits(data, training=True):
            part: Tokens = getattr(data, split)
            about[f"{split} tokens"] = len(part.ids)
            about[f"{split} characters"] = part.characters
        return {**about, "level": data.encoding.level, "vocabulary": data.encoding.size}

    def facts(self, data: Corpus, options: TextOptions) -> dict[str, Any]:
        """The encoding."""
        return {"encoding": data.encoding.to_dict()}

    def build(self, facts: Mapping[str, Any], options: TextOptions) -> nn.Module:
        """A fresh model."""
        size = encoding_from(facts["encoding"]).size
        return LanguageModel(
            vocabulary=size,
            cell=options.cell,
            embedding=options.embedding,
            hidden=options.hidden,
            layers=options.layers,
            layer_norm=options.layer_norm,
            tied=options.tied,
            adaptive=default_cutoffs(size) if options.adaptive else (),
            dropout=options.dropout,
            input_dropout=options.input_dropout,
            embedding_dropout=options.embedding_dropout,
            weight_drop=options.weight_drop,
            variational=options.variational,
        )

    def problem(self, data: Corpus, options: TextOptions, place: Devices) -> _Problem:
        """What the loop trains.

        Raises:
            DataError: there is too little text.
            OptionError: an option could not act on these data.
        """
        _check(data, options, place)
        return _Problem(self, data, options, place)

    def splits(self, data: Corpus, training: bool = False) -> list[str]:
        """Which parts there are."""
        known = ("train", "valid", "test", "given") if training else ("valid", "test", "given")
        return [name for name in known if getattr(data, name, None) is not None]

    def evaluate(
        self, model: nn.Module, facts: Mapping[str, Any], data: Corpus, split: str, options: TextOptions, told: Told
    ) -> dict[str, float]:
        """Nats, perplexity and bits per character of a whole part."""
        return self.measures(model, getattr(data, split), told)

    @torch.no_grad()
    def measures(self, model: nn.Module, tokens: Tokens, told: Told = untold) -> dict[str, float]:
        """The same of any tokens."""
        assert isinstance(model, LanguageModel)
        ids = tokens.ids
        device = next(model.parameters()).device
        total, state, read = 0.0, None, 0
        for inputs, targets, weights in evaluation_windows(ids, _lanes(len(ids)), STEPS):
            told(f"measuring: {min(1.0, read / len(ids)):.0%} of {len(ids):,} tokens")
            read += inputs.numel()
            output = model(inputs.to(device), state)
            state = output.state
            total += (model.loss(output.features, targets.to(device)) * weights.to(device)).double().sum().item()
        return _measures(total, tokens)

    def given(self, facts: Mapping[str, Any], paths: Sequence[str], told: Told) -> _Given:
        """Another text, with the model's encoding."""
        return _Given(encode_files(paths, encoding_from(facts["encoding"]), cache("text"), told))

    def baselines(self, training: Corpus, data: Any, split: str, options: TextOptions, brief: bool = False) -> Compared:
        """A unigram and an n-gram model of the same training text."""
        encoding = training.encoding
        learned = training.train.first(BASELINE_TOKENS)
        whole: Tokens = getattr(data, split)
        part = whole.first(options.evaluation_tokens) if brief else whole
        judged = part.first(BASELINE_TOKENS)
        order = largest_order(encoding.size, ORDER)
        found = {}
        for n in sorted({1, order}):
            nats = NGram(n, encoding.size).fit(learned.ids).nats(judged.ids)[1:]
            found["unigram" if n == 1 else f"{n}-gram"] = _measures(float(nats.sum()), judged)
        notes = []
        if learned is not training.train:
            notes.append(f"The baselines learned from the first {len(learned.ids):,} tokens of the training text.")
        if judged is not part:
            notes.append(f"The baselines were measured on the first {len(judged.ids):,} tokens.")
        return Compared(found, notes)

    def notes(self, data: Any, split: str, options: TextOptions, brief: bool = False) -> list[str]:
        """How much was read, and how much of it is unknown."""
        whole: Tokens = getattr(data, split)
        return [*_notes(whole.first(options.evaluation_tokens) if brief else whole, whole)]

    def report(self, fitted: Fitted, data: Corpus, compared: Compared) -> Iterable[str]:
        """Samples, and a look inside the model."""
        model = fitted.model
        assert isinstance(model, LanguageModel)
        encoding = data.encoding
        yield section("Samples", "".join(_samples(model, encoding)))
        yield _inside(model, encoding, np.asarray(data.valid.ids[: inside.STEPS * inside.SEQUENCES + 1]))


@dataclass(frozen=True)
class _Given:
    """Text that a model has not been trained on."""

    given: Tokens


def fit(
    data: str | Path | Sequence[str | Path] = (),
    *,
    out: str | Path,
    valid: str | Path | Sequence[str | Path] = (),
    test: str | Path | Sequence[str | Path] = (),
    preset: str = "",
    watcher: Watcher | None = None,
    **options: Any,
) -> TextRun:
    """Train a language model into a folder.

    Args:
        data: files, globs, folders or URLs; none: the documentation text that every Python carries.
        out: the run's folder, which is made.
        valid: what the best model is chosen by, likewise; none: the last tenth of the data.
        test: what `evaluate` reads at the end, likewise.
        preset: options for a kind of data: "awd" for words, "large" for a hundred megabytes and more.
        watcher: who is told what happens.
        options: those of `TextOptions`, by name.
    """
    folder = Path(out).expanduser()
    _fit(Text(), Sources(paths_of(data), paths_of(valid), paths_of(test)), folder, options, watcher, preset)
    return TextRun(Text(), Run.open(folder))


def _piece(encoding: Any, token: int) -> str:
    """A token as it stands in the text; a part of a character as it stands in a report."""
    text: str = encoding.decode([token])
    if not text or "\ufffd" in text:
        return str(encoding.text_of(token))
    return f"{text} " if TOKEN[encoding.level] == "word" and not text.endswith("\n") else text


def _lanes(count: int) -> int:
    """Few enough that the first tokens of lanes, which see no past, are under a thousandth of all."""
    return max(1, min(LANES, count // 2000))


def _check(corpus: Corpus, options: TextOptions, place: Devices) -> None:
    """Refuse data that are too few, and options that would do nothing with these."""
    count, needed = len(corpus.train.ids), 2 * options.batch_size * place.size
    if count < needed:
        raise DataError(
            f"the text to learn from has {count:,} tokens, but a batch_size of {options.batch_size:,} "
            f"{f'in each of {place.size} processes ' if place.size > 1 else ''}needs {needed:,}: "
            "give more text, or a smaller batch_size"
        )
    if len(corpus.valid.ids) < 2:
        raise DataError("the validation text has 1 token, but 2 are needed, to predict one: give more text, or valid")
    if options.adaptive and not default_cutoffs(corpus.encoding.size):
        raise OptionError(
            f"adaptive is for vocabularies of 20,000 tokens and more, but this one has {corpus.encoding.size:,}: "
            "leave it out"
        )


def _notes(part: Tokens, whole: Tokens) -> Iterator[str]:
    """What must be said of measures on a part of some tokens."""
    if part is not whole:
        yield (
            f"Measured on the first {len(part.ids):,} of {len(whole.ids):,} validation tokens; "
            "holdfast evaluate reads all of them."
        )
    unknown = part.encoding.unknown
    blocks = (part.ids[k : k + BLOCK] for k in range(0, len(part.ids), BLOCK))
    count = 0 if unknown is None else sum(np.count_nonzero(block == unknown) for block in blocks)
    if count:
        share, what = count / len(part.ids), "characters" if part.encoding.level == "char" else "words"
        yield f"{100 * share:.3g}% of the tokens are unknown {what}, which the vocabulary does not have."


def _measures(total: float, tokens: Tokens) -> dict[str, float]:
    """What a total of nats means, for predicting all tokens but the first."""
    count = len(tokens.ids) - 1
    characters = tokens.characters - tokens.first(1).characters
    nats = total / count
    return {
        "nats": nats,
        "bits_per_char": total / math.log(2) / max(1, characters),
        "perplexity": math.exp(nats) if nats < 700 else math.inf,
        "tokens": count,
    }


def _samples(model: LanguageModel, encoding: Any) -> Iterator[str]:
    for temperature in (0.5, 0.8, 1.0):
        pieces = write(
            model, encoding, "\n", count=1, length=SAMPLE_LENGTH, sampling=Sampling(temperature=temperature), seed=0
        )
        text = "".join(piece for (piece,) in pieces)
        yield f"<p>Temperature {temperature:g}</p>\n<pre>{escape(text.strip())}</pre>\n"


def _inside(model: LanguageModel, encoding: Any, ids: np.ndarray[Any, Any]) -> str:
    """The look inside the model while it reads the first tokens of some text, a few stretches side by side."""
    steps = min(inside.STEPS, len(ids) - 1)
    count = min(inside.SEQUENCES, (len(ids) - 1) // steps)
    tokens = torch.from_numpy(ids[: steps * count + 1].astype(np.int64))
    inputs = tokens[:-1].view(count, steps).T  # (T, B)
    last = tokens[steps::steps]  # (B,): what comes after each stretch
    return inside.inside(
        model,
        inputs,
        lambda output: model.loss(output.features[-1:], last[None]).sum(),
        TOKEN[encoding.level],
        "".join(encoding.text_of(k) for k in inputs[:, 0].tolist()),
    )
