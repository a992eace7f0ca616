import gzip
import itertools
import json
import math
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from holdfast.data import DataError
from holdfast.lab import CONTESTANTS
from holdfast.lab.contestants import Reader
from holdfast.lab.digit_contest import DigitEntry, DigitPlan, DigitRecord, hold, standings, to_dict
from holdfast.lab.digit_pictures import cells, digit_page
from holdfast.lab.digits import DIGITS, DigitOptions, DigitProblem, Digits, read_digits, read_idx
from holdfast.lab.folder import ContestError
from holdfast.lab.problem import Batch
from holdfast.training import Quiet, Run, Watcher
from tests.lab.idx_files import COLUMNS, LEARNED, ROWS, TESTED, VALIDATED, idx, images, write_digits

TINY = DigitOptions(steps=12, evaluations=3, batch_size=10, units=6, warm_up=2)
PLAN = DigitPlan("digits-rows", ("lstm", "rnn"), 2, TINY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("digits")
    write_digits(place)
    return place


@pytest.fixture(scope="module")
def digits(folder: Path) -> Digits:
    return read_digits(folder)


def without_time(records: list[DigitRecord]) -> list[DigitRecord]:
    return [replace(record, seconds=0.0) for record in records]


# The files.


@pytest.mark.parametrize("compressed", [True, False])
def test_the_last_five_thousand_training_images_are_for_validation(tmp_path: Path, compressed: bool) -> None:
    content = write_digits(tmp_path, compressed)
    found = read_digits(tmp_path)
    pixels, labels = content["train-images-idx3-ubyte"], content["train-labels-idx1-ubyte"]
    assert np.array_equal(found.train.pixels.numpy(), pixels[:LEARNED])
    assert np.array_equal(found.train.labels.numpy(), labels[:LEARNED])
    assert np.array_equal(found.valid.pixels.numpy(), pixels[LEARNED:])
    assert np.array_equal(found.valid.labels.numpy(), labels[LEARNED:])
    assert len(found.valid.labels) == VALIDATED
    assert np.array_equal(found.test.pixels.numpy(), content["t10k-images-idx3-ubyte"])
    assert np.array_equal(found.test.labels.numpy(), content["t10k-labels-idx1-ubyte"])


def test_the_digest_is_of_the_images_and_not_of_how_they_are_packed(folder: Path, tmp_path: Path) -> None:
    content = write_digits(tmp_path, compressed=False)
    assert read_digits(tmp_path).digest == read_digits(folder).digest
    changed = content["t10k-labels-idx1-ubyte"].copy()
    changed[0] = (changed[0] + 1) % 10
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(changed))
    assert read_digits(tmp_path).digest != read_digits(folder).digest


