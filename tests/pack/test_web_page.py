"""The packed page in a real browser, from a plain static server: the golden trace token for token,
the answers of `run`, an error, no network, a damaged file, a phone, the keyboard, the dark.

onnxruntime-web comes from node_modules of the checkout: `make test-web` installs it.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import io
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from playwright.sync_api import Browser, Page, expect

import nextomni_edge as ne
from nextomni_edge.bundle import Bundle
from nextomni_edge.generate.steps import NOT_DRAWN
from nextomni_edge.media.image import to_bytes
from nextomni_edge.pack import pack
from nextomni_edge.verify import golden
from tests.browser import WAIT, chromium
from tests.docs.pages import blocks
from tests.sources import ROOT

RUNTIME = ROOT / "node_modules" / "onnxruntime-web"
KINDS = ("text", "image", "audio", "video")


class Silent(http.server.SimpleHTTPRequestHandler):
    """Python's own static server, which sends no header of ours."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder's static server."""
    handler = functools.partial(Silent, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def packed(bundle: Path, out: Path) -> Path:
    if not RUNTIME.is_dir():
        pytest.skip("no onnxruntime-web in node_modules: `make test-web` installs it")
    pack(Bundle.open(bundle), out, "web", onnxruntime_web=RUNTIME)
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def folder(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tiny_bundle, tmp_path_factory.mktemp("web") / "page")


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> ne.Model:
    return ne.load(tiny_bundle)


def opened(browser: Browser, address: str, **context: Any) -> Page:
    """The page once its model is loaded; a fault in a script and a request that leaves the server
    are kept in `faults`."""
    page = browser.new_context(**context).new_page()
    page.faults = []  # type: ignore[attr-defined]
    note = page.faults.append  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: note(str(error)))
    own = (address, "data:", "blob:")
    page.on("request", lambda asked: asked.url.startswith(own) or note(asked.url))
    page.goto(address)
    return page


def ready(page: Page) -> None:
    expect(page.locator("#send")).to_be_enabled(timeout=WAIT)


@pytest.fixture(scope="module")
def page(browser: Browser, folder: Path) -> Iterator[Page]:
    with served(folder) as address:
        made = opened(browser, address)
        ready(made)
        made.locator("summary").click()
        yield made
        assert made.faults == []  # type: ignore[attr-defined]
        made.context.close()


def choose(page: Page, kind: str, steps: int = 3, seed: int = 5, count: str = "") -> None:
    page.locator(f"input[name=kind][value={kind}]").check()
    for name, value in (("steps", steps), ("seed", seed), ("count", count)):
        page.locator(f"#{name}").fill(str(value))


def ask(page: Page, words: str) -> None:
    before = page.locator("article").count()
    page.locator("#words").fill(words)
    page.locator("#words").press("Enter")
    expect(page.locator("article")).to_have_count(before + 1)
    expect(page.locator("#state")).to_have_text(re.compile("^ready: "), timeout=WAIT)
    expect(page.locator(".forming")).to_have_count(0)


def levels(page: Page) -> np.ndarray[Any, Any]:
    """The newest answer's picture, (height,width,3) uint8."""
    width, height, data = page.evaluate(
        """() => { const canvas = document.querySelector("article canvas");
                   const { width, height } = canvas;
                   const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
                   return [width, height, [...data]]; }"""
    )
    return np.array(data, np.uint8).reshape(height, width, 4)[..., :3]


def samples(page: Page) -> np.ndarray[Any, Any]:
    content = page.evaluate(
        """async () => { const { src } = document.querySelector("article audio");
                         return [...new Uint8Array(await (await fetch(src)).arrayBuffer())]; }"""
    )
    return soundfile.read(io.BytesIO(bytes(content)), dtype="int16")[0].astype(int)


def draws(bundle: Path) -> tuple[int, int]:
    """The tasks of a golden trace, and their draws."""
    tasks = golden.read(Bundle.open(bundle)).tasks
    recorded = [x_1 for _, trajectory in tasks.values() for x_1 in trajectory.x_1]
    return len(tasks), sum(int((x_1 != NOT_DRAWN).sum()) for x_1 in recorded)


def checked(page: Page) -> str:
    page.locator("#check").click()
    expect(page.locator("#state")).to_have_text(
        re.compile("^(checked|this browser does)"), timeout=5 * WAIT
    )
    return page.locator("#state").inner_text()


