"""The demo page, made by the demo's own code over a small random model, taken apart here and opened
in a real browser.

The browser is whatever Chromium the PATH has. Where there is none, the tests that need one say so
in the summary instead of passing: install `chromium` (or Chrome) to run them.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from rich.console import Console

EMOJI = Path(__file__).resolve().parents[2] / "examples" / "emoji"
sys.path.insert(0, str(EMOJI))

import demo  # noqa: E402
from tests.browser import BROWSERS  # noqa: E402

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def html(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a tiny random model: its pictures are noise, but they are pictures."""
    out = tmp_path_factory.mktemp("demo") / "index.html"
    demo.make(out, tiny_bundle, {"steps": 2}, Console(file=io.StringIO()))
    return out


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attributes}))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def elements(html: Path) -> Elements:
    return Elements(html.read_text(encoding="utf-8"))


def decoded(uri: str, mime: str) -> io.BytesIO:
    head, _, content = uri.partition(",")
    assert head == f"data:{mime};base64"
    return io.BytesIO(base64.b64decode(content, validate=True))


def test_every_picture_on_the_page_is_a_whole_picture(elements: Elements) -> None:
    pictures = elements.all("img")
    # the tasks; noise, one step and the answer of four pictures; the retrieval grid
    assert len(pictures) == 12 * 9 + 4 * 3 + 12
    for picture in pictures:
        with Image.open(
            decoded(picture["src"], "image/webp" if "webp" in picture["src"][:20] else "image/png")
        ) as image:
            image.load()
            assert image.size in ((16, 16), (64, 64))  # made by the tiny model, given
            assert len(image.convert("RGB").getcolors(4096) or []) > 1  # not blank


def test_every_sound_on_the_page_can_be_played(elements: Elements) -> None:
    sounds = elements.all("audio")
    assert len(sounds) == 12 * 6
    for sound in sounds:
        samples, rate = soundfile.read(decoded(sound["src"], "audio/flac"))
        assert (len(samples), rate) == (5120, 16000)


def test_the_page_needs_nothing_from_elsewhere(html: Path, elements: Elements) -> None:
    for _, attributes in elements.found:
        for name in ("src", "href", "srcset", "action", "poster"):
            assert attributes.get(name, "#").startswith(("data:", "#")), attributes
    assert not re.search(r"@import|url\(|https?://", html.read_text(encoding="utf-8"))


def test_every_link_leads_to_a_section(elements: Elements) -> None:
    targets = {attributes["id"] for _, attributes in elements.found if "id" in attributes}
    links = [attributes["href"] for attributes in elements.all("a")]
    assert len(links) == 15
    assert {link[1:] for link in links} <= targets


def test_the_parity_table_names_every_component_and_task(html: Path) -> None:
    text = html.read_text(encoding="utf-8")
    parity = text[text.index('id="parity"') : text.index('id="sizes"')]
    for name in ("backbone", "text_head", "image_head", "audio_decoder"):
        assert f"<td>{name}</td>" in parity


def test_the_committed_measures_are_on_the_page(html: Path) -> None:
    """On a fresh clone too, where nobody has run `make eval`."""
    text = html.read_text(encoding="utf-8")
    measures = text[text.index('id="measures"') :]
    committed = json.loads((EMOJI.parents[1] / "demo" / "eval.json").read_text(encoding="utf-8"))
    assert committed and committed.keys() <= demo.LABELS.keys()
    for name, found in committed.items():
        row = f"<td>{demo.LABELS[name]}</td>"
        assert row in measures and f"{found['value']:.4g}</td>" in measures.split(row)[1]


def test_a_weak_direction_says_why(html: Path) -> None:
    text = html.read_text(encoding="utf-8")
    sections = {part.split('"')[0]: part for part in text.split('<section id="')[1:]}
    weak = {name for name, part in sections.items() if 'class="weak"' in part}
    assert weak == {"image-to-speech"}
    assert "right in 53 % of 75 held-out tries" in sections["image-to-speech"]
    strong = {"audio_to_image_named": {"value": 0.9, "n": 10}}
    assert demo.weakness("Speech → image", strong) == ""


def test_a_verdict_is_about_the_last_turn() -> None:
    """A word that was read rightly is not shown as wrong because its speech was misheard."""
    silence = demo.page.Shown("audio", np.zeros(5120, np.float32))
    word = demo.page.Shown("text", "rocket")
    turns = (("assistant", word), ("user", demo.page.Shown("text", "say it")))
    spoken = demo.page.example(
        demo.page.Example((*turns, ("assistant", silence)), "the judge hears cat", False)
    )
    assert '<div class="assistant text">' in spoken
    assert '<div class="assistant judged audio">' in spoken
    read = demo.page.example(demo.page.Example((("assistant", word),), "it is: cat", False))
    assert '<div class="assistant judged text">' in read


def test_every_sound_has_a_play_sign(elements: Elements) -> None:
    buttons = [found for found in elements.all("button") if found.get("class") == "sound"]
    signs = [found for found in elements.all("svg") if found.get("class") == "sign"]
    assert len(buttons) == len(signs) == len(elements.all("audio"))
    assert all(button["aria-label"].startswith("play ") for button in buttons)


def test_text_from_the_model_cannot_become_markup() -> None:
    shown = demo.page.shown(demo.page.Shown("text", "<script>alert(1)</script>"))
    assert "<script" not in shown and "&lt;script&gt;" in shown


def opened(page: Path, profile: Path) -> str:
    """The document as a browser has it once its scripts have run."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(
            f"THE PAGE WAS NOT OPENED: no browser in PATH ({', '.join(BROWSERS)}); install chromium"
            " to run this test"
        )
    flags = (*FLAGS, f"--user-data-dir={profile}", "--virtual-time-budget=60000")
    command = [browser, *flags, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.timeout(600)
def test_a_browser_shows_every_picture_and_loads_every_sound(html: Path, tmp_path: Path) -> None:
    document = opened(html, tmp_path / "profile")
    shown = Elements(document)
    [root] = shown.all("html")
    pictures, sounds = len(shown.all("img")), len(shown.all("audio"))
    assert (root["data-pictures"], root["data-sounds"]) == (str(pictures), str(sounds))
    assert root["data-loaded"] == "all" and pictures > 100 and sounds > 50
    assert re.search(r'id="loaded"[^>]*></p>', document)  # nothing to tell the reader


MEASURED = """<script>
  const cells = [...document.querySelectorAll(".grid td, .examples figure, .said, dd")];
  const root = parent.document.documentElement;
  root.dataset.wide = innerWidth + " " + document.documentElement.scrollWidth;
  const width = (cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return range.getBoundingClientRect().width;
  };
  root.dataset.over = cells.filter((cell) => width(cell) > cell.clientWidth + 1).length;
</script></body>"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overlaps_on_a_telephone_and_on_a_desk(
    html: Path, tmp_path: Path, width: int
) -> None:
    """The page is no wider than its window, and no text leaves its cell. It stands in a frame,
    because a browser's own window may be no narrower than 500 pixels."""
    framed = html.read_text(encoding="utf-8").replace("</body>", MEASURED)
    page = tmp_path / "page.html"
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><iframe width="{width}" height="900" frameborder="0"'
        f' scrolling="no" srcdoc="{escape(framed)}"></iframe>',
        encoding="utf-8",
    )
    [root] = Elements(opened(page, tmp_path / "profile")).all("html")
    assert root["data-wide"] == f"{width} {width}" and root["data-over"] == "0"
