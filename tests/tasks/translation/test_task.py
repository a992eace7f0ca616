"""From pairs to a run, and from a run to translations."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.data import DataError, untold
from holdfast.data.pairs import Pairs
from holdfast.layers import GRU
from holdfast.models import Beam, Candidate, EncoderDecoder, Sampling
from holdfast.tasks import Sources, fit, opened, resume
from holdfast.tasks.paired import attention
from holdfast.tasks.translation import Translate, TranslateOptions, TranslateRun, Translation
from holdfast.tasks.translation import fit as fit_translate
from holdfast.tasks.translation.run import Translator
from holdfast.training import Devices, Interrupted, OptionError, Quiet
from holdfast.training.optimisers import averaged
from tests.reports import reports
from tests.support import own_cache
from tests.tasks.translation.phrases import WORDS, phrases, write

TINY = {"hidden": 32, "embedding": 16, "layers": 1, "batch_size": 16, "evaluations": 2, "level": "word"}
QUICK = {"steps": 300, "learning_rate": 0.02, "dropout": 0.0, "average": 0.05, "smoothing": 0.0}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        own_cache(patch, tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("pairs")
    return tuple(str(path) for path in write(folder, "train", phrases(400, 0)))


@pytest.fixture(scope="module")
def run(paths: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> TranslateRun:
    folder = tmp_path_factory.mktemp("run") / "run"
    test = tuple(str(path) for path in write(folder.parent, "test", phrases(50, 1)))
    with reports(True):
        fit(Translate(), Sources(paths, (), test), folder, {**TINY, **QUICK})
    found = opened(folder)
    assert isinstance(found, TranslateRun)
    return found


def test_it_learns_to_translate(run: TranslateRun) -> None:
    result = run.evaluate()
    assert result.split == "test"
    assert result.measures["exact"] > 0.9
    assert result.measures["bleu"] > 90
    assert result.baselines["word for word"]["exact"] == 1.0
    assert any(note.startswith("BLEU: nrefs:1|case:mixed") and note.endswith("a beam of 5.") for note in result.notes)


def test_texts_are_translated_in_their_order_and_empty_ones_stay_empty(run: TranslateRun) -> None:
    texts = [source for source, _ in phrases(40, 2)]
    texts[7] = "  "
    found = run.translate(texts)
    alone = [run.translate(text)[0] for text in texts]
    assert [one.text for one in found] == [one.text for one in alone]
    assert found[7].text == ""
    assert [one.score for one in found] == pytest.approx([one.score for one in alone], rel=1e-5)


def test_a_long_text_is_translated_in_parts_none_of_which_is_lost(run: TranslateRun) -> None:
    count = 10_000
    words = [[*WORDS][k % 6] for k in range(count)]
    (found,) = run.translate(" ".join(words))
    assert found.parts == count / run.facts["longest"][0]
    wanted = [WORDS[word] for word in words]
    assert len(found.text.split()) == pytest.approx(count, rel=0.05)
    assert np.mean([one == other for one, other in zip(found.text.split()[:5], wanted)]) > 0.5


def test_a_long_text_is_cut_where_sentences_end(run: TranslateRun) -> None:
    ours, theirs = run.encodings
    translator = Translator(run.model, ours, theirs, (4, 4))
    assert translator._cut("eins zwei. drei vier fünf; sechs eins zwei drei vier fünf") == [
        "eins zwei.",
        "drei vier fünf;",
        "sechs eins zwei drei",
        "vier fünf",
    ]


def test_a_long_text_without_blanks_is_cut_between_letters_and_nothing_is_put_in(tmp_path: Path) -> None:
    paths = [str(path) for path in write(tmp_path, "a", [("東京。京都", "ab"), ("大阪", "c")] * 10)]
    run = fit_translate(paths, out=tmp_path / "run", steps=1, **{**TINY, "level": ""})
    translator = Translator(run.model, *run.encodings, (5, 5))
    assert translator._cut("東京。京都。大阪東京京都大阪") == ["東京。", "京都。", "大阪東京京", "都大阪"]


def test_n_best_come_with_falling_scores(run: TranslateRun) -> None:
    (found,) = run.translate("eins zwei", Beam(4))
    scores = [found.score, *(score for _, score in found.others)]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)


def test_what_is_drawn_depends_on_the_seed(run: TranslateRun) -> None:
    hot = Sampling(temperature=3)
    texts = ["eins zwei drei"] * 5
    assert run.translate(texts, sampling=hot, seed=1) == run.translate(texts, sampling=hot, seed=1)
    assert run.translate(texts, sampling=hot, seed=1) != run.translate(texts, sampling=hot, seed=2)


def test_a_run_that_goes_on_is_as_one_that_never_stopped(paths: tuple[str, ...], tmp_path: Path) -> None:
    class Impatient(Quiet):
        def step(self, position: object, *_: object) -> None:
            if position.step == 7:  # type: ignore[attr-defined]
                raise KeyboardInterrupt

    options = {**TINY, "steps": 12}
    whole = fit(Translate(), Sources(paths), tmp_path / "whole", options)
    with pytest.raises((Interrupted, KeyboardInterrupt)):
        fit(Translate(), Sources(paths), tmp_path / "stopped", options, Impatient())
    again = resume(Translate(), tmp_path / "stopped")
    assert again is not None
    assert whole is not None
    assert again.measures == whole.measures


def test_the_options_of_dropout_reach_the_model(paths: tuple[str, ...], tmp_path: Path) -> None:
    drops = {"dropout": 0.1, "embedding_dropout": 0.2, "weight_drop": 0.3}
    model = fit_translate(paths, out=tmp_path / "run", steps=1, **{**TINY, **drops}).model
    assert (model.dropout, model.embedding_dropout) == (0.1, 0.2)
    assert {layer.weight_drop for layer in (*model.encoder, *model.decoder)} == {0.3}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Forty phrases with other texts beside them, and a row that lacks its target."""
    path = tmp_path_factory.mktemp("table") / "phrases.tsv"
    rows = [("source", "target", "de", "en"), *(("x", "y", *pair) for pair in phrases(40, 3)), ("x", "y", "eins", "")]
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def _read(table: str, **options: object) -> Pairs:
    return Translate().read(Sources((table,)), TranslateOptions(**options), untold)  # type: ignore[arg-type]