def test_the_golden_trace_of_every_task_is_the_same_token_for_token(
    page: Page, tiny_bundle: Path
) -> None:
    tasks, count = draws(tiny_bundle)
    assert tasks == 9
    assert checked(page) == f"checked: 11 components, {count} draws of 9 tasks are the same"


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_is_answered_in_every_modality_as_run_does(
    page: Page, model: ne.Model, kind: str
) -> None:
    choose(page, kind)
    ask(page, "a red cat")
    expected = model.generate("a red cat", to=kind, seed=5, steps=3)  # type: ignore[call-overload]
    if kind == "text":
        expect(page.locator("article .words").first).to_have_text(expected.text or "(no words)")
    elif kind == "audio":
        found, own = samples(page), np.rint(expected.media * 2**15)
        # Griffin-Lim's last digits; the tokens are the same
        assert found.shape == own.shape and np.abs(found - own).max() <= 40
    elif kind == "image":
        assert np.array_equal(levels(page), np.asarray(expected.image))
    else:
        shown, frames = levels(page), expected.media
        assert any(np.array_equal(shown, to_bytes(frame)) for frame in frames)


def test_a_picture_and_a_sound_are_prompts_as_in_python(
    page: Page, model: ne.Model, tmp_path: Path
) -> None:
    colours = np.random.default_rng(2).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(4000) / 9), 16000, subtype="PCM_16")
    choose(page, "image")
    for name in ("a.png", "a.wav"):
        page.locator("#file").set_input_files(tmp_path / name)
        expect(page.locator("#given li")).to_have_count(1)
        ask(page, "what?")
        page.locator("#given button").click()
        expected = model.generate((tmp_path / name, "what?"), to="image", seed=5, steps=3)
        assert np.array_equal(levels(page), np.asarray(expected.image)), name


def test_a_film_is_a_prompt_and_a_recording_too(
    page: Page, model: ne.Model, tmp_path: Path
) -> None:
    model.generate("a", to="video", frames=2, steps=1).save(tmp_path / "a.webm")
    choose(page, "text")
    page.locator("#file").set_input_files(tmp_path / "a.webm")
    expect(page.locator("#given li")).to_have_count(1, timeout=WAIT)
    ask(page, "what?")
    page.locator("#given button").click()
    page.locator("#record").click()
    expect(page.locator("#record")).to_have_text("Stop recording")
    page.wait_for_timeout(300)
    page.locator("#record").click()
    expect(page.locator("#given li")).to_have_count(1, timeout=WAIT)
    ask(page, "what?")
    page.locator("#given button").click()


def test_a_fault_is_one_sentence_and_the_page_goes_on(page: Page, tmp_path: Path) -> None:
    choose(page, "audio", count="99999")
    page.locator("#words").fill("a")
    page.locator("#send").click()
    expect(page.locator("#state")).to_have_text(
        re.compile(r"^audio response of 99999: the model takes 1 to \d+$"), timeout=WAIT
    )
    expect(page.locator("#state")).to_have_class("error")
    (tmp_path / "a.png").write_bytes(b"no picture")
    page.locator("#file").set_input_files(tmp_path / "a.png")
    expect(page.locator("#state")).to_have_text(re.compile("^a.png: this browser cannot read it"))
    choose(page, "text")
    ask(page, "a")


def test_a_run_is_stopped_between_two_steps(page: Page) -> None:
    choose(page, "image", steps=500)
    page.locator("#words").fill("a")
    page.locator("#words").press("Enter")
    expect(page.locator("#state")).to_have_text(re.compile("^step "), timeout=WAIT)
    page.keyboard.press("Escape")
    expect(page.locator("#state")).to_have_text("stopped", timeout=WAIT)
    expect(page.locator("#send")).to_be_enabled()


def test_a_phone_needs_no_scrolling_sideways_and_the_dark_is_dark(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="light")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"


def test_every_control_is_reached_by_the_keyboard(page: Page) -> None:
    page.locator("#words").focus()
    seen = ["words"]
    while seen[-1] != "check":
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.name"))
        assert len(seen) < 20, seen
    assert {"words", "file", "record", "kind", "steps", "seed", "send", "check"} <= set(seen)


