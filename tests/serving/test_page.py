"""The page in a real browser."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import holdfast
from holdfast.microscope import colour_map
from holdfast.microscope.steps import LayerSteps, record_steps
from holdfast.microscope.subject import subject_of
from holdfast.serving import View, html_file
from holdfast.tasks.text import TextRun

from .conftest import TEXT

WAIT = 20_000  # milliseconds: the machine may be busy


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that fails the test if anything goes wrong in it."""
    with opened(browser) as page:
        yield page


@contextmanager
def opened(browser: Any, **context: Any) -> Iterator[Any]:
    page = browser.new_page(**{"viewport": {"width": 1200, "height": 1000}, **context})
    page.set_default_timeout(WAIT)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: message.type in ("error", "warning") and wrong.append(message.text))
    yield page
    page.close()
    assert not wrong


def show(page: Any, address: str) -> None:
    page.goto(address)
    wait_for(page, "document.querySelector('#said').textContent.includes('unit')")
    page.locator("#marks").scroll_into_view_if_needed()


def layer_of(run: TextRun, text: str = TEXT, number: int = 0) -> LayerSteps:
    """What the page must show of a layer."""
    tokens = torch.from_numpy(run.encoding.encode(text)).unsqueeze(1)
    return list(record_steps(run.model, tokens).layers.values())[number]


def place_of(page: Any, step: float, row: float, steps: int, rows: int) -> tuple[float, float]:
    """Where a step and a row of the heat map are in the window."""
    box = page.locator("#marks").bounding_box()
    return box["x"] + box["width"] * (step + 0.5) / steps, box["y"] + box["height"] * (row + 0.5) / rows


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def unit_said(page: Any) -> int:
    found = re.search(r"unit (\d+)", page.locator("#said").text_content())
    assert found is not None
    return int(found[1])


def wait_for(page: Any, expression: str) -> None:
    """Playwright's own waiting evaluates strings inside the page, which the page's policy forbids."""
    until = time.monotonic() + WAIT / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < until, expression
        page.wait_for_timeout(20)


def background(page: Any, step: int) -> list[int]:
    style = page.locator(f"#words span >> nth={step}").evaluate("e => getComputedStyle(e).backgroundColor")
    return [int(part) for part in re.findall(r"\d+", style)]