NAMED = {"source_column": "de", "target_column": "en", "skip_bad": True}


def test_the_columns_that_are_named_are_read(table: str) -> None:
    data = _read(table, **NAMED)
    found = [(part.source_text(k), part.target_text(k)) for part in data.parts.values() for k in range(len(part))]
    assert sorted(found) == sorted(phrases(40, 3))
    assert _read(table).parts["train"].source_text(0) == "x", "without names the usual ones"


def test_bad_pairs_are_left_out_only_where_that_is_asked_for(table: str) -> None:
    assert _read(table, **NAMED).notes[0].startswith("1 row left out")
    with pytest.raises(DataError, match="line 42: the target is empty; fit with --skip-bad"):
        _read(table, **{**NAMED, "skip_bad": False})


def test_the_share_that_is_asked_for_is_put_aside(table: str) -> None:
    parts = _read(table, valid_share=0.25, **NAMED).parts
    assert (len(parts["train"]), len(parts["valid"])) == (30, 10)


def test_a_vocabulary_has_no_more_tokens_than_are_asked_for(table: str) -> None:
    sizes = [_read(table, level="word", vocabulary=size, **NAMED).encodings[0].size for size in (5, 9, 0)]
    assert sizes == [5, 9, 14]


@pytest.mark.parametrize("shared", [True, False])
def test_sources_and_targets_share_one_vocabulary_and_one_embedding_or_none(shared: bool, table: str) -> None:
    data = _read(table, level="word", shared=shared, **NAMED)
    options = TranslateOptions(shared=shared, hidden=4)
    model = Translate().build(Translate().facts(data, options), options)
    assert isinstance(model, EncoderDecoder)
    assert (data.shared, model.own_embedding is None) == (shared, shared)
    assert len(model.target_embedding.weight) == (14 if shared else 8) + 1


def test_the_cell_and_the_attention_that_are_asked_for_make_the_model(table: str) -> None:
    options = TranslateOptions(cell="gru", attention="additive", hidden=4)
    model = Translate().build(Translate().facts(_read(table, **NAMED), options), options)
    assert isinstance(model, EncoderDecoder)
    assert {type(layer) for layer in (*model.encoder, *model.decoder)} == {GRU}
    assert type(model.attention).__name__ == "_Additive"


