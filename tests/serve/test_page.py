"""The page in a real browser, which asks a real server: every direction, what forms step by step,
an error, a lost connection, a phone, the keyboard, the dark.

The browser is whatever Chromium the PATH has. Where there is none, the tests say so.
"""

from __future__ import annotations

import base64
import io
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from playwright.sync_api import Browser, Page, expect

import nextomni_edge as ne
from tests.browser import WAIT, chromium
from tests.serve.running import Running, begin, get

KINDS = ("text", "image", "audio", "video")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def opened(browser: Browser, running: Running, **context: object) -> Page:
    """The page, ready; a fault in its script, and a request that leaves the server, fail."""
    page = browser.new_context(**context).new_page()  # type: ignore[arg-type]
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith((running.address, "data:", "blob:"))
            or faults.append(asked.url))  # fmt: skip
    page.goto(running.address)
    expect(page.locator("#state")).to_have_text("ready", timeout=WAIT)
    page.faults = faults  # type: ignore[attr-defined]
    return page


@pytest.fixture
def page(browser: Browser, running: Running) -> Iterator[Page]:
    made = opened(browser, running)
    yield made
    assert made.faults == []  # type: ignore[attr-defined]
    made.context.close()


def choose(page: Page, kind: str, steps: int = 3, seed: int = 0) -> None:
    page.locator(f"input[name=kind][value={kind}]").check()
    page.locator("#steps").fill(str(steps))
    page.locator("#seed").fill(str(seed))


def ask(page: Page, words: str) -> None:
    page.locator("#words").fill(words)
    page.locator("#send").click()


def answered(page: Page, count: int = 1) -> None:
    expect(page.locator("#state")).to_have_text("ready", timeout=WAIT)
    expect(page.locator("article.assistant")).to_have_count(count)
    expect(page.locator(".forming")).to_have_count(0)


def source(page: Page) -> bytes:
    """The last answer's medium."""
    uri = page.locator("article.assistant .medium").last.get_attribute("src") or ""
    return base64.b64decode(uri.partition(",")[2])


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    colours = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    Image.fromarray(colours).save(folder / "a.png")
    soundfile.write(folder / "a.wav", np.sin(np.arange(4000) / 9), 16000, subtype="PCM_16")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_is_answered_in_every_modality_as_run_does(
    page: Page, model: ne.Model, kind: str
) -> None:
    choose(page, kind, seed=5)
    ask(page, "a red cat")
    answered(page)
    expected = model.generate("a red cat", to=kind, seed=5, steps=3)  # type: ignore[call-overload]
    if kind == "text":
        shown = page.locator("article.assistant p.words")
        expect(shown).to_have_text(expected.text or "(no words)")
    else:
        ending = {"image": ".png", "audio": ".wav", "video": ".mp4"}[kind]
        assert source(page) == expected.encode(ending)


@pytest.mark.parametrize("given", ["a.png", "a.wav", "video"])
@pytest.mark.parametrize("kind", ["text", "image", "audio"])
def test_every_modality_is_a_prompt(
    page: Page, model: ne.Model, media: Path, tmp_path: Path, given: str, kind: str
) -> None:
    file = media / given
    if given == "video":
        file = tmp_path / "a.webm"
        model.generate("a", to="video", frames=2, steps=1).save(file)
    choose(page, kind)
    page.locator("#file").set_input_files(file)
    expect(page.locator("#given figure")).to_have_count(1)
    ask(page, "what?")
    answered(page)
    expected = model.generate((file, "what?"), to=kind, steps=3)  # type: ignore[call-overload]
    if kind == "text":
        shown = page.locator("article.assistant p.words")
        expect(shown).to_have_text(expected.text or "(no words)")
    else:
        assert source(page) == expected.encode({"image": ".png", "audio": ".wav"}[kind])