def test_it_shows_the_text_the_units_and_the_choices(page: Any, address: str, run: TextRun) -> None:
    show(page, address)
    assert page.title().startswith("run: A language model")
    assert page.locator("#words").text_content().replace("⏎", "") == TEXT
    assert page.locator("#layer option").all_text_contents() == [
        "layers.0.l0 (LSTM, 24 units)",
        "layers.1.l0 (LSTM, 24 units)",
    ]
    assert page.locator("#series option").all_text_contents()[:6] == ["h", "c", "i", "f", "g", "o"]
    assert page.locator("#order option").all_text_contents() == [
        "number",
        "time constant",
        "saturation",
        "similarity",
    ]
    colours = page.locator("#heat").evaluate(
        "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    )
    assert colours > 50
    assert "expects next" in page.locator("#step-note").text_content()


def test_each_piece_has_the_colour_of_the_unit_s_value(page: Any, address: str, run: TextRun) -> None:
    show(page, address)
    page.fill("#unit", "5")
    page.press("#unit", "Enter")
    wait_for(page, "document.querySelector('#course-heading').textContent.startsWith('Unit 5')")
    layer = layer_of(run)
    h = layer.values[layer.named()["h"]][:, 0].numpy()  # (T, H)
    largest = np.abs(h).max()
    wanted = colour_map((h[:, 5] + largest) / (2 * largest), "diverging")[:, :3]
    wait_for(page, "document.querySelector('#words span').style.backgroundColor.startsWith('rgb')")
    page.wait_for_timeout(200)
    for step in (0, 7, len(TEXT) - 1):
        assert np.abs(np.array(background(page, step)) - wanted[step]).max() <= 4


def test_the_numbers_of_the_step_under_the_pointer_stand_in_diagram_and_equations(
    page: Any, address: str, run: TextRun
) -> None:
    show(page, address)
    layer, steps = layer_of(run), len(TEXT)
    page.select_option("#order", "number")
    page.mouse.click(*place_of(page, 40, 11, steps, 24))
    wait_for(page, "document.querySelector('#step-note').textContent.includes('unit 11 ')")
    page.mouse.move(*place_of(page, 23, 3, steps, 24))
    wait_for(page, "document.querySelector('#step-note').textContent.startsWith('Step 24 of')")
    wait_for(page, "[...document.querySelectorAll('#diagram text[data-node]')].every(e => e.textContent)")
    found = page.locator("#diagram text[data-node]").evaluate_all(
        "all => all.map(e => [Number(e.dataset.node), e.textContent])"
    )
    assert {node for node, _ in found} == set(layer.values)
    for node, text in found:
        assert number(text) == pytest.approx(layer.values[node][23, 0, 11].item(), rel=0.006)
    lines = page.locator(".equation .numbers").all_text_contents()
    named = layer.named()
    c, f = (layer.values[named[name]][23, 0, 11].item() for name in "cf")
    before = layer.values[named["c"]][22, 0, 11].item()
    memory = next(line for line in lines if line.count("⊙") == 2)
    assert [number(n) for n in re.findall(r"[−\d.e]+", memory)][:3] == pytest.approx([c, f, before], rel=0.006)
    page.mouse.move(2, 2)  # the pointer leaves: the step that was chosen is shown again
    wait_for(page, "document.querySelector('#step-note').textContent.startsWith('Step 41 of')")


def brushed(page: Any, start: int, stop: int, threshold: float = 0.02) -> None:
    """Select some steps, with a threshold that units of a tiny model reach."""
    page.locator("#marks").scroll_into_view_if_needed()
    page.mouse.move(*place_of(page, start, 3, len(TEXT), 24))
    page.mouse.down()
    page.mouse.move(*place_of(page, stop - 1, 3, len(TEXT), 24), steps=5)
    page.mouse.up()
    page.locator("#threshold").evaluate(
        "(e, value) => { e.value = value; e.dispatchEvent(new Event('input')); }", threshold
    )
    wait_for(page, f"document.querySelector('#threshold-value').textContent === '{threshold:.4f}'")


def units_on(run: TextRun, threshold: float) -> np.ndarray[Any, Any]:
    """Where the output of each unit is above the threshold, (T, H)."""
    layer = layer_of(run)
    found: np.ndarray[Any, Any] = layer.values[layer.named()["h"]][:, 0].numpy() > threshold
    return found


@pytest.mark.parametrize("bounded", [True, False])
def test_a_brush_lists_the_places_where_the_same_units_are_on(
    page: Any, address: str, run: TextRun, bounded: bool
) -> None:
    show(page, address)
    steps, wide = len(TEXT), 2
    page.locator("#bounded").set_checked(bounded)

    thresholds = [0.01 * k for k in range(1, 10)]  # one of them divides the steps of a model that has learned little
    on_at = {threshold: units_on(run, threshold) for threshold in thresholds}

    def bounded_units(threshold: float, k: int) -> int:
        """How many units are on from a step on, but neither before nor after, if half of them are elsewhere too."""
        on = on_at[threshold]
        units = np.flatnonzero(on[k : k + wide].all(0) & ~on[k - 1] & ~on[k + wide])
        others = [j for j in range(steps - wide + 1) if j + wide <= k or j >= k + wide]
        return len(units) if len(units) and max(on[j : j + wide, units].mean() for j in others) >= 0.5 else 0

    threshold, start = max(
        itertools.product(thresholds, range(1, steps - wide)), key=lambda choice: bounded_units(*choice)
    )
    stop = start + wide
    assert bounded_units(threshold, start) > 0
    brushed(page, start, stop, threshold)
    wait_for(page, "document.querySelectorAll('#places button').length > 0")
    on = units_on(run, float(page.locator("#threshold").input_value()))
    throughout, off_outside = on[start:stop].all(0), ~on[start - 1] & ~on[stop]
    assert (throughout & ~off_outside).any(), "there are units that are on outside too"
    units = np.flatnonzero(throughout & off_outside if bounded else throughout)
    assert page.locator("#places-note").text_content().startswith(f"{len(units)} unit")
    begins = [k for k in range(steps - wide + 1) if k + wide <= start or k >= stop]
    scores = {k: on[k : k + wide, units].mean() for k in begins}
    assert sum(score >= 0.5 for score in scores.values()) > 0
    first = page.locator("#places button").first.text_content()
    assert first.startswith(f"{round(100 * max(scores.values()))} %")
    listed = [int(re.search(r"step (\d+)", t)[1]) - 1 for t in page.locator("#places button").all_text_contents()]  # type: ignore[index]
    assert scores[listed[0]] == max(scores.values())
    assert all(abs(a - b) >= wide for k, a in enumerate(listed) for b in listed[:k])
    assert all(scores[at] >= 0.5 for at in listed)
    page.locator("#places button").first.click()
    wait_for(page, f"document.querySelector('#step-note').textContent.startsWith('Step {listed[0] + 1} of')")


def test_units_that_are_always_on_match_no_selection(browser: Any, tmp_path: Path) -> None:
    model = holdfast.LSTM(2, 4)
    with torch.no_grad():
        model.bias_ih_l0[:] = 9.0  # all gates are open, so that every unit is on from the first step on
    path = tmp_path / "on.html"
    path.write_text(html_file(View(subject_of(model, torch.rand(len(TEXT), 1, 2)))), encoding="utf-8")
    with opened(browser) as page:
        show(page, path.as_uri())
        brushed(page, 20, 24)
        wait_for(page, "document.querySelector('#places-note').textContent.includes('4 are, but also before or after')")
        assert page.locator("#places button").count() == 0
        page.locator("#bounded").uncheck()
        wait_for(page, "document.querySelectorAll('#places button').length > 0")


def test_the_number_under_the_pointer_is_the_equation_s(page: Any, address: str, run: TextRun) -> None:
    show(page, address)
    page.select_option("#order", "number")
    page.mouse.click(*place_of(page, 40, 11, len(TEXT), 24))
    node = layer_of(run).named()["h"]
    for step in range(3, len(TEXT), 12):
        page.mouse.move(*place_of(page, step, 11, len(TEXT), 24))
        wait_for(page, f"document.querySelector('#said').textContent.startsWith('step {step + 1} ')")
        wait_for(page, "document.querySelector('#said').textContent.includes(' = ')")
        shown = page.locator(f"#diagram text[data-node='{node}']").text_content()
        assert page.locator("#said").text_content().endswith(f"unit 11: h = {shown}")


def test_a_number_that_the_colours_tell_has_no_more_digits_than_they_do(page: Any, address: str, run: TextRun) -> None:
    show(page, address)
    page.select_option("#order", "number")
    page.mouse.click(*place_of(page, 40, 11, len(TEXT), 24))
    layer = layer_of(run)
    h = layer.values[layer.named()["h"]][:, 0]
    grain = 2 * h.abs().max().item() / 254
    page.mouse.move(*place_of(page, 20, 5, len(TEXT), 24))
    wait_for(page, "document.querySelector('#said').textContent.includes('unit 5: h ≈ ')")
    shown = page.locator("#said").text_content().rpartition("≈ ")[2]
    digits = len(shown.partition(".")[2])
    assert 10.0**-digits >= grain
    assert number(shown) == pytest.approx(h[20, 5].item(), abs=0.5 * 10**-digits + grain)


def test_numbers_stay_in_their_boxes(page: Any, address: str) -> None:
    show(page, address)
    outside = page.evaluate(
        """() => ["−0.00158", "−1.2e-12", "−9999"].flatMap((widest) =>
            [...document.querySelectorAll("#diagram .box")].filter((box) => {
                const value = box.querySelector(".value");
                value.textContent = widest;
                const [inner, outer] = [value.getBBox(), box.querySelector("rect").getBBox()];
                return inner.x < outer.x + 2 || inner.x + inner.width > outer.x + outer.width - 2;
            }))
            .length"""
    )
    assert outside == 0


def test_the_text_and_the_equations_are_on_a_laptop_s_screen_together(browser: Any, address: str) -> None:
    """Wherever the page is scrolled to, as far as the text and the units reach."""
    with opened(browser, viewport={"width": 1280, "height": 800}) as page:
        show(page, address)
        for scrolled in ("#words", "#marks", "#diagram"):
            page.locator(scrolled).scroll_into_view_if_needed()
            box = page.locator("#equations").bounding_box()
            assert box["y"] >= 0
            assert box["y"] + box["height"] <= 800
        page.evaluate("window.scrollTo(0, 0)")
        words, heat = page.locator("#words").bounding_box(), page.locator("#marks").bounding_box()
        assert words["y"] + words["height"] < heat["y"] < heat["y"] + heat["height"] / 2 < 800
        assert words["x"] + words["width"] <= page.locator("#equations").bounding_box()["x"]


def test_units_can_be_sorted(page: Any, address: str, run: TextRun) -> None:
    show(page, address)
    about = View(run.subject(TEXT)).about()["layers"][0]
    for name in about["orders"]:
        page.select_option("#order", name)
        wait_for(page, f"document.querySelector('#heat-note').textContent.includes('by {name};')")
        for row in (0, 23):
            page.mouse.move(*place_of(page, 30, row, len(TEXT), 24))
            page.wait_for_timeout(150)
            assert unit_said(page) == about["orders"][name][row]
    layer = layer_of(run)
    gates = {name: layer.values[layer.named()[name]][:, 0].double().numpy() for name in "ifo"}  # (T, H)
    constants = -1 / np.log(gates["f"]).mean(0)
    shut = sum(((gate < 0.1) | (gate > 0.9)).mean(0) for gate in gates.values())
    assert np.all(np.diff(constants[about["orders"]["time constant"]]) <= 1e-6)
    assert np.all(np.diff(shut[about["orders"]["saturation"]]) <= 1e-9)


def test_what_a_unit_is_like_is_said(page: Any, address: str, run: TextRun) -> None:
    show(page, address)
    layer = layer_of(run)
    gates = {name: layer.values[layer.named()[name]][:, 0].double().numpy() for name in "ifo"}
    page.fill("#unit", "7")
    page.press("#unit", "Enter")
    wait_for(page, "document.querySelector('#facts').textContent.startsWith('Unit 7 ')")
    facts = page.locator("#facts").text_content()
    kept = re.search(r"for ([\d.]+) steps \(−1 / ln f\)", facts)
    assert kept is not None
    assert number(kept[1]) == pytest.approx(-1 / np.log(gates["f"][:, 7]).mean(), rel=0.01)
    for name, gate in gates.items():
        low, high = (round(100 * float(share)) for share in ((gate[:, 7] < 0.1).mean(), (gate[:, 7] > 0.9).mean()))
        assert f"{name} under 0.1 in {low} % and over 0.9 in {high} % of the steps" in facts
    h = layer.values[layer.named()["h"]]
    assert number(page.locator("#high").text_content()) == pytest.approx(h.abs().max().item(), rel=0.01)
    assert number(page.locator("#low").text_content()) == pytest.approx(-h.abs().max().item(), rel=0.01)


def test_a_dead_unit_is_called_dead(browser: Any, tmp_path: Path) -> None:
    model = holdfast.LSTM(2, 4)
    with torch.no_grad():
        model.bias_ih_l0[12 + 2] = -100.0  # the output gate of unit 2
    path = tmp_path / "dead.html"
    path.write_text(html_file(View(subject_of(model, torch.randn(30, 1, 2)))), encoding="utf-8")
    with opened(browser) as page:
        show(page, path.as_uri())
        assert "dead" not in page.locator("#facts").text_content()
        page.fill("#unit", "2")
        page.press("#unit", "Enter")
        wait_for(page, "document.querySelector('#facts').textContent.includes('it is dead')")


def test_answers_that_come_late_are_not_shown(page: Any, address: str) -> None:
    """The first text is answered after the second: only the second is shown, and its own numbers under it."""
    show(page, address)
    held: list[Any] = []

    def delay(route: Any) -> None:
        if '"the cat"' in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/text", delay)
    page.fill("#typed", "the cat")
    while not held:
        page.wait_for_timeout(20)
    page.fill("#typed", "sat on the mat")
    wait_for(page, "document.querySelectorAll('#words span').length === 14")
    held[0].continue_()
    page.wait_for_timeout(800)
    assert page.locator("#words span").count() == 14
    assert page.locator("#live-note").text_content() == "14 steps."
    page.fill("#unit", "9")
    page.press("#unit", "Enter")
    wait_for(page, "document.querySelector('#course-heading').textContent.startsWith('Unit 9')")
    wait_for(page, "document.querySelector('#diagram text[data-node]').textContent !== ''")
    assert page.locator("#trouble").text_content() == ""


def test_numbers_that_cannot_be_loaded_are_not_those_of_another_unit(browser: Any, address: str) -> None:
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    show(page, address)
    page.route("**/unit?*", lambda route: route.abort())
    page.fill("#unit", "9")
    page.press("#unit", "Enter")
    wait_for(page, "document.querySelector('#trouble').textContent !== ''")
    assert "has ended" in page.locator("#trouble").text_content()
    assert set(page.locator("#diagram text[data-node]").all_text_contents()) == {""}
    assert background(page, 3) == [0, 0, 0, 0]
    page.close()


def test_a_model_that_has_diverged_can_be_looked_at(browser: Any, tmp_path: Path) -> None:
    x = torch.randn(30, 1, 2)
    x[20:] = float("nan")
    path = tmp_path / "nan.html"
    path.write_text(html_file(View(subject_of(holdfast.LSTM(2, 5), x))), encoding="utf-8")
    with opened(browser) as page:
        show(page, path.as_uri())
        wait_for(page, "document.querySelector('#diagram text.value').textContent !== ''")
        assert set(page.locator("#diagram text.value").all_text_contents()) == {"–"}
        page.locator("#marks").focus()
        page.keyboard.press("Home")
        wait_for(page, "document.querySelector('#diagram text.value').textContent !== '–'")


def test_the_browser_s_own_keys_are_left_to_it(page: Any, address: str) -> None:
    show(page, address)
    page.evaluate("window.addEventListener('keydown', (e) => { window.taken = e.defaultPrevented; })")
    for target in ("#marks", "#words"):
        page.locator(target).focus()
        for key, taken in (("Control+Minus", False), ("Alt+ArrowLeft", False), ("ArrowLeft", True)):
            page.locator(target).dispatch_event(
                "keydown",
                {
                    "key": key.rpartition("+")[2].replace("Minus", "-"),
                    "ctrlKey": "Control" in key,
                    "altKey": "Alt" in key,
                    "bubbles": True,
                    "cancelable": True,
                },
            )
            assert page.evaluate("window.taken") is taken, key


def test_a_layer_that_is_not_in_the_file_shows_nothing_of_another(browser: Any, run: TextRun, tmp_path: Path) -> None:
    page_text = html_file(View(run.subject(TEXT)))
    data = json.loads(re.search(r'id="data">(.*)</script>', page_text)[1])  # type: ignore[index]
    data["series"] = {key: packed for key, packed in data["series"].items() if key.startswith("0/")}
    cut = re.sub(r'id="data">.*</script>', lambda _: 'id="data">' + json.dumps(data) + "</script>", page_text)
    path = tmp_path / "cut.html"
    path.write_text(cut.replace("</script><img", ""), encoding="utf-8")
    with opened(browser) as page:
        show(page, path.as_uri())
        page.select_option("#layer", "1")
        wait_for(page, "document.querySelector('#trouble').textContent.includes('not in the file')")
        colours = page.locator("#heat").evaluate(
            "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
        )
        assert colours == 1
        assert page.locator("#said").text_content() == ""


def test_the_model_reads_what_is_typed(page: Any, address: str, run: TextRun) -> None:
    show(page, address)
    page.fill("#typed", "the cat sat")
    wait_for(page, "document.querySelectorAll('#words span').length === 11")
    assert page.locator("#live-note").text_content() == "11 steps."
    wait_for(page, "document.querySelector('#diagram text[data-node]').textContent !== ''")
    layer = layer_of(run, "the cat sat")
    node = layer.named()["h"]
    unit = int(page.locator("#unit").input_value())
    wanted = layer.values[node][10, 0, unit].item()
    shown = page.locator(f"#diagram text[data-node='{node}']").text_content()
    assert number(shown) == pytest.approx(wanted, abs=0.006)


def test_the_first_text_is_back_when_what_was_typed_is_cleared(page: Any, address: str) -> None:
    show(page, address)
    page.fill("#typed", "the cat sat")
    wait_for(page, "document.querySelectorAll('#words span').length === 11")
    page.fill("#typed", "")
    wait_for(page, f"document.querySelectorAll('#words span').length === {len(TEXT)}")
    assert page.locator("#words").text_content().replace("⏎", "") == TEXT
    assert page.locator("#live-note").text_content() == ""
    wait_for(page, "document.querySelector('#diagram text[data-node]').textContent !== ''")


def test_characters_that_the_model_does_not_know_are_named(page: Any, address: str) -> None:
    show(page, address)
    page.fill("#typed", "the çat ßat")
    wait_for(page, "document.querySelector('#live-note').textContent.startsWith('11 steps.')")
    assert page.locator("#live-note").text_content() == (
        "11 steps. The model does not know 'ç', 'ß', which are read as the unknown character."
    )


def test_everything_can_be_done_with_the_keyboard(page: Any, address: str) -> None:
    show(page, address)
    reached = []
    page.locator("body").click(position={"x": 1, "y": 1})
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
        if reached[-1] == "marks":
            break
    assert {"layer", "series", "order", "unit", "words", "typed", "marks"} <= set(reached)
    steps = len(TEXT)
    for key, step in (("Home", 1), ("ArrowRight", 2), ("PageDown", 22), ("ArrowLeft", 21), ("End", steps)):
        page.keyboard.press(key)
        wait_for(page, f"document.querySelector('#step-note').textContent.startsWith('Step {step} of')")
    unit = page.locator("#unit").input_value()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    wait_for(page, f"document.querySelector('#unit').value !== '{unit}'")
    page.keyboard.press("Home")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    wait_for(page, "document.querySelector('#places-note').textContent.includes('steps 1 to 3')")
    page.keyboard.press("Shift+ArrowLeft")
    wait_for(page, "document.querySelector('#places-note').textContent.includes('steps 1 to 2')")
    page.keyboard.press("Escape")
    wait_for(page, "document.querySelector('#places-note').textContent.startsWith('Drag')")
    page.keyboard.press("+")
    wait_for(page, f"!document.querySelector('#heat-note').textContent.includes('steps 1 to {steps} of')")
    page.keyboard.press("-")
    wait_for(page, f"document.querySelector('#heat-note').textContent.includes('steps 1 to {steps} of')")


def test_the_memory_horizon_is_that_of_the_chosen_step(page: Any, address: str, run: TextRun) -> None:
    show(page, address)
    page.locator("#marks").focus()
    page.keyboard.press("Home")
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    wait_for(page, "document.querySelector('#horizon-note').textContent.includes('step 31 ')")
    wanted = View(run.subject(TEXT)).horizon(30)["lags"]
    cells = page.locator("#horizon td").all_text_contents()[1:]
    assert cells == [str("farther" if lag is None else lag) for place in wanted.values() for lag in place.values()]
    assert page.locator("#horizon svg polyline").count() == 2


def test_another_layer_and_series_can_be_chosen(page: Any, address: str, run: TextRun) -> None:
    show(page, address)
    page.select_option("#layer", "1")
    page.select_option("#series", label="f")
    wait_for(page, "document.querySelector('#course-heading').textContent.includes(': f over')")
    page.mouse.move(*place_of(page, 10, 0, len(TEXT), 24))
    page.wait_for_timeout(300)
    layer = layer_of(run, number=1)
    value = number(re.split("[=≈] ", page.locator("#said").text_content())[1])
    assert value == pytest.approx(layer.values[layer.named()["f"]][10, 0, unit_said(page)].item(), abs=0.01)
    assert page.locator("#low").text_content() == "0"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_all_of_it_in_both_themes(browser: Any, address: str, theme: str) -> None:
    with opened(browser, viewport={"width": 360, "height": 740}, color_scheme=theme) as page:
        show(page, address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (theme == "light")
        assert page.locator("#marks").bounding_box()["width"] > 300


def test_the_file_shows_the_same_with_the_network_off(browser: Any, html: Path, run: TextRun) -> None:
    with opened(browser) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.context.set_offline(True)
        show(page, html.as_uri())
        assert page.locator("#words").text_content().replace("⏎", "") == TEXT
        assert not page.locator("#live").is_visible()
        page.select_option("#order", "number")
        page.mouse.click(*place_of(page, 40, 11, len(TEXT), 24))
        wait_for(page, "document.querySelector('#step-note').textContent.includes('unit 11 ')")
        page.wait_for_timeout(200)
        layer = layer_of(run)
        for node, text in page.locator("#diagram text[data-node]").evaluate_all(
            "all => all.map(e => [Number(e.dataset.node), e.textContent])"
        ):
            assert number(text) == pytest.approx(layer.values[node][40, 0, 11].item(), abs=0.006)
        wait_for(page, "document.querySelector('#horizon-note').textContent.includes('the last step only')")
        assert all(url.startswith(("file:", "data:")) for url in asked), asked


def test_numbers_are_shown_as_lines_and_a_cell_without_gates_has_no_time_constants(
    browser: Any, tmp_path: Path
) -> None:
    x = torch.sin(torch.arange(90.0) / 5)[:, None, None].repeat(1, 1, 2)
    model = holdfast.RNN(2, 7)
    subject = subject_of(model, x, ["speed", "height"], read=lambda out: out[0][-1].sum(), title="A <wave>")
    path = tmp_path / "wave.html"
    path.write_text(html_file(View(subject)), encoding="utf-8")
    with opened(browser) as page:
        show(page, path.as_uri())
        assert page.title() == "A <wave>"
        assert page.locator("#title").text_content() == "A <wave>"
        assert not page.locator("#words").is_visible()
        assert page.locator("#input-note").text_content().startswith("speed, height; from -1".replace("-", "−"))
        colours = page.locator("#plot").evaluate(
            "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
        )
        assert colours > 20
        assert page.locator("#order option").all_text_contents() == ["number", "similarity"]


def test_text_cannot_become_a_part_of_the_page(browser: Any, run: TextRun, tmp_path: Path) -> None:
    nasty = "</script><img src=x onerror=document.title='gone'>"
    subject = run.subject("cat")
    path = tmp_path / "nasty.html"
    nasty_subject = type(subject)(
        **{**subject.__dict__, "pieces": [nasty, "<b>", "</pre>"], "title": nasty, "guesses": None}
    )
    path.write_text(html_file(View(nasty_subject)), encoding="utf-8")
    with opened(browser) as page:
        show(page, path.as_uri())
        assert page.title() == nasty
        assert page.locator("#words").text_content() == nasty + "<b></pre>"
