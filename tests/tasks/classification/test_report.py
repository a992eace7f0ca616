"""The reports of classifiers and regressors, by what they say and draw."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from holdfast.data import build_encoding
from holdfast.tasks import TASKS, Sources, fit
from holdfast.tasks.classification.examples import by_character, of_whole, series_shown, text_shown, words_of
from holdfast.tasks.classification.reading import said_of
from holdfast.tasks.classification.report import sections
from holdfast.tasks.classification.task import Material
from holdfast.tasks.fitting import Fitted
from holdfast.tasks.task import Compared
from holdfast.training import Run

from .helpers import random_texts

Array = np.ndarray[Any, Any]

REPORTS = True
SVG = "{http://www.w3.org/2000/svg}"
TINY: dict[str, Any] = {"steps": 3, "hidden": 4, "embedding": 4, "batch_size": 8, "evaluations": 1, "valid_share": 0.4}
OF_CLASSES = [
    "In plain words",
    "What is taken for what",
    "How far its confidence can be trusted",
    "If it may leave the doubtful to somebody else",
    "What it looked at",
]
OF_NUMBERS = ["In plain words", "Said and true", "Where it errs", "What it looked at"]
STRANGE = "<script>alert('&')</script>"  # a class, and a text


def table_of(texts: Sequence[str], said: Sequence[Any]) -> str:
    rows = [f'"{text}",{label}' for text, label in zip(texts, said)]
    return "\n".join(["text,label", *rows, ""])


def files() -> dict[str, tuple[str, str, str, dict[str, Any]]]:
    """Of each run its task, the name and content of its file, and options."""
    two, of_two = random_texts(120, 0, ["good", "bad"])
    two[5] += f" {STRANGE} \x01 \u2028"
    many, of_many = random_texts(200, 1, [f"topic{k}x" for k in range(14)])
    numbers, values = random_texts(90, 2, ["low", "high"])
    draw = np.random.default_rng(0)
    cases = []
    for k in range(60):
        steps = draw.normal(k % 3, 1, (draw.integers(2, 9), 5))
        channels = [",".join("?" if draw.random() < 0.1 else f"{v:.3f}" for v in column) for column in steps.T]
        cases.append(":".join([*channels, "abc"[k % 3]]))
    series = "\n".join(["@dimensions 5", "@missing true", "@classLabel true a b c", "@data", *cases, ""])
    return {
        "two": ("classify", "two.csv", table_of(two, [["yes", STRANGE][k] for k in of_two]), {"pooling": ("mean",)}),
        "many": ("classify", "many.csv", table_of(many, of_many), {"level": "char", "longest": 30}),
        "series": ("classify", "series.ts", series, {"bidirectional": False}),
        "numbers": ("regress", "numbers.csv", table_of(numbers, np.array(values) * 2.5), {"bidirectional": False}),
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Fitted, Material]]:
    found = {}
    folder = tmp_path_factory.mktemp("runs")
    for name, (task, file, content, options) in files().items():
        (folder / file).write_text(content)
        fit(TASKS[task], Sources((str(folder / file),)), folder / name, TINY | options)
        fitted = Fitted(TASKS[task], Run.open(folder / name))
        found[name] = fitted, fitted.data()
    return found


def compared_to(run: tuple[Fitted, Material], said: Mapping[str, Sequence[float]] | None = None) -> Compared:
    """Methods that say something, measured."""
    truth = run[1].labelled.parts["valid"].said
    said = said or {"the first": [0.0] * len(truth)}
    measures = {}
    for name, numbers in said.items():
        error = np.asarray(numbers) - truth
        measures[name] = {
            "accuracy": float((error == 0).mean()),
            "nats": 1.0,
            "rmse": float(np.sqrt((error**2).mean())),
        }
    return Compared(measures, said=said)


def parts(run: tuple[Fitted, Material], compared: Compared | None = None) -> dict[str, str]:
    """The sections by their headings."""
    found = {}
    for html in sections(run[0].task, *run, compared or compared_to(run)):  # type: ignore[arg-type]
        heading = ElementTree.fromstring(html).findtext("h2")
        assert heading is not None
        found[heading] = html
    return found


def verdict(run: tuple[Fitted, Material], said: Mapping[str, Sequence[float]]) -> str:
    html = next(iter(sections(run[0].task, *run, compared_to(run, said))))  # type: ignore[arg-type]
    return ElementTree.fromstring(html).findtext("p/strong") or ""


def tables(html: str) -> list[dict[str, list[str]]]:
    return [
        {row.findtext("th") or "": [cell.text or "" for cell in row.iter("td")] for row in table.findall("tbody/tr")}
        for table in ElementTree.fromstring(html).iter("table")
    ]


def points(html: str, kind: str) -> list[list[tuple[float, ...]]]:
    """The points of each piece of the lines or bands of a look."""
    return [
        [tuple(map(float, point.split(","))) for point in element.get("points", "").split()]
        for element in ElementTree.fromstring(html).iter()
        if element.get("class") == kind and element.get("points")
    ]


def said(run: tuple[Fitted, Material]) -> tuple[Array, Array]:
    """The probabilities, and the truth."""
    fitted, data = run
    part = data.labelled.parts["valid"]
    with torch.no_grad():
        found = said_of(fitted.model, part, fitted.options.longest)  # type: ignore[arg-type, attr-defined]
        return fitted.model.probabilities(found).double().numpy(), part.said.astype(int)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["two", "many", "series", "numbers"])
def test_the_report_is_no_wider_than_a_phone(
    runs: dict[str, tuple[Fitted, Material]], name: str, fits_a_phone: Callable[[str], None]
) -> None:
    fits_a_phone((runs[name][0].folder / "report.html").read_text())


@pytest.mark.parametrize("name", ["two", "many", "series", "numbers"])
def test_every_part_is_there_and_draws_only_numbers(runs: dict[str, tuple[Fitted, Material]], name: str) -> None:
    words = [] if name == "series" else ["Words that tell"]
    found = parts(runs[name])
    assert list(found) == [*(OF_NUMBERS if name == "numbers" else OF_CLASSES), *words, "Inside the model"]
    for html in found.values():
        assert not re.search(r"\b(nan|inf)\b", html), "a text or a place is no number"
    page = (runs[name][0].folder / "report.html").read_text()
    assert all(f"<h2>{heading}</h2>" in page for heading in found)
    assert STRANGE not in page


def test_a_model_is_said_to_win_where_chance_does_not_explain_it(runs: dict[str, tuple[Fitted, Material]]) -> None:
    run = runs["two"]
    probabilities, truth = said(run)
    right, count = int((probabilities.argmax(1) == truth).sum()), len(truth)
    wrong = (1 - probabilities.argmax(1)).tolist()
    text = verdict(run, {"the worst": [1.0 - k for k in truth], "the other": [1.0 - k for k in truth]})
    assert text.startswith(f"The model is right on {right / count:.1%} of the validation data (")
    assert "best simple method, the worst, on 0.0%: it beats every simple method by more than chance explains" in text
    text = verdict(run, {"perfect": truth.tolist(), "opposite": wrong})
    assert "the best simple method, perfect, on 100.0%: the model does not pay." in text
    assert "is the better choice; use that" in text
    text = verdict(run, {"its like": probabilities.argmax(1).tolist()})
    assert "the difference may be chance (-" in text


def test_a_regressor_is_said_to_win_where_chance_does_not_explain_it(runs: dict[str, tuple[Fitted, Material]]) -> None:
    run = runs["numbers"]
    truth = run[1].labelled.parts["valid"].said
    text = verdict(run, {"far off": (truth + 50).tolist(), "farther": (truth + 60).tolist()})
    assert text.startswith(f"The model errs by {run[0].saved['valid']['rmse']:.3g} on the validation data")
    assert "far off, by 50: it beats every simple method by more than chance explains" in text
    text = verdict(run, {"exact": truth.tolist()})
    assert "the model does not pay. The simple method is the better choice; use that" in text


def test_the_confusion_is_counted_from_truth_to_what_is_said(runs: dict[str, tuple[Fitted, Material]]) -> None:
    probabilities, truth = said(runs["series"])
    chosen = probabilities.argmax(1)
    matrix, scores = tables(parts(runs["series"])["What is taken for what"])
    for k, name in enumerate("abc"):
        counts = [int(((truth == k) & (chosen == j)).sum()) for j in range(3)]
        expected = [f"{count} ({count / sum(counts):.0%})" if count else "0" for count in counts]
        assert matrix[name] == expected
        shown = [f"{counts[k] / int((chosen == k).sum()):.1%}" if (chosen == k).any() else "–"]
        assert scores[name][:2] == [*shown, f"{counts[k] / sum(counts):.1%}"]
        assert scores[name][3] == str(sum(counts))


def test_of_many_classes_the_most_frequent_are_shown_and_the_pairs_that_are_confused(
    runs: dict[str, tuple[Fitted, Material]],
) -> None:
    run = runs["many"]
    probabilities, truth = said(run)
    wrong = sum(probabilities.argmax(1) != truth)
    matrix, confused, scores = tables(parts(run)["What is taken for what"])
    assert (len(matrix), len(scores)) == (12, 14)
    total = sum(int(cell.split()[0]) for row in matrix.values() for cell in row)
    counts = np.bincount(truth, minlength=14)
    assert total == np.sort(counts)[::-1][:12].sum(), "what is said of others stands in the last column"
    assert wrong > 0
    assert 0 < len(confused) <= 12
    for true, (as_what, how_often) in confused.items():
        count = ((truth == int(true)) & (probabilities.argmax(1) == int(as_what))).sum()
        assert true != as_what
        assert how_often == f"{count} of {counts[int(true)]}"


def test_the_calibration_has_all_examples_and_says_the_temperature(runs: dict[str, tuple[Fitted, Material]]) -> None:
    fitted, data = runs["two"]
    model: Any = fitted.model
    old = model.temperature.item()
    said_then = {}
    try:
        for temperature in (1.6, 1.0, 0.5):
            model.temperature.fill_(temperature)
            said_then[temperature] = parts((fitted, data))["How far its confidence can be trusted"]
    finally:
        model.temperature.fill_(old)
    assert "its outputs were divided by 1.60 before" in said_then[1.6]
    assert "its outputs were left as they are" in said_then[1.0]
    assert "its outputs were multiplied by 2.00 before" in said_then[0.5]
    (bins,) = tables(said_then[1.0])
    assert sum(int(row[0]) for row in bins.values()) == len(data.labelled.parts["valid"])


def test_the_table_of_thresholds_is_what_is_decided_and_right(runs: dict[str, tuple[Fitted, Material]]) -> None:
    probabilities, truth = said(runs["many"])
    (found,) = tables(parts(runs["many"])["If it may leave the doubtful to somebody else"])
    assert found["all"][:2] == ["100.0%", f"{(probabilities.argmax(1) == truth).mean():.1%}"]
    for percent in (50, 90):
        kept = probabilities.max(1) >= percent / 100
        right = f"{(probabilities.argmax(1) == truth)[kept].mean():.1%}" if kept.any() else "–"
        assert found[f"at least {percent}% sure"][:2] == [f"{kept.mean():.1%}", right]


def test_of_two_classes_the_rarer_has_its_precision_and_recall(runs: dict[str, tuple[Fitted, Material]]) -> None:
    probabilities, truth = said(runs["two"])
    rarer = int(np.bincount(truth).argmin())
    html = parts(runs["two"])["If it may leave the doubtful to somebody else"]
    _, found = tables(html)
    for percent in (40, 50, 60):
        flagged = probabilities[:, rarer] >= percent / 100
        hits = (flagged & (truth == rarer)).sum()
        precision = f"{hits / flagged.sum():.1%}" if flagged.any() else "–"
        assert found[f"{percent}%"] == [precision, f"{hits / (truth == rarer).sum():.1%}", str(flagged.sum())]


def test_the_examples_are_the_surest_and_the_least_sure(runs: dict[str, tuple[Fitted, Material]]) -> None:
    probabilities, truth = said(runs["two"])
    html = parts(runs["two"])["What it looked at"]
    tree = ElementTree.fromstring(html)
    captions = [p.text or "" for p in tree.iter("p") if (p.text or "").startswith("Example")]
    right, confidence = probabilities.argmax(1) == truth, probabilities.max(1)
    which = runs["two"][1].labelled.parts["valid"].which
    expected = []
    for order in (
        [k for k in np.argsort(-confidence, kind="stable") if not right[k]],
        [k for k in np.argsort(-confidence, kind="stable") if right[k]],
        [*np.argsort(confidence, kind="stable")],
    ):
        expected += [f"Example {which[k] + 1}." for k in order[:3]]
    assert [re.match(r"Example \d+\.", caption)[0] for caption in captions] == expected  # type: ignore[index]
    assert len(list(tree.iter("pre"))) == len(captions)


def test_the_worst_cases_of_a_regressor_come_first(runs: dict[str, tuple[Fitted, Material]]) -> None:
    fitted, data = runs["numbers"]
    part = data.labelled.parts["valid"]
    mean, deviation = fitted.facts["said"]
    numbers = said_of(fitted.model, part, 1000)[:, 0].double().numpy() * deviation + mean  # type: ignore[arg-type]
    worst = int(np.abs(numbers - part.said).argmax())
    tree = ElementTree.fromstring(parts(runs["numbers"])["What it looked at"])
    first = next(p.text for p in tree.iter("p") if (p.text or "").startswith("Example"))
    assert first == f"Example {part.which[worst] + 1}. It says {numbers[worst]:.4g}; it is {part.said[worst]:.4g}."


def test_the_cloud_has_a_dot_for_each_example_and_the_tables_all_of_them(
    runs: dict[str, tuple[Fitted, Material]],
) -> None:
    found = parts(runs["numbers"])
    count = len(runs["numbers"][1].labelled.parts["valid"])
    assert len(points(found["Said and true"], "line line-1")) == 2 * count
    for table in tables(found["Where it errs"]):
        assert sum(int(row[2]) for row in table.values()) == count


def test_a_series_has_its_channels_that_counted_and_a_strip(runs: dict[str, tuple[Fitted, Material]]) -> None:
    tree = ElementTree.fromstring(parts(runs["series"])["What it looked at"])
    charts = [*tree.iter(f"{SVG}svg")]
    assert len(charts) >= 6
    for chart in charts:
        assert len([*chart.iter(f"{SVG}image")]) == 1
        names = [t.text for t in chart.iter(f"{SVG}text") if (t.text or "").startswith("channel")]
        assert len(names) == 4, "of five"


def test_the_look_inside_is_of_models_in_one_direction(runs: dict[str, tuple[Fitted, Material]]) -> None:
    for name, text in (("series", "gate f"), ("numbers", "gate f"), ("two", "--no-bidirectional")):
        assert text in parts(runs[name])["Inside the model"]


def test_of_many_validation_sequences_some_are_judged_and_the_report_says_how_many(
    runs: dict[str, tuple[Fitted, Material]],
) -> None:
    fitted, data = runs["two"]
    valid, copies = data.labelled.parts["valid"], 500_000
    many = replace(valid, which=np.resize(valid.which, copies))
    large = replace(data, labelled=replace(data.labelled, parts={**data.labelled.parts, "valid": many}))
    model: Any = fitted.model
    weights = sum(p.numel() for p in model.layers.parameters())
    per_sequence = weights * valid.lengths.mean()
    assert per_sequence * copies > 3e9, "the case is not tiny"
    heavy = (fitted, large)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holdfast.tasks.classification.report._JUDGING", 30.5 * per_sequence)
        words = parts(heavy, compared_to(heavy))["In plain words"]
    number = re.search(r"are of (\d+) of the 500,000 validation sequences, drawn at random", words)
    assert number is not None
    assert int(number[1]) == pytest.approx(30, abs=8)


# Single examples.


def test_words_have_the_influence_of_their_parts_and_unknown_ones_are_left_out() -> None:
    encoding = build_encoding("prose", ["i can't stand it\n"])
    text = "I  CAN'T stand zebras , it"
    influence = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    found = [*words_of(text, encoding, encoding.encode(text), influence)]
    assert found == [("i", 1), ("can't", 6), ("stand", 8), ("it", 64)]
    influence[3] = np.nan
    assert [word for word, _ in words_of(text, encoding, encoding.encode(text), influence)] == ["i", "can't", "it"]


@pytest.mark.parametrize("level", ["char", "byte", "bpe", "word", "prose"])
def test_words_of_any_encoding_share_what_their_text_has(level: str) -> None:
    text = "né à la  montagne, né"
    encoding = build_encoding(level, [text])
    tokens = encoding.encode(text)
    influence = np.ones(len(tokens))
    found = [*words_of(text, encoding, tokens, influence)]
    assert [word for word, _ in found] == ["né", "à", "la", "montagne", "né"]
    letters, ends = by_character(text, encoding, influence)
    assert letters.sum() == len(tokens)
    assert ends[-1] == len(text)
    if level == "byte":
        assert found[0][1] == 3, "é is two bytes"
    shown = "".join(ElementTree.fromstring(text_shown(text, encoding, influence)).itertext())
    assert shown == text


def test_a_text_is_coloured_by_sign_and_strength_and_escaped() -> None:
    encoding = build_encoding("word", ["good <b> bad meh x"])
    html = text_shown("good <b> bad meh", encoding, np.array([2.0, 0.0, -1.0, 0.01]))
    spans = {span.text: span.get("style") for span in ElementTree.fromstring(html).iter("span")}
    assert set(spans) == {"good", "bad"}
    assert "178, 24, 43, 0.55" in (spans["good"] or "")
    assert "33, 102, 172, 0.28" in (spans["bad"] or "")
    assert "&lt;b&gt;" in html


def test_a_long_text_is_cut_to_where_it_counts_most() -> None:
    words = [f"w{k}" for k in range(900)]
    encoding = build_encoding("word", [" ".join(words)])
    influence = np.zeros(900)
    influence[500:510] = 1
    (shown,) = ElementTree.fromstring(f"<p>{text_shown(' '.join(words), encoding, influence)}</p>")
    text = "".join(shown.itertext())
    assert text.startswith("… w")
    assert text.endswith(" …")
    assert {f"w{k}" for k in range(500, 510)} <= {*text.split()} <= {*words, "…"}
    assert 400 < len(text) <= 610


def test_what_was_not_read_is_pale_and_nowhere_counts() -> None:
    whole = of_whole(np.array([[1.0], [2.0], [3.0]]), 5, 3)
    assert whole[:, 0] == pytest.approx([1, np.nan, np.nan, 2, 3], nan_ok=True)
    encoding = build_encoding("word", ["a b c d e"])
    tree = ElementTree.fromstring(text_shown("a b c d e", encoding, whole[:, 0]))
    assert [s.text for s in tree.iter("span") if "opacity" in (s.get("style") or "")] == ["b", "c"]


def test_a_text_without_a_word_can_be_shown() -> None:
    encoding = build_encoding("prose", ["a"])
    assert text_shown("", encoding, np.array([1.0])) == "<pre></pre>"
    assert [*words_of("  ", encoding, np.array([0]), np.array([1.0]))] == []


def test_a_series_of_one_channel_with_values_missing_can_be_shown() -> None:
    values = np.array([[1.0], [np.nan], [2.0]])
    tree = ElementTree.fromstring(series_shown(values, np.array([[0.5], [-1.0], [np.nan]]), "A <series>"))
    assert tree.findtext(f"{SVG}title") == "A <series>"


def test_reports_need_no_network_and_no_script(runs: dict[str, tuple[Fitted, Material]]) -> None:
    for fitted, _ in runs.values():
        page = Path(fitted.folder, "report.html").read_text()
        assert "<script" not in page
        assert not re.search(r'(src|href)="(?!data:)', page)