def test_a_picture_forms_step_by_step(page: Page) -> None:
    page.evaluate(
        """() => { window.seen = new Set(); window.heads = new Set();
        new MutationObserver(() => { const m = document.querySelector('.medium');
          if (m) window.seen.add(m.src);
          const h = document.querySelector('article.assistant h2');
          if (h) window.heads.add(h.textContent); })
        .observe(document.body, {subtree: true, childList: true, attributes: true,
          characterData: true}); }"""
    )
    choose(page, "image", steps=32)
    ask(page, "a red cat")
    answered(page)
    assert page.evaluate("window.seen.size") >= 4
    heads = page.evaluate("[...window.heads]")
    assert sum(bool(re.fullmatch(r"Picture, step \d+ of 32, t = 0\.\d\d", h)) for h in heads) >= 4


def test_a_conversation_is_kept_saved_and_forgotten(
    page: Page, model: ne.Model, tmp_path: Path
) -> None:
    choose(page, "image", seed=1)
    ask(page, "a red cat")
    answered(page, 1)
    choose(page, "text", seed=2)
    ask(page, "what is this?")
    answered(page, 2)
    with page.expect_download() as download:
        page.locator("#save").click()
    download.value.save_as(tmp_path / "conversation.json")
    saved = json.loads((tmp_path / "conversation.json").read_text())
    roles = [message["role"] for message in saved]
    assert roles[:3] == ["user", "assistant", "user"]
    assert saved[1]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    page.locator("#clear").click()
    expect(page.locator("article")).to_have_count(0)


def test_an_answer_is_saved_and_heard(page: Page, model: ne.Model, tmp_path: Path) -> None:
    choose(page, "audio", seed=3)
    ask(page, "a red cat")
    answered(page)
    sound = page.locator("article.assistant audio")
    page.wait_for_function("document.querySelector('article.assistant audio').duration > 0.1")
    sound.evaluate("each => each.play()")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save", exact=True).click()
    download.value.save_as(tmp_path / "a.wav")
    expected = model.generate("a red cat", to="audio", seed=3, steps=3)
    assert (tmp_path / "a.wav").read_bytes() == expected.encode(".wav")


def test_a_drawing_is_a_prompt(page: Page) -> None:
    page.locator("#draw").click()
    box = page.locator("#canvas").bounding_box()
    assert box
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 180, steps=5)
    page.mouse.up()
    page.locator("#canvas").press("ArrowRight")
    page.locator("#keep").click()
    uri = page.locator("#given img").get_attribute("src") or ""
    drawn = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    assert drawn.getpixel((120, 110)) != (255, 255, 255) == drawn.getpixel((250, 10))
    choose(page, "text")
    ask(page, "what?")
    answered(page)


def test_a_recording_is_a_prompt(page: Page) -> None:
    """Chromium's own stand-in for a microphone beeps."""
    page.locator("#record").click()
    expect(page.locator("#state")).to_have_text("recording")
    page.wait_for_timeout(350)
    page.locator("#record").click()
    expect(page.locator("#given audio")).to_have_count(1)
    uri = page.locator("#given audio").get_attribute("src") or ""
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert rate >= 8000 and len(samples) > 1000


def test_a_dropped_file_is_a_prompt(page: Page, media: Path) -> None:
    content = base64.b64encode((media / "a.png").read_bytes()).decode()
    page.evaluate(
        """async content => { const blob = await (await fetch('data:image/png;base64,' + content)
          .catch(() => null))?.blob() ?? new Blob([Uint8Array.from(atob(content),
          c => c.charCodeAt(0))], {type: 'image/png'});
        const data = new DataTransfer();
        data.items.add(new File([blob], 'a.png', {type: 'image/png'}));
        document.dispatchEvent(new DragEvent('drop', {dataTransfer: data, cancelable: true})); }""",
        content,
    )
    expect(page.locator("#given img")).to_have_count(1)
    page.locator("#given button").click()
    expect(page.locator("#given figure")).to_have_count(0)


