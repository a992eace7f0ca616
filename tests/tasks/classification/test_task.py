"""Classes and numbers of sequences, from files to measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from holdfast.data import DataError
from holdfast.models import SequenceModel
from holdfast.tasks import Sources, fit, opened, resume
from holdfast.tasks.classification import Classify, Regress, SequenceRun
from holdfast.tasks.classification.reading import said_of
from holdfast.tasks.classification.task import astray
from holdfast.training import Devices, OptionError, RunError, make
from tests.support import arrays_of

TINY: dict[str, Any] = {"steps": 80, "hidden": 8, "embedding": 8, "batch_size": 16, "evaluations": 3, "minutes": 1.0}
GOOD, BAD, FILL = ["good", "fine", "lovely"], ["bad", "dull", "awful"], ["a", "film", "the", "plot", ",", "was", "it"]


def _texts(count: int, seed: int = 0, noise: float = 0.0) -> list[tuple[str, str]]:
    """Texts with one word that tells, and their classes, of which a share is wrong."""
    draw = np.random.default_rng(seed)
    found = []
    for k in range(count):
        words = draw.choice(FILL, size=draw.integers(2, 12)).tolist()
        words.insert(int(draw.integers(len(words) + 1)), str(draw.choice([BAD, GOOD][k % 2])))
        wrong = draw.random() < noise
        found.append((" ".join(words), ["neg", "pos"][(k + wrong) % 2]))
    return found


def _csv(path: Path, rows: list[tuple[str, str]], header: str = "review,sentiment") -> str:
    path.write_text("\n".join([header, *(f'"{text}",{label}' for text, label in rows)]) + "\n")
    return str(path)


def _series(path: Path, count: int, seed: int = 0, channels: int = 2) -> str:
    """Series whose class is whether their first channel rises, as .npz; y is also how fast it rises."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(3, 15, count)
    slope = draw.normal(size=count)
    x = [
        np.outer(np.arange(n), [s, *[0.0] * (channels - 1)]) + draw.normal(size=(n, channels)) * 0.1
        for n, s in zip(lengths, slope)
    ]
    np.savez(path, x=np.concatenate(x).astype(np.float32), lengths=lengths, y=slope)
    return str(path)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> SequenceRun:
    folder = tmp_path_factory.mktemp("texts")
    data, test = _csv(folder / "a.csv", _texts(300, noise=0.05)), _csv(folder / "test.csv", _texts(50, 1))
    fit(Classify(), Sources((data,), (), (test,)), folder / "run", {**TINY, "learning_rate": 0.02})
    found = opened(folder / "run")
    assert isinstance(found, SequenceRun)
    return found


def test_a_word_that_tells_is_learned(texts: SequenceRun) -> None:
    result = texts.evaluate(baselines=False)
    assert result.split == "test"
    assert result.measures["accuracy"] >= 0.9
    assert result.measures["nats"] < 0.3


def test_the_measures_are_those_of_its_probabilities(texts: SequenceRun) -> None:
    part = texts.data().labelled.parts["test"]
    said = said_of(texts.model, part, texts.options.longest)
    one_by_one = torch.cat(
        [
            texts.model(torch.from_numpy(part.of(k).astype(np.int64))[:, None], torch.tensor([len(part.of(k))]))
            for k in range(len(part))
        ]
    )
    torch.testing.assert_close(said, one_by_one.detach())
    chosen = (said / texts.model.temperature).softmax(1)[torch.arange(len(part)), torch.from_numpy(part.said).long()]
    assert texts.evaluate(baselines=False).measures["nats"] == pytest.approx(-chosen.log().mean().item(), rel=1e-5)


