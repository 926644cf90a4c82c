"""The demo's recipe as a person runs it, on a folder of two concepts: stages in order, in pieces,
and never on other weights."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

EMOJI = Path(__file__).resolve().parents[2] / "examples" / "emoji"
sys.path.insert(0, str(EMOJI))

from augment import (  # noqa: E402
    COLOURS,
    RESTYLED,
    another_speaker,
    coloured,
    misheard,
    restyled,
)
from catalog import DataError, load_concepts  # noqa: E402
from prompts import (  # noqa: E402
    LEAD_TOKENS,
    LISTING_TOKENS,
    PAGE_TOKENS,
    listing,
    page,
)
from recipe import Recipe  # noqa: E402
from shares import SHARES  # noqa: E402
from tasks import named  # noqa: E402

from nextomni_edge.checkpoints.directory import Checkpoint  # noqa: E402
from nextomni_edge.tokens.chat import Part, text_response  # noqa: E402
from nextomni_edge.tokens.sequence import Sequence  # noqa: E402
from tests.examples.two_concepts import two_concepts  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_concepts(tmp_path_factory.mktemp("data"))


def train(data: Path, out: Path, *arguments: object) -> tuple[int, str, str]:
    command = [
        sys.executable,
        EMOJI / "train.py",
        "--data",
        data,
        "--out",
        out,
        "--batch-size",
        2,
        *arguments,
    ]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=250, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    code, told, errors = train(data, out, "--steps", 2, "--minutes", 1e-9)
    assert code == 0 and "image: 0 of 2 steps; run the same command again to go on" in told, errors
    assert not (out / "audio").exists(), "no stage is begun while the one before it is not finished"
    code, _, errors = train(data, out, "--steps", 2)
    assert code == 0, errors
    return out


def test_every_stage_is_run_and_leaves_a_model(trained: Path) -> None:
    model = Checkpoint.open(trained / "directions" / "model")
    before = Checkpoint.open(trained / "flow" / "model")
    assert (model.tensor("metric_tables.audio") == before.tensor("metric_tables.audio")).all()
    assert any(
        (model.tensor(name) != before.tensor(name)).any()
        for name in model.names()
        if name.startswith("backbone.")
    )


def test_the_last_stage_moves_decoders_and_no_code(trained: Path) -> None:
    before = Checkpoint.open(trained / "directions" / "model")
    after = Checkpoint.open(trained / "decoders" / "model")
    moved = {
        name.split(".")[0]
        for name in after.names()
        if (after.tensor(name) != before.tensor(name)).any()
    }
    assert moved == {"image_decoder", "audio_decoder"}


def test_a_stage_needs_what_comes_before_it(data: Path, tmp_path: Path) -> None:
    code, _, errors = train(data, tmp_path, "--stage", "flow")
    weights = tmp_path / "image" / "weights.safetensors"
    assert (code, errors) == (
        3,
        f"error: {weights} is missing: finish --stage image first, or give --init MODEL\n",
    )


def test_a_state_goes_on_with_the_weights_it_began_from_alone(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(trained, tmp_path / "run")
    warm = out / "image" / "weights.safetensors"
    tensors = load_file(warm)
    name = min(tensors)
    save_file(tensors | {name: tensors[name] + 1}, warm)
    code, _, errors = train(data, out, "--stage", "flow", "--steps", 3)
    assert code == 3 and errors.startswith(
        f"error: {out / 'flow'}: its state began from other weights than {warm} and "
    ), errors


def test_a_stage_may_begin_from_a_model(data: Path, trained: Path, tmp_path: Path) -> None:
    model = trained / "flow" / "model"
    code, _, errors = train(
        data, tmp_path / "a", "--stage", "speech", "--init", model, "--steps", 1
    )
    assert code == 0 and (tmp_path / "a" / "speech" / "model" / "model.safetensors").exists(), (
        errors
    )
    code, _, errors = train(data, tmp_path / "b", "--stage", "image", "--init", model)
    assert (code, errors) == (
        2,
        (
            "error: --init goes with one stage after the warm-ups: --stage flow, speech, crossing,"
            " directions, decoders, text\n"
        ),
    )


def test_text_is_learnt_by_a_new_backbone_in_either_way(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    source = Checkpoint.open(trained / "directions" / "model")
    for objective, attention in (("flow", "prefix"), ("ar", "causal")):
        out = tmp_path / objective
        options = (
            "--stage",
            "text",
            "--objective",
            objective,
            "--init",
            source.path,
            "--steps",
            1,
            "--new-backbone",
        )
        code, _, errors = train(data, out, *options)
        assert code == 0, errors
        model = Checkpoint.open(out / "text" / "model")
        assert model.config.backbone.attention == attention and model.config.text.max_blocks == 32
        for name in model.names():
            kept = any(part in name for part in ("encoder", "decoder", "codebook", "metric_tables"))
            assert not kept or (model.tensor(name) == source.tensor(name)).all(), (
                f"{name} was trained"
            )
    code, _, errors = train(data, tmp_path / "c", "--objective", "ar", "--stage", "flow")
    assert (code, errors) == (
        2,
        "error: --objective ar and --new-backbone are for text alone: they go with --stage text\n",
    )


LONG = {"image_to_listing": (listing, LISTING_TOKENS), "image_to_page": (page, PAGE_TOKENS)}


def written(recipe: Recipe, steps: int) -> list[tuple[str, Sequence, int]]:
    """Task, sequence and the drawing that it shows, of the long texts in so many steps."""
    image, shown, found = recipe.config.image, list[int](), []
    recipe.tasks.pixels = lambda drawing, rng=None: shown.extend(drawing)  # type: ignore[method-assign, assignment, misc]
    recipe.tasks.shown = recipe.tasks.pixels  # type: ignore[method-assign, assignment]
    for step in range(steps):
        shown.clear()
        draw = recipe.tasks.draw("text", step)
        codes = np.zeros((len(shown), image.positions, image.codebook.codebooks), np.int64)
        (sequences,) = draw.build(codes, codes)
        found += [
            (draw.task, *pair) for pair in zip(sequences, shown, strict=True) if draw.task in LONG
        ]
    return found


@pytest.mark.parametrize("causal", [False, True], ids=["flow", "twin"])
def test_a_flow_learns_long_texts_in_two_parts_and_its_twin_whole(
    data: Path, tmp_path: Path, causal: bool
) -> None:
    """What a picture shows may be of another thing where the first part is given, and there alone;
    its artist is the text's."""
    recipe = Recipe(data, tmp_path, 8, stage="text", causal=causal)
    known, emoji = {concept.name: concept for concept in load_concepts()}, recipe.emoji
    others: dict[str, list[bool]] = {}
    for task, sequence, drawing in written(recipe, 60):
        write, length = LONG[task]
        (last,) = sequence.generated()
        given = (
            None
            if causal or len(sequence.segments[last]) == LEAD_TOKENS
            else sequence.segments[last - 1]
        )
        tokens = np.concatenate([given.tokens if given else [], sequence.segments[last].tokens])
        artist = emoji.artists[emoji.drawing_artist[drawing]]
        answers = [
            text_response(recipe.tokenizer, write(known[name], artist), length)
            for name in emoji.concepts
        ]
        right = [
            len(tokens) in (LEAD_TOKENS, length) and np.array_equal(answer[: len(tokens)], tokens)
            for answer in answers
        ]
        assert any(right), recipe.tokenizer.decode(tokens.astype(np.int64))
        part = "rest" if given else "lead" if len(tokens) == LEAD_TOKENS else "whole"
        others.setdefault(part, []).append(not right[emoji.drawing_concept[drawing]])
    assert others.keys() == ({"whole"} if causal else {"lead", "rest"})
    assert not any(others["whole" if causal else "lead"])
    assert causal or 0.1 < np.mean(others["rest"]) < 0.5


