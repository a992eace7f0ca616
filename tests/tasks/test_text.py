"""Language models from data to a model that is used, in Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import holdfast
from holdfast.data import LEVELS, Corpus, DataError, untold
from holdfast.layers import GRU
from holdfast.models import CELLS, NGram, Sampling, default_cutoffs
from holdfast.tasks import Sources, resume
from holdfast.tasks.text import Text, TextOptions, TextRun, fit
from holdfast.training import (
    DamagedFile,
    Devices,
    OptionError,
    Quiet,
    RunError,
    TrainingOptions,
    make,
    options_of,
)

TINY: dict[str, Any] = {"hidden": 8, "embedding": 6, "batch_size": 4, "window": 12, "evaluations": 2}
LINES = "the cat sat on the mat\nthe rat sat on the cat\nthe bat sat on the rat\n"


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "book.txt"
    path.write_text(LINES * 40)
    return path


@pytest.fixture(scope="module")
def run(book: Path, tmp_path_factory: pytest.TempPathFactory) -> TextRun:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return fit(book, out=folder, steps=150, learning_rate=0.02, dropout=0.0, weight_drop=0.0, **TINY)


def test_a_model_learns_and_is_measured_beside_baselines(run: TextRun) -> None:
    result = run.evaluate()
    assert result.split == "valid"
    assert result.measures["nats"] < 0.7 * result.baselines["unigram"]["nats"]
    assert result.measures["tokens"] == len(LINES) * 4 - 1
    assert result.measures["perplexity"] == pytest.approx(math.exp(result.measures["nats"]))
    assert result.measures["bits_per_char"] == pytest.approx(result.measures["nats"] / math.log(2))


def test_the_measure_is_the_mean_loss_of_each_token_given_all_before(run: TextRun, tmp_path: Path) -> None:
    path = tmp_path / "other.txt"
    path.write_text("the mat sat on the cat\nthe dog")
    ids = torch.from_numpy(np.asarray(run.encoding.encode(path.read_text()))).long()
    with torch.no_grad():
        output = run.model(ids[:-1, None])
        expected = -run.model.log_probabilities(output.features)[range(len(ids) - 1), 0, ids[1:]].mean()
    found = run.evaluate([str(path)], baselines=False)
    assert found.split == "given"
    assert found.measures["nats"] == pytest.approx(expected.item(), rel=1e-5)
    assert found.baselines == {}


def test_long_work_is_told_of(run: TextRun, book: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where nothing has been encoded
    told: list[str] = []
    run.evaluate([str(book)], told=told.append)
    size = len(LINES) * 40
    for what in (f"reading {book}", "counting", "collecting the vocabulary", "encoding train", "encoding valid"):
        assert what in told
    assert f"measuring: 0% of {size:,} tokens" in told
    assert told[-1] == "measuring the baselines"


def test_baselines_learn_from_the_training_part_alone(run: TextRun, book: Path) -> None:
    text = book.read_text()
    cut = int(0.9 * len(text))
    train, valid = (np.asarray(run.encoding.encode(part)) for part in (text[:cut], text[cut:]))
    expected = NGram(1, run.encoding.size).fit(train).nats(valid)[1:].mean()
    assert run.evaluate().baselines["unigram"]["nats"] == pytest.approx(expected)


def test_a_line_s_score_is_that_of_the_line_alone(run: TextRun) -> None:
    lines = ["the cat", "", "zz", "the cat sat on the mat"] * 10
    found = list(run.score(lines))
    for line, (nats, count) in zip(lines[:4], found):
        ids = torch.from_numpy(np.asarray(run.encoding.encode(f"\n{line}\n"))).long()[:, None]
        with torch.no_grad():
            expected = run.model.loss(run.model(ids[:-1]).features, ids[1:]).sum().item()
        assert count == len(line) + 1
        assert nats == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert [nats for nats, _ in found] == pytest.approx([nats for nats, _ in found[:4]] * 10, rel=1e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_every_token_of_a_line_is_scored_and_a_newline_before_it_is_not(level: str, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"if so:\r\n\n    go on\n\n\n    and on\n\n" * 60)
    made = fit(path, out=tmp_path / "run", steps=1, level=level, vocabulary=270 if level == "bpe" else 0, **TINY)
    encode = made.encoding.encode
    if level == "bpe":
        assert len(encode("\n\n")) == 1
    lines = ["", "    go on", "if so:\r", ""] * 20  # more empty ones than are read side by side
    for line, (nats, count) in zip(lines, made.score(line + "\n" for line in lines), strict=True):
        own = encode(line + "\n")
        ids = torch.from_numpy(np.concatenate([encode("\n"), own]))[:, None]
        with torch.no_grad():
            expected = made.model.loss(made.model(ids[:-1]).features, ids[1:]).sum().item()
        assert count == len(own) > 0
        assert nats == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert len(encode("if so:\r\n")) > len(encode("if so:\n")) or level in ("word", "prose")


def test_a_loaded_run_is_the_one_that_was_trained(run: TextRun) -> None:
    again = holdfast.load(run.folder)
    assert isinstance(again, TextRun)
    assert again.generate("the ", length=30, seed=4) == run.generate("the ", length=30, seed=4)
    assert len(set(run.generate("the ", length=30, count=3))) > 1


def test_how_a_token_is_chosen_may_be_said_by_keywords(run: TextRun) -> None:
    expected = run.generate("the", length=30, sampling=Sampling(temperature=0.5, top_k=3))
    assert run.generate("the", length=30, temperature=0.5, top_k=3) == expected
    assert run.generate("the", length=30, sampling=Sampling(top_k=3), temperature=0.5) == expected
    assert run.generate("the", length=30) != expected
    with pytest.raises(TypeError, match="temprature"):
        run.generate("the", temprature=0.5)


WAYS = [("byte", "gru"), ("bpe", "slstm"), ("word", "gru"), ("prose", "slstm")]  # each level and each cell once
REST = [("byte", "slstm"), ("bpe", "gru"), ("word", "slstm"), ("prose", "gru")]


@pytest.mark.usefixtures("reported")
@pytest.mark.parametrize(("level", "cell"), [*WAYS, *(pytest.param(*both, marks=pytest.mark.full) for both in REST)])
def test_every_level_and_cell_goes_the_whole_way(level: str, cell: str, book: Path, tmp_path: Path) -> None:
    options = {**TINY, "vocabulary": 300 if level == "bpe" else 0, "layers": 2, "tied": True}
    made = fit(book, out=tmp_path / "run", steps=3, level=level, cell=cell, **options)
    result = made.evaluate()
    assert 0 < result.measures["bits_per_char"] < 12
    assert made.generate("the cat", length=4)[0]
    assert (made.folder / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("preset", Text.presets)
def test_a_preset_is_a_set_of_known_options(preset: str) -> None:
    options = make(Text.options, Text.presets[preset].options)
    assert all(getattr(options, name) == value for name, value in Text.presets[preset].options.items())


def test_the_awd_preset_trains(book: Path, tmp_path: Path) -> None:
    made = fit(book, out=tmp_path / "run", preset="awd", steps=3, **TINY)
    assert made.config["options"]["weight_drop"] == 0.5
    assert made.config["options"]["hidden"] == 8  # what is given goes before a preset
    assert made.model.tied


def test_files_for_validation_and_test_are_kept_apart(book: Path, tmp_path: Path) -> None:
    valid, test = tmp_path / "valid.txt", tmp_path / "test.txt"
    valid.write_text("the cat\n" * 30)
    test.write_text("the rat\n" * 50)
    made = fit(book, out=tmp_path / "run", valid=[valid], test=[test], steps=2, **TINY)
    assert made.evaluate(split="valid").measures["tokens"] == 8 * 30 - 1
    assert made.evaluate().split == "test"
    assert made.evaluate().measures["tokens"] == 8 * 50 - 1
    assert holdfast.tasks.text.Text().describe(made.data())["train tokens"] == len(book.read_text())


@pytest.mark.parametrize("kind", [str, Path, lambda path: [path], lambda path: (str(path),)])
def test_data_are_one_path_or_several(kind: Callable[[Path], Any], book: Path, tmp_path: Path) -> None:
    valid, test = tmp_path / "valid.txt", tmp_path / "test.txt"
    valid.write_text("the cat\n" * 30)
    test.write_text("the rat\n" * 50)
    given = {"data": kind(book), "valid": kind(valid), "test": kind(test)}
    made = fit(out=tmp_path / "run", steps=1, **given, **TINY)
    data = made.data()
    assert [len(part.ids) for part in (data.train, data.valid, data.test)] == [len(LINES) * 40, 240, 400]


def test_data_that_changed_are_noticed(book: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(book.read_text())
    made = fit(path, out=tmp_path / "run", steps=1, **TINY)
    path.write_text(book.read_text() + "more\n")
    with pytest.raises(RunError, match="the data have changed since the run began"):
        made.evaluate()
    given = made.evaluate([str(path)])
    assert given.baselines == {}
    assert "the baselines are left out, the training data cannot be read" in given.notes[0]


@pytest.mark.parametrize("length", [100, 300, 1000])
def test_a_short_text_is_trained_on(length: int, tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text((LINES * 20)[:length])
    fit(path, out=tmp_path / "run", steps=4, hidden=4, embedding=3)


def test_a_text_of_a_few_characters_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text(LINES[:70])
    expected = (
        "the text to learn from has 62 tokens, but a batch_size of 32 needs 64: give more text, or a smaller batch_size"
    )
    with pytest.raises(DataError, match=f"^{expected}$"):
        fit(path, out=tmp_path / "run", steps=1, hidden=4)
    assert not (tmp_path / "run").exists()
    fit(path, out=tmp_path / "run", steps=1, hidden=4, batch_size=31)


def test_one_token_to_validate_on_is_refused_before_the_training(book: Path, tmp_path: Path) -> None:
    path = tmp_path / "valid.txt"
    path.write_text("t")
    with pytest.raises(DataError, match="the validation text has 1 token, but 2 are needed"):
        fit(book, out=tmp_path / "run", valid=path, steps=1, **TINY)
    assert not (tmp_path / "run").exists()


def test_a_model_file_of_another_run_is_refused(run: TextRun, book: Path, tmp_path: Path) -> None:
    other = fit(book, out=tmp_path / "run", steps=1, **{**TINY, "hidden": 9})
    (other.folder / "model.safetensors").write_bytes((run.folder / "model.safetensors").read_bytes())
    with pytest.raises(DamagedFile, match="does not fit the run's configuration"):
        holdfast.load(other.folder)


def test_a_keyword_that_is_none_is_refused(book: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="there is no option 'hiden'; did you mean hidden"):
        fit(book, out=tmp_path / "run", hiden=3)
    assert not (tmp_path / "run").exists()


def corpus_of(path: Path, options: TextOptions) -> Corpus:
    return Text().read(Sources((str(path),)), options, untold)


def test_unknown_words_count_with_the_characters_they_have(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the extraordinarily-long-mat\n" * 300)
    made = fit(path, out=tmp_path / "run", steps=1, level="word", vocabulary=5, **TINY)
    data = made.data()
    whole = path.read_text()
    valid = whole[data.train.characters :]
    assert data.valid.characters == len(valid)
    result = made.evaluate()
    unknown = sum(made.encoding.encode(valid) == 0) / len(made.encoding.encode(valid))
    assert f"{100 * unknown:.3g}% of the tokens are unknown words, which the vocabulary does not have." in result.notes
    for found in (result.measures, *result.baselines.values()):
        predicted = len(valid) - data.valid.first(1).characters
        assert found["bits_per_char"] == pytest.approx(found["nats"] * found["tokens"] / math.log(2) / predicted)
    other = tmp_path / "other.txt"
    other.write_text("the the cat of yore\n")
    assert made.evaluate(other).notes[0].startswith("33.3% of the tokens are unknown words")
    known = tmp_path / "known.txt"
    known.write_text("the the the\n" * 10)
    assert made.evaluate(known).notes == []


def test_only_the_first_tokens_are_measured_while_a_model_is_trained_and_a_note_says_so(book: Path) -> None:
    options = make(TextOptions, {"evaluation_tokens": 50, "level": "word", "vocabulary": 6, "hidden": 8})
    corpus = corpus_of(book, options)
    model = Text().build(Text().facts(corpus, options), options).eval()
    beginning = replace(corpus, valid=corpus.valid.first(50))
    expected = Text().evaluate(model, {}, beginning, "valid", options, untold)
    assert expected["tokens"] == 49
    found = Text().problem(corpus, options, Devices(torch.device("cpu"))).evaluate(model)
    assert found == expected
    assert Text().evaluate(model, {}, corpus, "valid", options, untold) != expected
    count = len(corpus.valid.ids)
    note = f"Measured on the first 50 of {count} validation tokens; holdfast evaluate reads all of them."
    compared = Text().baselines(corpus, corpus, "valid", options, brief=True)
    assert compared.measures["unigram"]["tokens"] == 49
    assert note in Text().notes(corpus, "valid", options, brief=True)
    assert note not in Text().notes(corpus, "valid", options)
    assert note not in Text().notes(beginning, "valid", options, brief=True)


@pytest.fixture(scope="module")
def many_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "words.txt"
    path.write_text(" ".join(f"w{k}" for k in range(23_000)) + "\n")
    return path


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"adaptive": True, "tied": True}, "adaptive and tied exclude each other"),
        ({"adaptive": True, "hidden": 8}, "adaptive needs hidden to be at least 16; got 8"),
        (
            {"adaptive": True, "vocabulary": 9000},
            "adaptive is for vocabularies of 20,000 tokens .* has 9,000",
        ),
        ({"hidden": 10**12}, "a model of this size does not fit into the memory$"),
    ],
)
def test_options_that_cannot_act_are_refused_before_there_is_a_run(
    given: dict[str, Any], message: str, many_words: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=message) as error:
        fit(many_words, out=tmp_path / "run", steps=1, level="word", **{**TINY, "hidden": 16, **given})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_every_option_of_the_model_reaches_it() -> None:
    given: dict[str, Any] = {
        "cell": "gru",
        "embedding": 6,
        "hidden": 20,
        "layers": 3,
        "layer_norm": True,
        "tied": True,
        "dropout": 0.1,
        "input_dropout": 0.2,
        "embedding_dropout": 0.3,
        "weight_drop": 0.4,
        "variational": True,
    }
    elsewhere = {"level", "vocabulary", "adaptive", "activation", "slowness", "window", "evaluation_tokens"}
    of_the_loop = {field.name for field in fields(TrainingOptions)}
    assert {field.name for field in fields(TextOptions)} == {*given, *elsewhere, *of_the_loop}
    defaults = TextOptions()
    assert all(getattr(defaults, name) != value for name, value in given.items())
    model: Any = Text().build({"encoding": {"level": "byte"}}, make(TextOptions, given))
    assert all(isinstance(layer, GRU) for layer in model.layers)
    assert [(layer.input_size, layer.hidden_size) for layer in model.layers] == [(6, 20), (20, 20), (20, 6)]
    assert all(layer.layer_norm and layer.weight_drop == 0.4 for layer in model.layers)
    assert model.output_matrix is model.embedding.weight
    assert (model.dropout, model.input_dropout, model.embedding_dropout, model.variational) == (0.1, 0.2, 0.3, True)
    words = {"encoding": {"level": "word", "words": [f"w{k}" for k in range(20_000)]}}
    adaptive: Any = Text().build(words, make(TextOptions, {"adaptive": True, "hidden": 16, "embedding": 2}))
    assert adaptive.clusters.cutoffs[:-1] == [*default_cutoffs(20_002)]
    assert Text().build(words, make(TextOptions, {"hidden": 16, "embedding": 2})).clusters is None


def test_the_options_name_every_level_and_cell() -> None:
    choices = {option.name: option.choices for option in options_of(TextOptions)}
    assert choices["level"] == LEVELS
    assert choices["cell"] == tuple(CELLS)


@pytest.mark.parametrize(("activation", "slowness"), [(0.0, 0.0), (2.0, 0.0), (0.0, 3.0), (2.0, 3.0)])
def test_penalties_are_added_to_what_is_differentiated_and_not_to_what_is_shown(
    activation: float, slowness: float, book: Path
) -> None:
    options = make(TextOptions, {**TINY, "dropout": 0.5, "activation": activation, "slowness": slowness})
    corpus = corpus_of(book, options)
    model: Any = Text().build(Text().facts(corpus, options), options).train()
    problem = Text().problem(corpus, options, Devices(torch.device("cpu")))
    inputs, targets = batch = problem.epoch(0)[0]
    torch.manual_seed(5)
    value, shown, _ = problem.loss(model, batch, ())
    torch.manual_seed(5)  # the same masks again
    features, raw, _ = model(inputs)
    nats = -features.matmul(model.output_matrix.T).add(model.output_bias).log_softmax(-1)
    mean = nats.gather(-1, targets.unsqueeze(-1)).mean()
    penalty = activation * (features**2).mean() + slowness * ((raw[1:] - raw[:-1]) ** 2).mean()
    torch.testing.assert_close(shown, mean)
    torch.testing.assert_close(value, mean + penalty)
    assert (penalty > 1e-4) == bool(activation or slowness)


def test_each_epoch_cuts_the_text_elsewhere(book: Path) -> None:
    options = make(TextOptions, TINY)
    corpus = corpus_of(book, options)
    numbered = replace(corpus, train=replace(corpus.train, ids=np.arange(len(corpus.train.ids))))
    problem = Text().problem(numbered, options, Devices(torch.device("cpu")))
    begins = [int(problem.epoch(number)[0][0][0, 0]) for number in range(200)]
    assert begins[0] == 0
    assert set(begins) == set(range(TINY["window"]))
    assert begins == [int(problem.epoch(number)[0][0][0, 0]) for number in range(200)]  # a resumed run cuts there too


class _Stopping(Quiet):
    """Breaks a training off after some steps."""

    def step(self, position: Any, loss: float, units: int, seconds: float) -> None:
        if position.step == 7:
            raise InterruptedError


def test_a_run_that_broke_off_is_gone_on_with(book: Path, tmp_path: Path) -> None:
    options = {**TINY, "steps": 10, "checkpoint_every": 5}
    whole = fit(book, out=tmp_path / "whole", **options)
    with pytest.raises(InterruptedError):
        fit(book, out=tmp_path / "parts", watcher=_Stopping(), **options)
    result = resume(Text(), tmp_path / "parts")
    assert result is not None
    again = holdfast.load(tmp_path / "parts")
    assert again.saved["step"] == whole.saved["step"]
    assert result.measures == whole.saved["valid"]
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name
