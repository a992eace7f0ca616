import json
import math
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from holdfast.lab import CONTESTANTS, PROBLEMS, Recipe
from holdfast.lab.contest import Entry, Plan, Record, check, hold, standings, to_dict, tried
from holdfast.lab.folder import ContestError
from holdfast.lab.pictures import contest_page, needed_by_lag, success_by_lag

TINY = Recipe(sequences=48, units=4, batch_size=8, check_every=16)
PLAN = Plan("order", (10, 20), ("lstm", "rnn"), 2, TINY)


def without_time(record: Record) -> Record:
    return replace(record, seconds=0.0)


def test_every_entry_has_one_record_in_the_order_of_the_plan(tmp_path: Path) -> None:
    told = []
    records = hold(PLAN, tmp_path / "out", told=lambda record, done, of: told.append((record.entry, done, of)))
    assert [record.entry for record in records] == PLAN.entries()
    assert told == [(entry, k, 8) for k, entry in enumerate(PLAN.entries(), 1)]
    for record in records:
        assert (record.sequences, record.tested) == (48, 2560)
        assert [x for x, _ in record.curve] == [0, 16, 32, 48]
        assert not record.solved


@pytest.mark.full
def test_several_workers_find_the_same_as_one_and_end_when_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(PLAN, lags=(10,), seeds=3)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def stop(record: Record, done: int, of: int) -> None:
        if done == 4:
            monkeypatch.setattr("holdfast.lab.contest.wait", interrupted)

    with pytest.raises(KeyboardInterrupt):
        hold(plan, tmp_path / "two", workers=2, told=stop)
    assert not multiprocessing.active_children()
    held = len((tmp_path / "two" / "trials.jsonl").read_text().splitlines())
    assert 4 <= held < 6
    told: list[int] = []
    two = hold(plan, tmp_path / "two", told=lambda record, done, of: told.append(done))
    assert told == list(range(held + 1, 7))
    assert [without_time(r) for r in hold(plan, tmp_path / "one")] == [without_time(r) for r in two]


