"""The demo page, made by the demo's own code over a small random model, taken apart here and opened
in a real browser.

The browser is whatever Chromium the PATH has. Where there is none, that one test says so in the
summary instead of passing: install `chromium` (or Chrome) to run it. Everything else needs no
browser.
"""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import soundfile
from PIL import Image
from rich.console import Console

EMOJI = Path(__file__).resolve().parents[2] / "examples" / "emoji"
sys.path.insert(0, str(EMOJI))

import demo  # noqa: E402

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)
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


def test_text_from_the_model_cannot_become_markup() -> None:
    shown = demo.page.shown(demo.page.Shown("text", "<script>alert(1)</script>"))
    assert "<script" not in shown and "&lt;script&gt;" in shown


@pytest.mark.timeout(600)
def test_a_browser_shows_every_picture_and_loads_every_sound(html: Path, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(
            f"THE PAGE WAS NOT OPENED: no browser in PATH ({', '.join(BROWSERS)}); install chromium"
            " to run this test"
        )
    flags = (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=60000")
    command = [browser, *flags, "--dump-dom", html.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    shown = Elements(done.stdout)
    assert done.returncode == 0, done.stderr[-2000:]
    [root] = shown.all("html")
    found = re.search(r'id="loaded"[^>]*>([^<]*)<', done.stdout)
    pictures, sounds = len(shown.all("img")), len(shown.all("audio"))
    assert (
        found
        and found[1]
        == f"{pictures} of {pictures} pictures and {sounds} of {sounds} sounds decoded."
    )
    assert root["data-loaded"] == "all"
    assert pictures > 100 and sounds > 50
