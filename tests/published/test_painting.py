"""Lumina-DiMOO's inpainting and outpainting: the rectangle to the pixel and to the code, and a
picture that is drawn again in part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import nextomni_edge
from nextomni_edge.api.settings import Request
from nextomni_edge.api.step import Generation
from nextomni_edge.errors import UsageError
from nextomni_edge.generate.steps import run_through
from nextomni_edge.media.painting import covered, middle
from nextomni_edge.tokens.chat import Part, Turn
from tests.calls import Invoke, refused
from tests.published.goldens import arrays
from tests.published.models import imported

# its program's arguments: (of the width, of the height)
RECORDED = {"inpainting": (0.5, 0.5), "outpainting": (0.4, 1.0)}
GREY = 127


@pytest.mark.parametrize("name", RECORDED)
def test_the_part_that_is_drawn_again_is_as_recorded(name: str) -> None:
    """In the recorded picture that part is grey. Its program paints an inpainting's grey one row
    and one column too far; the codes that it masks are those of the rectangle."""
    golden = arrays("lumina_dimoo")
    picture = golden["paint.image"]
    height, width = picture.shape[:2]
    box, further = middle((width, height), RECORDED[name]), name == "inpainting"
    inside = np.zeros((height, width), np.bool_)
    inside[box.top : box.bottom + further, box.left : box.right + further] = True
    grey = np.where((inside if further else ~inside)[..., None], np.uint8(GREY), picture)
    np.testing.assert_array_equal(grey, golden[f"paint.{name}.vis"])
    tokens = golden[f"paint.{name}.tokens"]
    masked = tokens.reshape(4, 7)[:, :6] == 316  # a newline behind each row
    found = covered(box, (width, height), (4, 6))
    np.testing.assert_array_equal(found if further else ~found, masked)


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.tuples(st.integers(1, 100), st.integers(1, 100)),
)
def test_a_rectangle_stands_in_the_middle(size: tuple[int, int], percent: tuple[int, int]) -> None:
    box = middle(size, (percent[0] / 100, percent[1] / 100))
    for low, high, side in ((box.left, box.right, size[0]), (box.top, box.bottom, size[1])):
        assert 0 <= low <= high <= side
        assert 0 <= (side - high) - low <= 1
    assert covered(middle(size, (1.0, 1.0)), size, (1, 1)).all()


@pytest.mark.parametrize("name", ["inpaint", "outpaint"])
def test_what_is_kept_of_a_picture_stays(name: str) -> None:
    model = nextomni_edge.load(imported("lumina_dimoo"))
    codes = np.random.default_rng(0).integers(0, 64, (4, 6, 1))
    turns = [Turn("user", (Part("image", codes), Part("text", "a red house")))]
    request = Request.of("image", {name: (0.5, 0.5), "steps": 4})
    generation = Generation(model.edge, [turns], request)
    (whole,) = run_through(generation.records(), None)
    drawn = np.concatenate([whole.segments[at].tokens for at in whole.generated()])
    drawn = drawn.reshape(codes.shape)
    inside = np.zeros((4, 6), np.bool_)
    inside[1:3, 2:4] = True
    kept = ~inside if name == "inpaint" else inside
    np.testing.assert_array_equal(drawn[kept], codes[kept])
    assert (drawn[~kept] < 64).all() and (drawn[~kept] != codes[~kept]).any()
    given = [part for part in whole.segments if part.modality == "image" and part.frozen]
    assert not given  # the picture stands in the answer only


def test_a_picture_is_drawn_again_from_the_command_line(invoke: Invoke, tmp_path: Path) -> None:
    source, out = tmp_path / "a.png", tmp_path / "b.png"
    pixels = np.random.default_rng(0).integers(0, 256, (32, 96, 3), np.uint8)
    Image.fromarray(pixels).save(source)
    asked = ("run", imported("lumina_dimoo"), "--image", source, "--text", "a house", "-o", out)
    result = invoke(*asked, "--inpaint", "0.4x1", "--steps", 4)
    assert result.exit_code == 0, result.output
    assert Image.open(out).size[0] > Image.open(out).size[1]


@pytest.mark.parametrize(
    ("family", "options", "sentence"),
    [
        ("lumina_dimoo", ("--inpaint", "half"), "--inpaint 'half': expected shares of the width"),
        ("lumina_dimoo", ("--inpaint", "0x1"), "expected two shares of the sides, over 0"),
        ("lumina_dimoo", ("--inpaint", "0.1x0.1"), "inpaint 0.1x0.1: 0 of the picture's"),
        ("lumina_dimoo", ("--outpaint", "1x1"), "outpaint 1x1: 0 of the picture's"),
        (
            "lumina_dimoo", ("--inpaint", "1x1", "--outpaint", "1x1"),
            "inpaint and outpaint do not go together",
        ),
        ("lumina_dimoo", ("--inpaint", "1x1", "--edit", "view"), "inpaint and edit do not go"),
        ("mmada", ("--inpaint", "0.5x0.5"), "inpaint: only Lumina-DiMOO draws a picture again"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_again_is_one_sentence(
    invoke: Invoke, tmp_path: Path, family: str, options: tuple[str, ...], sentence: str
) -> None:
    source = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(source)
    asked = ("run", imported(family), "--image", source, "--text", "a house", "--to", "image")
    refused(invoke(*asked, "-o", tmp_path / "b.png", *options), 2, sentence)


def test_one_picture_is_drawn_again() -> None:
    model = nextomni_edge.load(imported("lumina_dimoo"))
    with pytest.raises(UsageError, match=r"^inpaint: 0 pictures, expected one picture and a text$"):
        model.generate("a house", to="image", inpaint=(0.5, 0.5))