def test_the_temperature_is_the_best_one(texts: SequenceRun) -> None:
    part = texts.data().labelled.parts["valid"]
    said = said_of(texts.model, part, texts.options.longest).double()
    truth = torch.from_numpy(part.said).long()

    def nats(temperature: float) -> float:
        logarithms = (said / temperature).log_softmax(1)
        doubted = logarithms.mean(1).mean()  # of one more example, of which nothing is known
        return -(logarithms[torch.arange(len(truth)), truth].sum() + doubted).item()

    found = float(texts.model.temperature)
    assert all(nats(found) <= nats(found * k) + 1e-9 for k in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0))


def test_few_examples_that_are_all_right_make_nobody_sure() -> None:
    model = SequenceModel(outputs=2, vocabulary=3)
    for count, least, most in ((9, 0.93, 0.97), (999, 0.999, 0.9999)):
        truth = np.arange(count) % 2
        said = 10.0 * torch.eye(2)[truth]
        Classify().calibrate(model, said, truth.astype(float))
        assert least < model.probabilities(said).max(1).values.mean() < most


def test_a_tenth_of_each_class_is_put_aside(tmp_path: Path) -> None:
    rows = [*_texts(40), *[("it was so so", "mixed")] * 20]
    data = _csv(tmp_path / "a.csv", rows)
    task = Classify()
    options = make(task.options, {})
    labelled = task.read(Sources((data,)), options, lambda what: None).labelled
    assert labelled.classes == ("mixed", "neg", "pos")
    assert np.bincount(labelled.parts["valid"].said.astype(int)).tolist() == [2, 2, 2]
    assert np.bincount(labelled.parts["train"].said.astype(int)).tolist() == [18, 18, 18]
    both = [labelled.parts[name].text(k) for name in ("train", "valid") for k in range(len(labelled.parts[name]))]
    assert sorted(both) == sorted(text for text, _ in rows)


def test_what_is_wrong_is_an_error_or_counted(tmp_path: Path) -> None:
    rows = [*_texts(40), ("", "pos"), ("fine", "")]
    data = _csv(tmp_path / "a.csv", rows)
    with pytest.raises(DataError, match=r"a\.csv, line 42: the text is empty"):
        fit(Classify(), Sources((data,)), tmp_path / "run", TINY)
    assert not (tmp_path / "run").exists()
    result = fit(Classify(), Sources((data,)), tmp_path / "run", {**TINY, "skip_bad": True})
    assert result is not None
    assert any("1 row left out: the text is empty" in note for note in result.notes), result.notes
    assert any("1 row left out: the label is missing" in note for note in result.notes), result.notes


def test_a_class_that_was_not_learned_from_is_an_error_or_counted(tmp_path: Path) -> None:
    data = _csv(tmp_path / "a.csv", _texts(40))
    other = _csv(tmp_path / "b.csv", [*_texts(10, 2), ("it was", "odd")])
    for skip in (False, True):
        run = tmp_path / f"run{skip}"
        fit(Classify(), Sources((data,)), run, {**TINY, "skip_bad": skip})
        if skip:
            result = opened(run).evaluate(other, baselines=False)
            assert any("1 row left out: the class 'odd'" in note for note in result.notes), result.notes
        else:
            with pytest.raises(DataError, match="line 12: the class 'odd', of which none was learned from"):
                opened(run).evaluate(other)


def test_something_must_be_learned_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name at least one file"):
        fit(Classify(), Sources(), tmp_path / "run", TINY)


def test_one_class_alone_cannot_be_learned(tmp_path: Path) -> None:
    data = _csv(tmp_path / "a.csv", [(text, "pos") for text, _ in _texts(20)])
    with pytest.raises(DataError, match="there must be two classes at least, but there is only one, 'pos'"):
        fit(Classify(), Sources((data,)), tmp_path / "run", TINY)


def test_rare_classes_count_as_much_as_others_where_asked(tmp_path: Path) -> None:
    task, data = Classify(), _csv(tmp_path / "a.csv", [*_texts(40), *_texts(120)[::2]])
    options = make(task.options, {"class_weights": "balanced"})
    material = task.read(Sources((data,)), options, lambda what: None)
    problem = task.problem(material, options, Devices(torch.device("cpu")))
    counts = np.bincount(material.labelled.parts["train"].said.astype(int))
    np.testing.assert_allclose(problem.weights.numpy() * counts, counts.sum() / 2, rtol=1e-6)