def test_while_it_trains_the_likeliest_token_is_measured_and_at_the_end_a_beam(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beams: list[Beam | None] = []

    def translate(self: Translator, texts: list[str], beam: Beam | None = None, *_: object) -> list[Translation]:
        beams.append(beam)
        return [Translation("one", 0.0)] * len(texts)

    monkeypatch.setattr(Translator, "translate", translate)
    data, options = _read(table, **NAMED), TranslateOptions(hidden=4)
    facts = Translate().facts(data, options)
    model = Translate().build(facts, options)
    Translate().evaluate(model, facts, data, "valid", options, untold)
    Translate().problem(data, options, Devices(torch.device("cpu"))).evaluate(model)
    assert beams == [Beam(), Beam(1)]
    assert Beam().width == 5


def test_by_default_what_is_measured_is_an_average_of_weights() -> None:
    assert averaged(torch.nn.Linear(1, 1), TranslateOptions()) is not None


@pytest.mark.usefixtures("reported")
@pytest.mark.parametrize(
    "options", [{"attention": "none"}, {"attention": "additive", "shared": False}, {"cell": "gru"}]
)
def test_every_kind_of_model_trains_and_reports(
    options: dict[str, object], paths: tuple[str, ...], tmp_path: Path
) -> None:
    run = fit_translate(paths, out=tmp_path / "run", steps=4, **{**TINY, **options})
    report = (tmp_path / "run" / "report.html").read_text()
    assert ("What it looks at" in report) == (options.get("attention") != "none")
    assert run.translate("eins")[0].score < 0


def test_the_report_is_no_wider_than_a_phone(run: TranslateRun, fits_a_phone: Callable[[str], None]) -> None:
    fits_a_phone((run.folder / "report.html").read_text())


def test_the_report_shows_samples_attention_lengths_and_the_hardest(run: TranslateRun) -> None:
    report = (run.folder / "report.html").read_text()
    for heading in ("Samples", "What it looks at", "By length", "The hardest"):
        assert f"<h2>{heading}</h2>" in report
    samples = report[report.index("<h2>Samples") : report.index("<h2>What it")]
    assert samples.count("<tr>") == 1 + 20
    assert "BLEU: nrefs:1" in report


def test_the_attention_of_words_adds_up(run: TranslateRun) -> None:
    weights, columns, rows = attention(run.model, *run.encodings, "eins zwei drei vier", "one two three four")
    assert (columns, rows) == (["eins", "zwei", "drei", "vier"], ["one", "two", "three", "four"])
    assert weights.sum(1) == pytest.approx([1] * 4)


def test_attention_over_byte_pairs_is_shown_word_by_word(paths: tuple[str, ...], tmp_path: Path) -> None:
    run = fit_translate(paths, out=tmp_path / "run", steps=2, **{**TINY, "level": "bpe"})
    weights, columns, rows = attention(run.model, *run.encodings, "zwei fünfzig", "two fifty")
    assert (columns, rows) == (["zwei", "fünfzig"], ["two", "fifty"])
    assert weights.sum(1) == pytest.approx([1, 1])


def test_other_pairs_are_measured_in_the_vocabularies_that_were_learned(run: TranslateRun, tmp_path: Path) -> None:
    other = [str(path) for path in write(tmp_path, "other", [*phrases(20, 5), ("acht", "eight")])]
    result = run.evaluate(other, baselines=False)
    assert result.split == "given"
    assert 0.8 < result.measures["exact"] < 1


def test_pairs_that_are_too_long_are_counted(paths: tuple[str, ...], tmp_path: Path) -> None:
    run = fit_translate(paths, out=tmp_path / "run", steps=2, longest=3, **TINY)
    assert run.facts["longest"] == [3, 3]
    notes = run.evaluate(baselines=False).notes
    assert any(
        re.search(r"of the part train have more than 3 tokens on a side and were not learned from", n) for n in notes
    )
    assert any("left out of the nats, and translated in parts" in note for note in notes)


@pytest.mark.parametrize("part", ["train", "valid"])
def test_a_part_in_which_all_pairs_are_too_long_is_refused_before_training(part: str, tmp_path: Path) -> None:
    long, short = (write(tmp_path, name, [(name, name)] * 20) for name in ("eins zwei", "eins"))
    given = {"train": short, "valid": short, part: long}
    with pytest.raises(DataError, match=f"in all pairs of the part {part} a side has more than 1 tokens"):
        fit_translate(given["train"], valid=given["valid"], out=tmp_path / "run", longest=1, steps=2, **TINY)


def test_a_translation_may_be_as_long_as_the_longest_target_that_was_learned(
    run: TranslateRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []

    def without_end(*given: object) -> list[list[Candidate]]:
        seen.append(given[4].tolist())  # type: ignore[attr-defined]
        return [[Candidate([0], -1.0, -1.0)]]

    monkeypatch.setattr("holdfast.tasks.translation.run.beam_decode", without_end)
    for most in (3, 30):
        Translator(run.model, *run.encodings, (5, most)).translate(["eins zwei"])
    assert seen == [[2 * 2 + 10], [30 + 1]]


def test_what_is_written_is_one_line_whatever_the_model_says(run: TranslateRun) -> None:
    ours, theirs = run.encodings
    assert "\n" in theirs.decode(range(theirs.size))
    every = Translator(run.model, ours, theirs, run.facts["longest"]).text(range(theirs.size))
    assert set(every.split()) > set(WORDS.values())
    assert "\n" not in every


def test_the_same_line_twice_is_drawn_anew_as_it_comes(run: TranslateRun) -> None:
    lines = ["eins zwei drei"] * 20
    found = {one.text for one in run.translations(iter(lines), sampling=Sampling(temperature=5), at_once=True)}
    assert len(found) > 1


def test_without_data_it_learns_dates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"train": (3000, 1), "valid": (100, 2), "test": (100, 3), "given": (100, 4)}
    monkeypatch.setattr("holdfast.data.pairs.build._DATES", few)
    run = fit_translate(out=tmp_path / "run", steps=2, **{**TINY, "level": ""})
    assert run.data().encodings[0].level == "char"
    assert run.translate("7. Mai 2024")[0].parts == 1


def test_a_model_that_cannot_be_is_refused(paths: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="hidden must be even"):
        fit_translate(paths, out=tmp_path / "run", steps=2, **{**TINY, "hidden": 33})
    assert not (tmp_path / "run").exists()
