"""What the server answers, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from holdfast.microscope.subject import subject_of
from holdfast.serving import View, look_app
from holdfast.tasks.text import TextRun

TOKEN, PORT = "a-token", 8123


@pytest.fixture(scope="module")
def view(run: TextRun) -> View:
    return View(run.subject("the cat sat on the mat"))


@pytest.fixture
def client(view: View) -> TestClient:
    return TestClient(look_app(view, TOKEN, PORT), base_url=f"http://127.0.0.1:{PORT}")


def below(path: str) -> str:
    return f"/{TOKEN}/{path}"


def test_the_page_and_its_parts_are_there(client: TestClient) -> None:
    page = client.get(below(""))
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    for name, kind in (("main.js", "text/javascript"), ("style.css", "text/css")):
        part = client.get(below(name))
        assert part.status_code == 200
        assert part.headers["content-type"].startswith(kind)
    for name in ("nothing.js", "..%2fapp.py", "index.html"):
        assert client.get(below(name)).status_code == 404


def test_series_and_units_are_the_numbers_of_the_view(client: TestClient, view: View) -> None:
    about = client.get(below("api/view")).json()
    assert about["number"] == view.number
    one = about["layers"][1]["series"][2]
    answer = client.get(below(f"api/{view.number}/series?layer=1&node={one['node']}"))
    levels = np.frombuffer(answer.content, np.uint8).reshape(24, about["steps"])
    exact = view.layer(1).values[one["node"]].numpy().T
    apart = (one["high"] - one["low"]) / 254  # 255 stands for what is no number
    assert np.abs(one["low"] + levels * apart - exact).max() <= 0.51 * apart
    row = np.frombuffer(client.get(below(f"api/{view.number}/unit?layer=1&unit=7")).content, np.float32)
    assert np.array_equal(row.reshape(-1, about["steps"])[2], exact[7])


@pytest.mark.parametrize("path", ["", "other/", "a-toke/", "a-token-/", "api/view", "a-tökén/"])
def test_without_the_token_nothing_is_answered(client: TestClient, path: str) -> None:
    answer = client.get(f"/{path}")
    assert answer.status_code == 403
    assert "token" in answer.text


@pytest.mark.parametrize("host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:80", ""])
def test_a_foreign_host_is_refused(client: TestClient, host: str) -> None:
    answer = client.get(below("api/view"), headers={"host": host})
    assert answer.status_code == 421
    assert "127.0.0.1 and localhost only" in answer.text


def test_localhost_is_not_foreign(client: TestClient) -> None:
    headers = {"host": f"localhost:{PORT}", "origin": f"http://localhost:{PORT}"}
    assert client.get(below("api/view"), headers=headers).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", f"https://127.0.0.1:{PORT}", "http://127.0.0.1:80"])
def test_a_foreign_origin_is_refused(client: TestClient, origin: str) -> None:
    answer = client.post(below("api/text"), json={"text": "the"}, headers={"origin": origin})
    assert answer.status_code == 403
    assert "may not ask" in answer.text


def test_a_second_origin_is_looked_at_too(client: TestClient) -> None:
    headers = [("origin", f"http://127.0.0.1:{PORT}"), ("origin", "http://evil.example")]
    assert client.get(below("api/view"), headers=headers).status_code == 403


def test_at_port_80_browsers_leave_the_port_out(view: View) -> None:
    client = TestClient(look_app(view, TOKEN, 80), base_url="http://127.0.0.1")
    assert client.get(below("api/view")).status_code == 200
    assert client.get(below("api/view"), headers={"host": "evil.example"}).status_code == 421


def test_every_answer_forbids_what_the_page_does_not_need(client: TestClient) -> None:
    for path in (below(""), below("main.js"), below("api/view"), "/wrong/"):
        headers = client.get(path).headers
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
    policy = client.get(below("")).headers["content-security-policy"]
    parts = dict(part.split(" ", 1) for part in policy.split("; "))
    nonce = parts.pop("script-src").removeprefix("'self' 'nonce-").removesuffix("'")
    assert nonce.isascii()
    assert len(nonce) >= 16
    assert parts == {
        "default-src": "'none'",
        "style-src": "'self' 'unsafe-inline'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert policy != client.get(below("")).headers["content-security-policy"]  # a nonce is used once
    for path in (below("main.js"), below("api/view"), "/wrong/"):
        assert client.get(path).headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("api/{n}/series?layer=2&node=3", "there is no layer 2; there are 2"),
        ("api/{n}/series?layer=0&node=999", "there is no series 999"),
        ("api/{n}/unit?layer=0&unit=24", "there is no unit 24"),
        ("api/{n}/unit?layer=0&unit=-1", "there is no unit -1"),
        ("api/{n}/horizon?step=22", "there is no step 22; there are 22"),
        ("api/999999/horizon?step=0", "reload the page"),
    ],
)
def test_what_is_not_there_is_said(client: TestClient, view: View, path: str, message: str) -> None:
    answer = client.get(below(path.format(n=view.number)))
    assert answer.status_code == 422
    assert message in answer.json()["error"]


def test_a_number_that_is_none_is_refused(client: TestClient, view: View) -> None:
    assert client.get(below(f"api/{view.number}/unit?layer=0&unit=first")).status_code == 422


def test_typed_text_is_another_view_and_the_first_one_stays(client: TestClient, view: View) -> None:
    def typed(text: str, page: str, turn: int = 1) -> Any:
        return client.post(below("api/text"), json={"text": text, "page": page, "turn": turn}).json()

    def status(about: Any) -> int:
        return client.get(below(f"api/{about['number']}/unit?layer=0&unit=0")).status_code

    others = typed("the", "other")
    found = [typed(text, "own", turn) for text, turn in (("cat", 1), ("sat", 2), ("mat", 3))]
    assert [one["steps"] for one in found] == [3, 3, 3]
    assert found[2]["pieces"] == ["m", "a", "t"]
    assert client.get(below("api/view")).json()["number"] == view.number
    assert [status(one) for one in found] == [422, 422, 200]
    assert status(typed("hat", "own", 2)) == 422  # it was overtaken
    assert status(found[2]) == 200
    assert status(others) == 200  # what is typed into one page is nothing to another
    assert status(client.get(below("api/view")).json()) == 200
    for k in range(8):
        typed("on", f"page {k}")
    assert status(others) == 422  # there is a limit


def test_a_body_that_is_no_object_is_refused_in_words(client: TestClient) -> None:
    answer = client.post(below("api/text"), content=b"[1]", headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert "body" in answer.json()["error"]


@pytest.mark.parametrize("body", [{"text": ""}, {"text": 3}, {}, {"other": "the"}, {"text": ["the"]}])
def test_a_text_that_is_none_is_refused(client: TestClient, body: Any) -> None:
    answer = client.post(below("api/text"), json=body)
    assert answer.status_code == 422
    assert answer.json()["error"] == "text must be a string that is not empty"


def test_a_text_of_no_page_is_refused(client: TestClient) -> None:
    for body in ({"text": "the"}, {"text": "the", "page": 3, "turn": 1}, {"text": "the", "page": "own", "turn": "x"}):
        answer = client.post(below("api/text"), json=body)
        assert answer.status_code == 422
        assert answer.json()["error"] == "page must be a string, and turn a whole number"


def test_a_text_that_is_too_long_is_refused_before_it_is_read(client: TestClient) -> None:
    assert client.post(below("api/text"), content=b"x" * 1_000_001).status_code == 413
    assert client.post(below("api/text"), content=iter([b"{}"])).status_code == 413  # of unknown length
    own = {"origin": f"http://127.0.0.1:{PORT}"}
    assert client.post(below("api/text"), content=b"x" * 1_000_001, headers=own).status_code == 413
    both = {"content-length": "2", "transfer-encoding": "chunked"}
    assert client.post(below("api/text"), content=b"{}", headers=both).status_code == 413


def test_numbers_cannot_be_typed() -> None:
    import torch

    import holdfast

    view = View(subject_of(holdfast.LSTM(2, 3), torch.randn(9, 1, 2)))
    client = TestClient(look_app(view, TOKEN, PORT), base_url=f"http://127.0.0.1:{PORT}")
    answer = client.post(below("api/text"), json={"text": "the"})
    assert answer.json()["error"] == "this model does not read text that is typed"
    answer = client.get(below(f"api/{view.number}/horizon?step=0"))
    assert "nothing says what output is meant" in answer.json()["error"]