def test_an_error_is_one_sentence_and_nothing_written_is_lost(page: Page, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page.locator("#file").set_input_files(tmp_path / "broken.png")
    ask(page, "what is this?")
    expect(page.locator("article.error p")).to_contain_text("the image: not a picture that")
    expect(page.locator("#words")).to_have_value("what is this?")
    expect(page.locator("#given figure")).to_have_count(1)
    page.locator("#given button").click()
    page.locator("#send").click()
    expect(page.locator("article.assistant:not(.error)")).to_have_count(1)


def test_what_is_computed_can_be_stopped(page: Page) -> None:
    choose(page, "image", steps=64)
    page.evaluate("document.getElementById('steps').max = 512")
    page.locator("#steps").fill("512")
    ask(page, "a red cat")
    expect(page.locator("article.assistant progress")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("#state")).to_have_text("stopped")
    expect(page.locator("#words")).to_have_value("a red cat")


def test_a_lost_connection_is_told_and_the_page_goes_on_when_it_is_back(
    browser: Browser, tiny_bundle: Path, tmp_path: Path
) -> None:
    first = begin(tmp_path / "first", f"tiny={tiny_bundle}")
    page = opened(browser, first)
    page.evaluate("document.getElementById('steps').max = 512")
    page.locator("input[name=kind][value=image]").check()
    page.evaluate("document.getElementById('steps').max = 512")
    page.locator("#steps").fill("512")
    ask(page, "a red cat")
    expect(page.locator("article.assistant progress")).to_have_count(1)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    expect(page.locator("#state")).to_have_text("connection lost", timeout=WAIT)
    expect(page.locator("article.error p")).to_contain_text("send again when it is back")
    expect(page.locator("#words")).to_have_value("a red cat")
    second = begin(tmp_path / "second", f"tiny={tiny_bundle}", port=first.port)
    try:
        page.locator("#steps").fill("3")
        page.locator("#send").click()
        expect(page.locator("article.assistant .medium")).to_have_count(1, timeout=WAIT)
    finally:
        second.process.terminate()
        second.process.wait(timeout=60)
    page.context.close()


def test_the_sliders_say_what_they_cost(page: Page) -> None:
    choose(page, "image", steps=7)
    expect(page.locator("#steps-out")).to_have_text("7")
    expect(page.locator("#cost")).to_contain_text("At most 7 steps")
    page.locator("#guidance").fill("1.5")
    expect(page.locator("#cost")).to_contain_text("each with a second branch for guidance")
    ask(page, "a red cat")
    answered(page)
    expect(page.locator("#cost")).to_contain_text(re.compile(r"About [\d.]+ s here"))


def test_the_card_says_what_the_bundle_holds(page: Page, model: ne.Model) -> None:
    card = page.locator("#about")
    for words in ("Parity", "compared with", "Quantisation", "Licence", "not recorded", "MiB"):
        expect(card).to_contain_text(words)
    expect(card).to_contain_text(model.identity[:16])


def test_the_page_works_by_keyboard_alone(page: Page, model: ne.Model) -> None:
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the link past the head
    page.locator("#words").focus()
    reached = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.name"))
    assert {"pick", "draw", "record", "kind", "send", "save", "clear", "steps", "seed"} <= reached
    page.locator("#words").focus()
    page.keyboard.type("a red cat")
    page.keyboard.press("Enter")
    answered(page)
    assert page.evaluate("document.activeElement.id") == "words"


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_the_page_fits_a_phone_in_the_dark_and_in_the_light(
    browser: Browser, running: Running, scheme: str
) -> None:
    page = opened(browser, running, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    choose(page, "audio")
    ask(page, "a red cat " * 20 + "x" * 200)
    expect(page.locator("article.assistant")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    light = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((a, b) => a + +b, 0)"
    )
    assert (light < 200) == (scheme == "dark")
    page.context.close()


def test_the_page_needs_nothing_from_elsewhere(running: Running) -> None:
    text = get(running, "/").decode()
    assert not re.search(r"https?://|@import|url\(|src=", text)
