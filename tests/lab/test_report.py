import copy
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch

from holdfast.lab.demo import Contest, Settings, run, verdict
from holdfast.lab.lesson import Lesson
from holdfast.lab.report import report
from holdfast.lab.writer import Writing, learn_to_write

VOID = {"meta"}


@pytest.fixture(scope="module")
def contest() -> Contest:
    return run(Settings(lag=8, hidden_size=5, seed=3, lesson=Lesson(steps=3, batch_size=4)))


@pytest.fixture(scope="module")
def writing() -> Writing:
    return learn_to_write(seed=0, steps=1)


class Balanced(HTMLParser):
    """Checks that every element is closed in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)


def test_the_page_is_no_wider_than_a_phone(
    contest: Contest, writing: Writing, fits_a_phone: Callable[[str], None]
) -> None:
    fits_a_phone(report(contest, writing))


def test_the_page_is_well_formed_and_needs_neither_network_nor_script(contest: Contest, writing: Writing) -> None:
    page = report(contest, writing)
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.seen.count("svg") == 7
    assert not {"script", "link", "iframe", "img"} & set(parser.seen)
    rest = page.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "//" not in re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", rest)


def test_the_page_says_what_was_measured(contest: Contest, writing: Writing) -> None:
    page = report(contest, writing)
    assert "the LSTM" in verdict(contest)
    assert verdict(contest).replace("'", "&#x27;") in page
    for result in contest.results:
        assert f"{result.error:.5f}" in page
        assert f"{result.parameters:,}" in page
        assert f"{result.seconds:.1f}" in page
    assert torch.__version__ in page
    assert "<td>3</td>" in page


def test_the_marked_steps_of_the_example_are_named(contest: Contest, writing: Writing) -> None:
    steps = [k + 1 for k, marker in enumerate(contest.example[:, 0, 1].tolist()) if marker]
    assert f"at steps {steps[0]} and {steps[1]}." in report(contest, writing)


def test_gradients_that_have_vanished_or_are_not_numbers_do_not_spoil_the_page(
    contest: Contest, writing: Writing
) -> None:
    gone = torch.tensor([0.0, 1e-45, 1e-31, 1e-20, 1e-10, float("nan"), 1e-2, 1.0], dtype=torch.float64)
    page = report(replace(contest, rnn=replace(contest.rnn, reach_after=gone)), writing)
    assert "RNN, after" in page
    assert "10⁻³⁵" not in page


@pytest.mark.parametrize("weight", [float("nan"), 0.0])
def test_a_model_that_broke_down_or_does_nothing_can_be_shown(
    contest: Contest, weight: float, writing: Writing
) -> None:
    broken = copy.deepcopy(contest.lstm.model)
    for parameter in broken.parameters():
        parameter.data.fill_(weight)
    page = report(replace(contest, lstm=replace(contest.lstm, model=broken)), writing)
    assert page.count("<svg") == 7