def test_every_task_has_a_share_of_every_stage() -> None:
    for stage, shares in SHARES.items():
        assert stage == "text" or shares.keys() >= SHARES["flow"].keys()
        assert sum(shares.values()) == pytest.approx(1.0)


def test_another_speaker_is_the_same_word_at_other_formants() -> None:
    rng, quiet = np.random.default_rng(0), -2.0
    mels = np.full((4, 3, 2, 80), quiet, np.float32)
    mels[..., 30] = 0.0
    assert np.array_equal(another_speaker(mels, rng, tract=(1, 1), colour=0), mels)
    moved = another_speaker(mels, rng, tract=(1.2, 1.2), colour=0)
    assert (moved.argmax(-1) == 25).all()
    coloured = another_speaker(mels, rng, tract=(1, 1), colour=0.3)
    assert coloured.dtype == np.float32 and coloured.shape == mels.shape
    assert np.array_equal(coloured[..., :30], mels[..., :30]) and np.ptp(coloured[..., 30]) > 0, (
        "silence stays silent"
    )


def test_another_artist_keeps_the_shape_and_draws_all_frames_alike() -> None:
    rng = np.random.default_rng(0)
    drawn = np.ones((256, 1, 3, 16, 16), np.float32)
    drawn[:, :, :, 4:12, 4:12] = np.asarray((0.9, 0.3, 0.1), np.float32)[:, None, None]
    films = restyled(drawn.repeat(3, axis=1), rng)
    assert films.dtype == np.float32 and films.min() >= 0 and films.max() <= 1
    assert (films == films[:, :1]).all(), "the same drawing in three frames stays the same"
    changed = np.abs(films - drawn).max(axis=(1, 2, 3, 4)) > 1e-6
    assert 0.4 < changed.mean() < RESTYLED, "not every change of a drawing shows"
    differs = np.abs(films[:, 0, :, 7, 7] - films[:, 0, :, 0, 0]).max(axis=1)
    lined = np.abs(films[:, 0, :, 4, 7] - films[:, 0, :, 0, 0]).max(axis=1)
    assert (np.maximum(differs, lined) > 0.02).mean() > 0.99, "the drawing is still to be seen"