def test_after_the_first_load_no_network_is_needed_and_a_damaged_cache_is_mended(
    browser: Browser, folder: Path
) -> None:
    with served(folder) as address:
        page = opened(browser, address)
        ready(page)
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        expect(page.locator("#state")).to_have_text("ready")
        damage = """async () => {
            const cache = await caches.open("nextomni-edge-model");
            for (const request of await cache.keys()) {
              const bytes = new Uint8Array(await (await cache.match(request)).arrayBuffer());
              bytes[bytes.length >> 1] ^= 1;
              await cache.put(request, new Response(bytes));
            }
            return (await cache.keys()).length; }"""
        assert page.evaluate(damage) == 1  # the golden trace is not read before it is asked for
        page.reload()
        ready(page)  # downloaded again
    page.context.set_offline(True)
    page.reload()
    ready(page)
    page.locator("summary").click()
    choose(page, "text")
    ask(page, "a red cat")
    page.context.close()


def test_a_damaged_weight_is_refused(browser: Browser, folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    index = json.loads((copy / "model/index.json").read_text())
    name = next(name for name in index["files"] if name.startswith("weights/"))
    shard, offset = index["files"][name]
    path = copy / "model" / index["shards"][shard]["file"]
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    with served(copy) as address:
        page = opened(browser, address)
        expect(page.locator("#state")).to_have_text(
            f"{path.name}: {name} is not what the manifest says (SHA-256); copy the folder again",
            timeout=WAIT,
        )
        expect(page.locator("#send")).to_be_disabled()
        page.context.close()


@pytest.fixture(scope="module")
def demo_page(
    made_once: Callable[[str, Callable[[Path], object]], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    """The demo's bundle and its page."""
    from nextomni_edge.export import export_bundle

    checkpoint = ROOT / "examples/emoji/checkpoint"
    bundle = made_once("demo-web", lambda out: export_bundle(checkpoint, out, overwrite=True))
    return bundle, packed(bundle, tmp_path_factory.mktemp("demo") / "page")


@pytest.mark.slow
def test_the_demo_draws_the_pictures_of_run(browser: Browser, demo_page: tuple[Path, Path]) -> None:
    bundle, folder = demo_page
    with served(folder) as address:
        page = opened(browser, address)
        ready(page)
        tasks, count = draws(bundle)
        assert checked(page).startswith(f"checked: 11 components, {count} draws of {tasks} tasks")
        page.locator("summary").click()
        model = ne.load(bundle)
        for words in ("draw rocket, noto style", "draw cat, openmoji style"):
            choose(page, "image", steps=32, seed=7)
            ask(page, words)
            expected = model.generate(words, to="image", seed=7, steps=32)
            assert np.array_equal(levels(page), np.asarray(expected.image)), words
        page.context.close()


def test_the_program_of_the_documentation_draws_what_run_draws(
    browser: Browser, folder: Path, model: ne.Model, tmp_path: Path
) -> None:
    """With onnxruntime-web's own files under its own name, as a page without our worker has it."""
    (program,) = (
        block.text for block in blocks(ROOT / "docs" / "browser.md") if block.language == "js"
    )
    page = Path(shutil.copytree(folder, tmp_path / "page"))
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
        shutil.copy(RUNTIME / "dist" / name, page / name)
    names = {
        "onnxruntime-web": "./ort.wasm.bundle.min.mjs", "@nextomni/edge": "./src/index.js",
    }  # fmt: skip
    (page / "program.html").write_text(
        f'<!doctype html><script type="importmap">{json.dumps({"imports": names})}</script>'
        f'<script type="module">const show = (answer) => (globalThis.shown = answer);\n{program}\n'
        "globalThis.done = true;</script>"
    )
    with served(page) as address:
        opened_page = opened(browser, f"{address}program.html")
        opened_page.wait_for_function("globalThis.done", timeout=2 * WAIT)
        drawn = opened_page.evaluate("[...globalThis.shown.picture.data]")
        faults: list[str] = opened_page.faults  # type: ignore[attr-defined]
        assert [fault for fault in faults if not fault.startswith(address)] == []
        opened_page.context.close()
    expected = model.generate("draw rocket, noto style", to="image", seed=7).image
    found = np.array(drawn, np.uint8).reshape(expected.height, expected.width, -1)[..., :3]
    np.testing.assert_array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_a_quantised_bundle_replays_its_trace(
    name: str, variant: Callable[[str], Path], tmp_path: Path
) -> None:
    """WebAssembly rounds at other borders: draws are compared up to the first that this moves."""
    folder, program = packed(variant(name), tmp_path / "page"), shutil.which("node")
    if program is None:
        pytest.skip("no node is installed: the browser's loop was not run")
    script = ROOT / "tests/pack/web/replay.mjs"
    done = subprocess.run([program, script, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 tasks, " in done.stdout and "11 components, " in done.stdout