def test_a_stopped_contest_goes_on_with_what_it_has(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(record: Record, done: int, of: int) -> None:
        if done == 3:
            raise Stop

    out = tmp_path / "out"
    with pytest.raises(Stop):
        hold(PLAN, out, told=stop)
    with (out / "trials.jsonl").open("a") as file:
        file.write('{"contestant": "lst')  # as a killed process leaves it
    again = []
    records = hold(PLAN, out, told=lambda record, done, of: again.append(done))
    assert again == [4, 5, 6, 7, 8]
    whole = hold(PLAN, tmp_path / "whole")
    assert [without_time(r) for r in records] == [without_time(r) for r in whole]
    lines = (out / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [0] * 4 + [1] * 4


def test_a_folder_of_another_contest_or_of_anything_else_is_refused(tmp_path: Path) -> None:
    hold(replace(PLAN, lags=(10,), seeds=1), tmp_path / "out")
    with pytest.raises(ContestError, match="holds a contest with another recipe; choose"):
        hold(replace(PLAN, recipe=replace(TINY, units=5)), tmp_path / "out")
    with pytest.raises(ContestError, match="holds a contest with another task; choose"):
        hold(replace(PLAN, task="order-3"), tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(ContestError, match="is not a contest's folder"):
        hold(PLAN, tmp_path / "other")
    (tmp_path / "file").write_text("")
    with pytest.raises(ContestError, match="is not a contest's folder"):
        hold(PLAN, tmp_path / "file")


def test_more_seeds_add_to_what_is_there(tmp_path: Path) -> None:
    small = replace(PLAN, lags=(10,), contestants=("rnn",), seeds=1)
    (first,) = hold(small, tmp_path / "out")
    told = []
    records = hold(replace(small, seeds=2), tmp_path / "out", told=lambda record, done, of: told.append(record.seed))
    assert told == [1]
    assert records[0] == first


@pytest.mark.full
def test_the_time_is_shared_and_what_runs_out_of_it_says_so(tmp_path: Path) -> None:
    endless = replace(TINY, sequences=10**9)
    records = hold(replace(PLAN, lags=(20,), recipe=endless), tmp_path / "out", minutes=2 / 60)
    assert all(record.out_of_time for record in records)
    assert 0.5 < sum(record.seconds for record in records) < 12


def test_a_task_is_learned_when_fresh_sequences_are_answered() -> None:
    record = tried("distractors", Entry("lstm", 5, 1), Recipe(sequences=20_000, units=16))
    assert record.solved
    assert record.sequences < 20_000
    assert record.wrong <= 3
    assert record.error < 0.1
    assert record.curve[-1][1] < 0.2 < record.curve[0][1]


def test_what_cannot_learn_has_not_learned() -> None:
    record = tried("distractors", Entry("lstm", 5, 1), Recipe(sequences=2000, units=16, learning_rate=1e-9))
    assert not record.solved
    assert record.wrong == record.tested


def test_threads_and_the_global_generator_are_left_as_they_were() -> None:
    torch.set_num_threads(2)
    before = torch.get_rng_state()
    tried("order", Entry("lstm", 10, 0), TINY)
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("who", CONTESTANTS)
@pytest.mark.parametrize("norm", [pytest.param(False, marks=pytest.mark.full), True])
def test_every_contestant_learns_from_sequences(who: str, norm: bool) -> None:
    record = tried("adding", Entry(who, 4, 0), Recipe(sequences=600, units=8, check_every=200, norm=norm))
    assert record.curve[-1][1] < record.curve[0][1]


@pytest.mark.parametrize("start", ["keep", "chrono", "forget", "pytorch"])
def test_a_start_is_what_forget_gates_begin_with(start: str) -> None:
    recipe = Recipe(units=400, start=start, norm=False)  # type: ignore[arg-type]
    layer = CONTESTANTS["lstm"].make(3, 100, recipe)
    i, f, _, _ = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().view(4, 400)  # type: ignore[operator]
    if start == "keep":
        assert torch.allclose(f, torch.tensor(math.log(1000.0)))
        assert torch.sigmoid(f).pow(100).min() > 0.9
    elif start == "chrono":
        assert f.min() >= 0
        assert math.log(90) < f.max() <= math.log(99)
        assert torch.allclose(i, -f)
    else:
        assert f.mean().item() == pytest.approx({"forget": 1.0, "pytorch": 0.0}[start], abs=0.01)


def test_a_gru_starts_with_update_gates_for_all_times_up_to_the_lag() -> None:
    layer = CONTESTANTS["gru"].make(3, 100, Recipe(units=400))
    z = (layer.bias_ih_l0 + layer.bias_hh_l0).detach()[400:800]  # type: ignore[operator]
    assert z.min() >= 0
    assert math.log(90) < z.max() <= math.log(99)


def test_numbers_are_not_for_a_hidden_markov_model() -> None:
    with pytest.raises(ContestError, match="tasks of symbols only; adding is of numbers"):
        check(Plan("adding", (10,), ("hmm",), 1, TINY))
    with pytest.raises(ContestError, match="lag must be at least 10 for the task order; got 3"):
        check(Plan("order", (10, 3), ("rnn",), 1, TINY))


def made_up(solved: bool, sequences: int, seed: int) -> Record:
    return Record("lstm", 10, seed, solved, sequences, 2.0, 5 if solved else 90, 100, 0.1, [(0, 1.0)], not solved)


def test_standings_count_the_seeds_and_tell_the_median() -> None:
    records = [made_up(True, 300, 0), made_up(True, 100, 1), made_up(False, 900, 2), made_up(True, 500, 3)]
    (found,) = standings(records)
    assert (found.solved, found.seeds, found.sequences, found.most, found.seen) == (3, 4, 300, 500, 900)
    assert found.wrong == pytest.approx(0.05)
    assert found.seconds == 8
    assert found.out_of_time == 1
    (nobody,) = standings([made_up(False, 900, 0)])
    assert (nobody.sequences, nobody.most, nobody.wrong) == (None, None, None)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return hold(PLAN, tmp_path_factory.mktemp("contest") / "out")


def test_the_page_is_no_wider_than_a_phone(records: list[Record], fits_a_phone: Callable[[str], None]) -> None:
    fits_a_phone(contest_page(PLAN, records))


def test_the_page_shows_who_learned_it_where(records: list[Record]) -> None:
    page = contest_page(PLAN, records)
    assert page.count("<svg") == 4  # two by lag, and a curve for each lag
    assert "0 of 2" in page
    assert "2 of 2" not in page
    assert "&gt; 48" in page
    learned = [replace(r, solved=r.contestant == "lstm") for r in records]
    assert "2 of 2" in contest_page(PLAN, learned)
    assert success_by_lag(PLAN, records) != success_by_lag(PLAN, learned)
    assert "<polyline" not in needed_by_lag(PLAN, records)  # nobody has learned it
    assert needed_by_lag(PLAN, learned).count("<polyline") == 1
    assert to_dict(PLAN, learned)["standings"][0]["solved"] == 2


def test_every_task_names_its_source_and_criterion() -> None:
    for name, problem in PROBLEMS.items():
        assert problem.name == name
        for words in (problem.summary, problem.source, problem.criterion, problem.measure):
            assert words