@given(st.sampled_from(sorted(COLOURS)), st.integers(0, 2**32 - 1))
def test_a_colour_turns_black_into_itself_and_leaves_white(colour: str, seed: int) -> None:
    pictures = np.random.default_rng(seed).random((2, 3, 4, 4), np.float32)
    pictures[0, :, 0, 0], pictures[0, :, 1, 1] = 0.0, 1.0
    tinted = coloured(pictures, colour)
    assert tinted[0, :, 0, 0] == pytest.approx(COLOURS[colour], abs=1e-6)
    assert tinted[0, :, 1, 1] == pytest.approx(1.0, abs=1e-6)
    ink = (1 - tinted) / (1 - np.asarray(COLOURS[colour], np.float32)[:, None, None])
    assert np.ptp(ink, axis=1).max() < 1e-5, "one lightness decides all three channels"


def test_a_colour_that_is_none_is_named() -> None:
    with pytest.raises(DataError, match="unknown colour 'mauve'; there are: red, blue, green"):
        coloured(np.zeros((1, 3, 4, 4), np.float32), "mauve")


def test_a_quarter_of_the_conditions_is_written_instead() -> None:
    parts = [Part("audio", np.zeros((2, 4), np.int64))] * 2000
    found = named(parts, ["cat"] * 2000, np.random.default_rng(0))
    written = [part.value == "cat" for part in found if part.kind == "text"]
    assert all(written) and 0.2 < len(written) / 2000 < 0.3


def test_misheard_codes_are_of_the_codebook_and_seldom_wrong() -> None:
    codes = np.full((400, 16, 4), 5)
    heard = misheard(codes, 64, np.random.default_rng(0), most=0.2)
    wrong = (heard != codes).mean(axis=(1, 2))
    assert heard.min() >= 0 and heard.max() == 63 and 0.08 < wrong.mean() < 0.12
    assert wrong.min() < 0.03 and wrong.max() > 0.12, "every sample has a share of its own"
