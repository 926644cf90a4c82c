"""The demo in a browser: how large its page is, how long it loads, and seconds for a picture on one
thread of WebAssembly against `run` on one thread: `python benchmarks/browser.py [BUNDLE]`.

Needs Chromium, and onnxruntime-web in node_modules (`make test-web` installs it). The two sides
take turns, and the medians are of as many pictures each.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import re
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

import nextomni_edge as ne
from nextomni_edge.bundle import Bundle
from nextomni_edge.pack import pack

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PROMPT = "draw rocket, noto style"
STEPS, SEED = 32, 7
WAIT = 120_000


class Silent(http.server.SimpleHTTPRequestHandler):
    """Python's static server, without its log."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder's static server."""
    handler = functools.partial(Silent, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def loaded(page: Page) -> float:
    """Seconds until the page can be asked."""
    began = time.perf_counter()
    page.reload()
    page.locator("#send:enabled").wait_for(timeout=WAIT)
    return time.perf_counter() - began


def drawn(page: Page, watched: bool = False) -> float:
    """Seconds of one picture, as the page counts them; `watched`: with the picture of every step
    decoded too."""
    page.locator("#watch").set_checked(watched)
    page.locator("#send").click()
    page.locator("#state", has_text=re.compile("^ready: ")).wait_for(timeout=WAIT)
    return float(page.locator("#state").inner_text().removeprefix("ready: ").removesuffix(" s"))


def ran(model: ne.Model) -> float:
    """Seconds of the same picture in Python."""
    began = time.perf_counter()
    model.generate(PROMPT, to="image", seed=SEED, steps=STEPS)
    return time.perf_counter() - began


def measured(folder: Path, bundle: Path, rounds: int) -> dict[str, Any]:
    """Loads and pictures of both sides, in turns."""
    path = next(filter(None, map(shutil.which, BROWSERS)))
    model, found = ne.load(bundle, threads=1), dict[str, list[float]]()
    with served(folder) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        began = time.perf_counter()
        page.goto(address)
        page.locator("#send:enabled").wait_for(timeout=WAIT)
        first = time.perf_counter() - began
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        again = [loaded(page) for _ in range(3)]
        page.locator("summary").click()
        for name, value in (("words", PROMPT), ("steps", STEPS), ("seed", SEED)):
            page.locator(f"#{name}").fill(str(value))
        cold, _ = drawn(page), ran(model)
        for _ in range(rounds):
            found.setdefault("browser", []).append(drawn(page))
            found.setdefault("run", []).append(ran(model))
            found.setdefault("browser, each step shown", []).append(drawn(page, watched=True))
        version = browser.version
        browser.close()
    return {
        "chromium": version, "first_load": first, "load_again": again, "first_picture": cold,
        "seconds_a_picture": found,
        "medians": {name: statistics.median(values) for name, values in found.items()},
    }  # fmt: skip


def sizes(folder: Path) -> dict[str, int]:
    """Bytes by part of the page."""
    parts = {"ort": "ort", "model": "model", "page": "page", "src": "src"}
    return {
        name: sum(path.stat().st_size for path in (folder / own).rglob("*") if path.is_file())
        for name, own in parts.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", nargs="?", type=Path, default=ROOT / "demo" / "bundle")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    runtime = ROOT / "node_modules" / "onnxruntime-web"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "page"
        pack(Bundle.open(asked.bundle), folder, "web", onnxruntime_web=runtime)
        load = os.getloadavg()[0]
        found = measured(folder, asked.bundle, asked.rounds)
        version = json.loads((runtime / "package.json").read_text())["version"]
        data = {
            "prompt": PROMPT, "steps": STEPS, "onnxruntime_web": version,
            "load_average_before": load, "bytes": sizes(folder), **found,
        }  # fmt: skip
    asked.output.write_text(json.dumps(data, indent=1) + "\n")
    print(json.dumps(data["medians"] | {"bytes": data["bytes"]}))


if __name__ == "__main__":
    main()