def test_series_are_scaled_by_what_is_learned_from_and_classified(tmp_path: Path) -> None:
    data = _series(tmp_path / "a.npz", 200)
    loaded = arrays_of(data)
    np.savez(data, **{**loaded, "y": np.where(loaded["y"] > 0, "up", "down")})
    fit(Classify(), Sources((data,)), tmp_path / "run", {**TINY, "learning_rate": 0.02})
    run = opened(tmp_path / "run")
    assert isinstance(run, SequenceRun)
    assert run.evaluate(baselines=False).measures["accuracy"] > 0.85
    train = run.data().labelled.parts["train"]
    rows = np.concatenate([train.of(k) for k in range(len(train))])
    np.testing.assert_allclose(run.model.means, rows.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run.model.deviations, rows.std(0), rtol=1e-4)


def test_numbers_of_series_are_learned(tmp_path: Path) -> None:
    data = _series(tmp_path / "a.npz", 200)
    result = fit(
        Regress(),
        Sources((data,)),
        tmp_path / "run",
        {**TINY, "steps": 200, "learning_rate": 0.02, "dropout": 0.1, "noise": 0.0},
    )
    assert result is not None
    assert result.measures["r2"] > 0.8
    assert result.measures["rmse"] < result.baselines["mean"]["rmse"]


def test_values_that_are_missing_where_is_chosen_are_told_to_the_model(tmp_path: Path) -> None:
    data, other = _series(tmp_path / "a.npz", 60), _series(tmp_path / "b.npz", 30, 1)
    loaded = arrays_of(other)
    loaded["x"][3, 1] = np.nan
    np.savez(other, **loaded)
    result = fit(Regress(), Sources((data,), (other,)), tmp_path / "run", TINY)
    assert result is not None
    assert np.isfinite(result.measures["rmse"])
    fit(Regress(), Sources((data,)), tmp_path / "whole", TINY)
    with pytest.raises(DataError, match=r"a missing value \(NaN\), but the model learned from series without"):
        opened(tmp_path / "whole").evaluate(other)


def test_the_loss_of_numbers_is_shown_in_their_unit(tmp_path: Path) -> None:
    data = _series(tmp_path / "a.npz", 60)
    loaded = arrays_of(data)
    np.savez(data, **{**loaded, "y": 1000 * loaded["y"]})
    fit(Regress(), Sources((data,)), tmp_path / "run", {**TINY, "steps": 3, "evaluations": 1})
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert 300 < first["loss"] < 3000  # as much as the numbers differ


def test_a_missing_value_is_told_to_the_model() -> None:
    model = SequenceModel(outputs=2, channels=2, gaps=True, hidden=4).eval()
    x = torch.randn(5, 1, 2)
    gap = x.clone()
    gap[2, 0, 1] = torch.nan
    at_the_mean = x.clone()
    at_the_mean[2, 0, 1] = 0.0
    lengths = torch.tensor([5])
    assert model(gap, lengths).isfinite().all()
    assert not torch.allclose(model(gap, lengths), model(at_the_mean, lengths))


def test_a_resumed_training_ends_as_one_that_was_not_stopped(tmp_path: Path) -> None:
    data = _csv(tmp_path / "a.csv", _texts(60))
    options = {**TINY, "steps": 12, "checkpoint_every": 6}
    fit(Classify(), Sources((data,)), tmp_path / "whole", options)
    fit(Classify(), Sources((data,)), tmp_path / "parts", {**options, "steps": 12})
    (tmp_path / "parts" / "checkpoints" / "step-000000012.safetensors").unlink()
    resume(Classify(), tmp_path / "parts")
    lines = ((tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "parts"))
    one, other = ([json.loads(line) for line in each] for each in lines)
    assert one[-1]["loss"] == other[-1]["loss"]


