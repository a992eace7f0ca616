"""`python -m benchmarks.page`: how smoothly the microscope's page follows a brush, and how large its file is.

A model of 1,000 units reads 10,000 steps; the page is served by this process and shown by Chromium, which takes the
time of every frame while a pointer brushes to and fro over the heat map. What must be reached: 95 of 100 frames in
under 33 ms, and a file of less than 15 MB.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import sys
import threading
import time
from typing import Any

import torch
import uvicorn
from playwright.sync_api import sync_playwright

from holdfast import LSTM
from holdfast.microscope.subject import Subject
from holdfast.serving import View, html_file, look_app

_FRAMES = """() => {
  window.frames = [];
  let last = performance.now();
  const next = (now) => { window.frames.push(now - last); last = now; requestAnimationFrame(next); };
  requestAnimationFrame(next);
}"""


def _view(units: int, steps: int) -> View:
    torch.manual_seed(0)
    x = torch.randn(steps, 1, 8)
    letters = torch.randint(97, 123, (steps,)).tolist()
    return View(Subject("A model of random weights", LSTM(8, units), (x,), pieces=[chr(k) for k in letters]))


def _brushed(address: str, seconds: float) -> tuple[list[float], int]:
    """The milliseconds between frames while the pointer moves, and the width of the brush at the end."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(address)
        page.wait_for_selector("#words span:nth-child(10)")
        page.locator("#marks").scroll_into_view_if_needed()
        page.wait_for_timeout(4000)  # until all is drawn
        box: Any = page.locator("#marks").bounding_box()
        page.mouse.move(box["x"] + 5, box["y"] + 40)
        page.mouse.down()
        page.evaluate(_FRAMES)
        until, k = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            k += 1
            share = abs((k * 0.013) % 2 - 1)
            page.mouse.move(box["x"] + 5 + share * (box["width"] - 10), box["y"] + 40 + k % 200)
        frames: list[float] = page.evaluate("window.frames")
        page.mouse.up()
        browser.close()
    return frames[1:], k


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=8.0, help="how long is brushed")
    options = parser.parse_args()
    view = _view(options.units, options.steps)
    size = len(html_file(view).encode()) / 1e6
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(look_app(view, "token", port), log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            frames, moves = _brushed(f"http://127.0.0.1:{port}/token/", options.seconds)
        finally:
            server.should_exit = True
            thread.join()
    slow = statistics.quantiles(frames, n=20)[-1]
    print(f"{options.units:,} units × {options.steps:,} steps: {len(frames):,} frames, {moves:,} moves of the pointer")
    print(f"a frame took {statistics.median(frames):.1f} ms in the median, 95 of 100 under {slow:.1f} ms (33)")
    print(f"the longest {max(frames):.0f} ms; the file has {size:.1f} MB (15)")
    sys.exit(slow >= 33 or size >= 15)


if __name__ == "__main__":
    main()