def test_a_folder_that_is_missing_or_lacks_files_is_refused_with_all_their_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist"):
        read_digits(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file is not a folder"):
        read_digits(tmp_path / "file")
    write_digits(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"lacks train-labels-idx1-ubyte, t10k-images-idx3-ubyte \(as they are, or"):
        read_digits(tmp_path)


def put(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Changes the content of a compressed file."""

    def changed(folder: Path) -> None:
        path = folder / f"{name}.gz"
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))

    return changed


def cut_off(folder: Path) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:1000])


def not_compressed(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"digits")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut_off, r"train-images-idx3-ubyte\.gz is not gzip, or not whole"),
        (not_compressed, r"train-images-idx3-ubyte\.gz is not gzip, or not whole"),
        (put("t10k-images-idx3-ubyte", lambda c: c[:-1]), "must have 16 bytes and 70 x 6 x 5 more.*; it has 2,115"),
        (put("t10k-images-idx3-ubyte", lambda c: c + b"."), "must have 16 bytes and 70 x 6 x 5 more.*; it has 2,117"),
        (put("t10k-images-idx3-ubyte", lambda c: c[:9]), "not an idx file|it has 9"),
        (put("train-labels-idx1-ubyte", lambda c: b""), "must begin with 00000801, and begins with nothing"),
        (
            put("train-labels-idx1-ubyte", lambda c: struct.pack(">I", 0x00000D01) + c[4:]),
            "in 1 dimensions: it must begin with 00000801, and begins with 00000d01",
        ),
        (
            put("train-images-idx3-ubyte", lambda c: idx(images(5, 0)[1])),
            "in 3 dimensions: it must begin with 00000803, and begins with 00000801",
        ),
        (put("t10k-labels-idx1-ubyte", lambda c: idx(images(69, 0)[1])), "has 70 images, but .* has 69 labels"),
        (put("t10k-labels-idx1-ubyte", lambda c: c[:-1] + b"\x0a"), "must have labels from 0 to 9; got 10"),
        (put("t10k-images-idx3-ubyte", lambda c: idx(np.zeros((70, 5, 6), np.uint8))), "one size; got 6 x 5 and 5 x 6"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    write_digits(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=message):
        read_digits(tmp_path)


def test_too_few_images_to_learn_from_are_refused(tmp_path: Path) -> None:
    write_digits(tmp_path)
    pixels, labels = images(VALIDATED, 0)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    with pytest.raises(DataError, match="has 5,000 images, but more than 5,000 are needed"):
        read_digits(tmp_path)
    for name, part in (("images-idx3", pixels), ("labels-idx1", labels)):
        (tmp_path / f"t10k-{name}-ubyte.gz").write_bytes(gzip.compress(idx(part[:0])))
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz has no images"):
        read_digits(tmp_path)


def test_a_file_is_read_in_its_shape(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "plain").write_bytes(idx(array))
    assert np.array_equal(read_idx(tmp_path / "plain", 3).numpy(), array)


# The orders.


def test_rows_and_pixels_come_as_they_are_read() -> None:
    pixels, _ = images(4, 0)
    given = torch.from_numpy(pixels)
    assert np.array_equal(DIGITS["digits-rows"].sequences(given).numpy(), pixels)
    assert np.array_equal(DIGITS["digits-pixels"].sequences(given).numpy(), pixels.reshape(4, ROWS * COLUMNS, 1))


def test_permuted_pixels_come_in_one_order_that_is_always_the_same() -> None:
    numbered = torch.arange(784).view(1, 28, 28)
    order = DIGITS["digits-permuted"].sequences(numbered)[0, :, 0].tolist()
    assert sorted(order) == list(range(784))
    neighbours = sum(abs(a - b) == 1 for a, b in itertools.pairwise(order))
    assert neighbours < 20  # about 2 are to be expected
    assert order[:4] == [60, 361, 167, 578]  # what keeps figures of different versions comparable
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8))
    found = DIGITS["digits-permuted"].sequences(pixels)
    assert torch.equal(found[..., 0], pixels.flatten(1)[:, order])


# The problem.


@pytest.mark.parametrize(
    ("task", "shape"), [("digits-rows", (ROWS, COLUMNS)), ("digits-pixels", (30, 1)), ("digits-permuted", (30, 1))]
)
def test_sequences_have_the_mean_0_and_the_deviation_1_over_the_training_images(
    digits: Digits, task: str, shape: tuple[int, int]
) -> None:
    problem = DigitProblem(DIGITS[task], digits, 0, 10)
    batch = problem.batch(digits.train)
    assert batch.x.shape == (shape[0], LEARNED, shape[1])
    assert (problem.steps, problem.features) == shape
    assert batch.x.mean().item() == pytest.approx(0, abs=1e-5)
    assert batch.x.std().item() == pytest.approx(1, abs=1e-3)
    assert batch.lengths.tolist() == [shape[0]] * LEARNED
    assert torch.equal(batch.target, digits.train.labels)
    other = replace(digits, valid=digits.train, test=digits.train)
    assert torch.equal(DigitProblem(DIGITS[task], other, 0, 10).batch(digits.test).x, problem.batch(digits.test).x)


def test_an_epoch_has_every_training_image_once_but_those_that_fill_no_batch(digits: Digits) -> None:
    problem = DigitProblem(DIGITS["digits-rows"], digits, 3, 20)
    batches = problem.epoch(0)
    assert [len(batch) for batch in batches] == [20] * 6
    seen = torch.cat(list(batches)).tolist()
    assert len(set(seen)) == 120
    assert set(seen) <= set(range(LEARNED))
    assert torch.equal(torch.cat(list(problem.epoch(0))), torch.tensor(seen))
    for other in (problem.epoch(1), DigitProblem(DIGITS["digits-rows"], digits, 4, 20).epoch(0)):
        assert torch.cat(list(other)).tolist() != seen
    (whole,) = DigitProblem(DIGITS["digits-rows"], digits, 0, 1000).epoch(0)
    assert sorted(whole.tolist()) == list(range(LEARNED))


class Constant(nn.Module):
    """Says the same digit of every image."""

    def __init__(self, score: float) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.tensor(score))

    def forward(self, batch: Batch) -> Tensor:
        digit = torch.zeros(10)
        digit[3] = 1.0
        return (digit * self.score).expand(len(batch.target), 10)


def test_measures_are_those_of_the_asked_part(digits: Digits) -> None:
    problem = DigitProblem(DIGITS["digits-rows"], digits, 0, 20)
    score = 2.0
    for found, part in (
        (problem.evaluate(Constant(score)), digits.valid),
        (problem.measures(Constant(score), digits.test), digits.test),
    ):
        threes = (part.labels.numpy() == 3).mean()
        assert found["error"] == pytest.approx(1 - threes)
        assert found["nats"] == pytest.approx(math.log(math.exp(score) + 9) - score * threes, rel=1e-5)


def test_the_loss_is_of_the_images_whose_numbers_are_given(digits: Digits) -> None:
    problem = DigitProblem(DIGITS["digits-rows"], digits, 0, 20)
    numbers = torch.tensor([5, 8, 100])
    value, shown, carry = problem.loss(Constant(2.0), numbers, ())
    threes = (digits.train.labels[numbers].numpy() == 3).mean()
    assert value.item() == pytest.approx(math.log(math.exp(2) + 9) - 2 * threes)
    assert shown.item() == value.item()
    assert carry == ()
    value.backward()


# The contest.


@pytest.mark.sweep(every=5)
@pytest.mark.parametrize("who", CONTESTANTS)
def test_every_contestant_takes_part(who: str, digits: Digits, tmp_path: Path) -> None:
    options = replace(TINY, steps=30, evaluations=1, units=12, batch_size=26, learning_rate=0.02)
    (record,) = hold(DigitPlan("digits-rows", (who,), 1, options), digits, tmp_path / "out")
    assert record.test is not None
    assert record.test > 0.2  # a tenth is guessed
    assert record.images == 30 * 26


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize("task", DIGITS)
def test_a_contestant_learns_and_the_best_model_reads_the_test_set(task: str, digits: Digits, tmp_path: Path) -> None:
    options = replace(DIGITS[task].options, steps=250, evaluations=5, batch_size=26, units=16, learning_rate=0.01)
    (record,) = hold(DigitPlan(task, ("lstm",), 1, options), digits, tmp_path / "out")
    assert record.valid == max(share for _, share in record.curve)
    assert [seen for seen, _ in record.curve] == [26 * k for k in (50, 100, 150, 200, 250)]
    assert record.test is not None
    assert record.test > 0.6  # a tenth is guessed
    weights, facts = Run.open(tmp_path / "out" / "lstm-0").model()
    assert facts["valid"]["error"] == pytest.approx(1 - record.valid)
    problem = DigitProblem(DIGITS[task], digits, 0, 1)
    model = Reader(problem, lambda inputs: CONTESTANTS["lstm"].make(inputs, problem.steps, options))
    model.load_state_dict(weights)
    right = [
        int(model(problem.batch(one)).argmax()) == int(one.labels)
        for one in (type(digits.test)(digits.test.pixels[k : k + 1], digits.test.labels[k : k + 1]) for k in range(70))
    ]
    assert record.test == pytest.approx(sum(right) / TESTED)


def test_what_has_ended_is_neither_trained_nor_tested_again(digits: Digits, tmp_path: Path) -> None:
    told = []
    first = hold(PLAN, digits, tmp_path / "out", told=lambda record, done, of: told.append((record.entry, done, of)))
    assert [record.entry for record in first] == PLAN.entries()
    assert told == [(entry, k, 4) for k, entry in enumerate(PLAN.entries(), 1)]
    marked = json.loads((tmp_path / "out" / "rnn-1" / "result.json").read_text()) | {"test": 0.123}
    (tmp_path / "out" / "rnn-1" / "result.json").write_text(json.dumps(marked))
    again = []
    second = hold(
        replace(PLAN, seeds=3), digits, tmp_path / "out", told=lambda record, done, of: again.append(record.entry)
    )
    assert again == [DigitEntry("lstm", 2), DigitEntry("rnn", 2)]
    assert second[:3] == first[:3]
    assert second[3] == replace(first[3], test=0.123)


class Stop(Exception):
    pass


class Stopping(Quiet):
    """Ends the process, as it were, at a step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def step(self, position, loss, units, seconds) -> None:  # type: ignore[no-untyped-def]
        if position.step == self.at:
            raise Stop


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(digits: Digits, tmp_path: Path) -> None:
    plan = replace(PLAN, options=replace(TINY, checkpoint_every=5))
    whole = hold(plan, digits, tmp_path / "whole")

    def stopped(at: int) -> Callable[[DigitEntry], AbstractContextManager[Watcher]]:
        return lambda entry: nullcontext(Stopping(at) if entry == DigitEntry("rnn", 0) else Quiet())

    for at in (3, 8):  # before the first checkpoint, and after one
        with pytest.raises(Stop):
            hold(plan, digits, tmp_path / "out", stopped(at))
    assert len(Run.open(tmp_path / "out" / "rnn-0").checkpoints()) == 1
    again = hold(plan, digits, tmp_path / "out")
    assert without_time(again) == without_time(whole)
    one, two = (Run.open(tmp_path / place / "rnn-0").model()[0] for place in ("whole", "out"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.full
def test_minutes_become_steps(digits: Digits, tmp_path: Path) -> None:
    plan = replace(PLAN, contestants=("rnn",), seeds=1, options=replace(TINY, steps=0, minutes=0.03))
    (record,) = hold(plan, digits, tmp_path / "out")
    steps = Run.open(tmp_path / "out" / "rnn-0").config()["options"]["steps"]
    assert record.images == 10 * steps
    assert steps > 20
    assert record.curve[-1][0] == record.images


def test_a_training_that_breaks_down_does_not_end_the_contest(digits: Digits, tmp_path: Path) -> None:
    wild = replace(TINY, steps=100, evaluations=1, learning_rate=1e38, clip=0.0, norm=False)
    plan = replace(PLAN, seeds=1, options=wild)
    records = hold(plan, digits, tmp_path / "out")
    assert [record.contestant for record in records if record.given_up] == ["lstm", "rnn"]
    assert [(record.valid, record.test, record.curve) for record in records] == [(None, None, [])] * 2
    (first, _) = standings(records)
    assert cells(first)[:3] == ["1 (1 given up)", "–", "–"]
    assert "given up" in digit_page(plan, records)


def test_a_folder_of_another_contest_is_refused(digits: Digits, tmp_path: Path) -> None:
    small = replace(PLAN, contestants=("rnn",), seeds=1, options=replace(TINY, steps=2))
    hold(small, digits, tmp_path / "out")
    for plan, data, other in (
        (replace(small, task="digits-pixels"), digits, "task"),
        (replace(small, options=replace(TINY, steps=3)), digits, "recipe"),
        (small, replace(digits, digest="of others"), "digest of the data"),
    ):
        with pytest.raises(ContestError, match=f"holds a contest with another {other}; choose another --out"):
            hold(plan, data, tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(ContestError, match="is not a contest's folder"):
        hold(small, digits, tmp_path / "other")


def test_the_global_generator_is_left_as_it_was(digits: Digits, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    hold(replace(PLAN, contestants=("rnn",), seeds=1), digits, tmp_path / "out")
    assert torch.equal(torch.get_rng_state(), before)


def made_up(seed: int, test: float | None) -> DigitRecord:
    valid = None if test is None else test + 0.01
    return DigitRecord("gru", seed, valid, test, 500, 2.0 + seed, 99, [(250, 0.2), (500, 0.5)], test is None)


def test_standings_are_the_mean_and_the_spread_of_the_seeds() -> None:
    (found,) = standings([made_up(0, 0.91), made_up(1, 0.93), made_up(2, 0.98)])
    assert found.test == pytest.approx(0.94)
    assert found.deviation == pytest.approx(np.std([0.91, 0.93, 0.98], ddof=1))
    assert found.valid == pytest.approx(0.95)
    assert cells(found) == ["3", "94.00% ± 3.61%", "95.00%", "500", "3"]
    (alone,) = standings([made_up(0, 0.91)])
    assert alone.deviation is None
    assert cells(alone)[1] == "91.00%"
    (broken,) = standings([made_up(0, 0.91), made_up(1, None)])
    assert (broken.test, broken.valid, broken.given_up) == (None, None, 1)


def test_the_page_is_no_wider_than_a_phone(digits: Digits, tmp_path: Path, fits_a_phone: Callable[[str], None]) -> None:
    fits_a_phone(digit_page(PLAN, hold(PLAN, digits, tmp_path / "out")))


def test_the_page_has_a_line_for_each_contestant(digits: Digits, tmp_path: Path) -> None:
    records = hold(PLAN, digits, tmp_path / "out")
    page = digit_page(PLAN, records)
    assert page.count("<svg") == 1
    for words in (
        "lstm",
        "rnn",
        "the plain tanh RNN; 160 parameters",  # 6 (5 + 6) + 2 x 6, gains 2 x 6, read-out 10 (6 + 1)
        "read row by row",
        "the mean of 2 seeds",
        cells(standings(records)[0])[1],
    ):
        assert words in page
    found = to_dict(PLAN, records)
    assert [s["contestant"] for s in found["standings"]] == ["lstm", "rnn"]
    assert len(found["trainings"]) == 4
    assert found["recipe"]["units"] == 6