@pytest.mark.full
def test_a_model_begins_with_a_language_model_of_unlabelled_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    plain = tmp_path / "plain.txt"
    plain.write_text("\n".join(text for text, _ in _texts(400, 5)))
    data = _csv(tmp_path / "a.csv", _texts(60))
    options = {**TINY, "steps": 4, "evaluations": 1, "pretrain": (str(plain),), "pretrain_minutes": 0.02}
    fit(Classify(), Sources((data,)), tmp_path / "run", options)
    language = opened(tmp_path / "run" / "data" / "start")
    run = opened(tmp_path / "run")
    assert run.facts["encoding"] == language.facts["encoding"]
    task = Classify()
    material = task.read(Sources((data,), start=(str(language.folder),)), run.options, lambda what: None)
    fresh = task.build(task.facts(material, run.options), run.options)
    task.start(fresh, material)
    assert isinstance(fresh, SequenceModel)
    torch.testing.assert_close(fresh.embedding.weight, language.model.embedding.weight)
    torch.testing.assert_close(fresh.below[0].weight_hh_l0, language.model.layers[0].weight_hh_l0)
    torch.testing.assert_close(run.model.embedding.weight, language.model.embedding.weight, atol=0.05, rtol=0.0)
    made = [*(tmp_path / "cache" / "holdfast" / "language").iterdir()]
    assert len(made) == 1
    model = (made[0] / "model.safetensors").read_bytes()
    fit(Classify(), Sources((data,)), tmp_path / "again", options)  # which learns no other one
    assert (made[0] / "model.safetensors").read_bytes() == model
    evaluated = opened(tmp_path / "again").evaluate(baselines=False)
    assert evaluated.split == "valid"
    fit(Classify(), Sources((data,)), tmp_path / "from", {**TINY, "steps": 2, "from_": str(made[0])})
    assert opened(tmp_path / "from").facts["language"]["widths"] == [512]
    with pytest.raises(DataError, match="nope"):  # which leaves nothing behind that stands in the way of another try
        fit(Classify(), Sources((data,)), tmp_path / "wrong", {**TINY, "text": "nope", "from_": str(made[0])})
    assert not (tmp_path / "wrong").exists()
    series = _series(tmp_path / "s.npz", 20)
    with pytest.raises(DataError, match=r"s\.npz, row 1: a series, but the model reads texts"):
        fit(Regress(), Sources((series,)), tmp_path / "series", {**TINY, "from_": str(made[0])})


def test_sequences_that_a_run_cannot_read_are_not_measured(tmp_path: Path) -> None:
    fit(Regress(), Sources((_series(tmp_path / "a.npz", 40),)), tmp_path / "run", {**TINY, "steps": 2})
    run = opened(tmp_path / "run")
    with pytest.raises(DataError, match=r"one\.npz, row 1: 1 channels, but the model learned from 2"):
        run.evaluate([_series(tmp_path / "one.npz", 10, channels=1)], baselines=False)
    with pytest.raises(DataError, match=r"b\.csv, line 2: a text, but the model reads series"):
        run.evaluate([_csv(tmp_path / "b.csv", [("a film", "1"), ("a plot", "2")], "text,label")])


def test_a_text_is_led_astray_where_its_loss_rises_most() -> None:
    torch.manual_seed(0)
    model = SequenceModel(outputs=2, vocabulary=9, embedding=5, hidden=4).double()
    x, lengths, truth = torch.randint(9, (6, 3)), torch.tensor([6, 2, 4]), torch.tensor([0, 1, 1])

    def loss(inputs: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model.from_inputs(inputs, lengths), truth, reduction="none")

    inputs = model.inputs(x)
    away = astray(loss(inputs).mean(), inputs, lengths, 1e-3)
    for k, length in enumerate(lengths.tolist()):
        assert not away[length:, k].any()
        assert away[:, k].norm().item() == pytest.approx(1e-3 * inputs[:length, k].norm().item())
    rises = loss(inputs + away) - loss(inputs)
    assert (rises > 0).all()
    for _ in range(50):
        other = torch.randn_like(away)
        for k, length in enumerate(lengths.tolist()):
            other[length:, k] = 0
        other *= (away.norm(dim=(0, 2)) / other.norm(dim=(0, 2)))[:, None]
        assert (loss(inputs + other) - loss(inputs) < rises).all()


def test_only_texts_are_led_astray_and_only_if_that_is_wanted(tmp_path: Path) -> None:
    texts, series = _csv(tmp_path / "a.csv", _texts(40)), _series(tmp_path / "s.npz", 20)
    still = {**TINY, "dropout": 0.0, "input_dropout": 0.0, "word_dropout": 0.0, "weight_drop": 0.0, "noise": 0.0}
    cases: list[tuple[Any, str, bool]] = [(Classify(), texts, True), (Regress(), series, False)]
    for task, data, differs in cases:
        values = []
        for share in (0.0, 0.3):
            options = make(task.options, {**still, "adversarial": share})
            material = task.read(Sources((data,)), options, lambda what: None)
            problem = task.problem(material, options, Devices(torch.device("cpu")))
            torch.manual_seed(0)
            model = task.build(task.facts(material, options), options)
            found = problem.loss(model, problem.epoch(0)[0], ())
            values.append((found.value.item(), found.shown.item()))
        assert values[0][1] == pytest.approx(values[1][1])
        assert values[1][0] > values[0][0] + 1e-4 if differs else values[1][0] == values[0][0]


def test_layers_that_were_taken_over_learn_later(tmp_path: Path) -> None:
    task = Classify()
    data = _csv(tmp_path / "a.csv", _texts(40))
    options = make(task.options, {})
    material = task.read(Sources((data,)), options, lambda what: None)
    problem = task.problem(material, options, Devices(torch.device("cpu")))
    model = SequenceModel(outputs=2, vocabulary=9, below=(6, 7), hidden=4)
    problem.taken_over = True
    paces = problem.paces(model)
    assert [round(pace.begins, 6) for pace in paces] == [0.0, 0.033333, 0.066667, 0.1]
    listed = [id(p) for pace in problem.paces(model) for p in pace.parameters]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pooling": ("mean", "mid")}, "pooling must be of last, mean, max, attention; got 'mid'"),
        ({"pooling": ()}, "pooling must name at least one"),
        ({"pretrain": ("a",), "from_": "b"}, "pretrain and from exclude each other"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        make(Classify.options, options)


def test_series_are_refused_before_a_language_model_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    series = tmp_path / "a.csv"
    series.write_text("series,x,label\na,1,p\na,2,p\nb,3,q\n")
    (tmp_path / "plain.txt").write_text("some words\n" * 50)
    given = {**TINY, "series": "series", "pretrain": (str(tmp_path / "plain.txt"),)}
    with pytest.raises(OptionError, match=r"pretrain is for texts; .*line 2 is a series"):
        fit(Classify(), Sources((str(series),)), tmp_path / "run", given)
    sounds = tmp_path / "sounds.csv"
    sounds.write_text("path,label\na.wav,p\n")
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8000)
    heard = {**given, "series": "", "audio": "path"}
    with pytest.raises(OptionError, match=r"pretrain is for texts; .*a\.wav is a recording"):
        fit(Classify(), Sources((str(sounds),)), tmp_path / "run", heard)
    assert not (tmp_path / "cache" / "holdfast" / "language").exists()


def test_a_run_of_another_task_is_no_language_model(texts: SequenceRun, tmp_path: Path) -> None:
    data = _csv(tmp_path / "a.csv", _texts(40))
    with pytest.raises(RunError, match="is a run of the task classify; a model begins with a run of the task text"):
        fit(Classify(), Sources((data,)), tmp_path / "run", {**TINY, "from_": str(texts.folder)})
