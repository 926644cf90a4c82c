"""The emoji data: its committed description, and the data set on a tiny generated folder. Needs no
download and no program."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from safetensors.numpy import save_file

EMOJI = Path(__file__).resolve().parents[2] / "examples" / "emoji"
sys.path.insert(0, str(EMOJI))

import catalog  # noqa: E402
import dataset  # noqa: E402
import heldout  # noqa: E402
import samples  # noqa: E402
import speech as speech_tools  # noqa: E402
import unmet  # noqa: E402
from dataset import Augmentation, Emoji  # noqa: E402
from poses import MOTIONS  # noqa: E402

STILL = Augmentation(
    shift=0,
    scale=(1, 1),
    rotation=0,
    brightness=0,
    colour=0,
    flip=0,
    gain=(1, 1),
    delay=0,
    pace=(1, 1),
    noise=0,
)


def drawings() -> dict[str, np.ndarray]:
    """Six coloured boxes off the middle, by three artists of two concepts: uint8 (6,64,64,4)."""
    rgba = np.zeros((6, 64, 64, 4), np.uint8)
    for row in range(6):
        rgba[row, 20:44, 12:40] = (40 * row, 200 - 30 * row, 90, 255)
        rgba[row, 18:20, 12:40] = (200, 30, 30, 128)
    return {
        "rgba": rgba,
        "concept": np.array([0, 0, 0, 1, 1, 1], np.int64),
        "artist": np.array([0, 1, 2, 0, 1, 2], np.int64),
        "heldout": np.array([0, 0, 1, 0, 1, 0], np.uint8),
    }


def speech() -> dict[str, np.ndarray]:
    """Four tones of different lengths: int16 (4,20480)."""
    waves = np.zeros((4, dataset.SAMPLES), np.int16)
    for row, length in enumerate((6000, 12_000, 19_000, dataset.SAMPLES - dataset.LEAD)):
        tone = np.sin(np.arange(length) * 0.1 * (row + 1)) * 29_000
        waves[row, dataset.LEAD : dataset.LEAD + length] = tone
        waves[row, dataset.LEAD + length - 1] = 9000
    return {
        "waveform": waves,
        "concept": np.array([0, 1, 0, 1], np.int64),
        "voice": np.array([0, 0, 1, 1], np.int64),
        "heldout": np.array([0, 0, 1, 1], np.uint8),
    }


def write(folder: Path, pictures: dict[str, np.ndarray], sounds: dict[str, np.ndarray]) -> Path:
    concepts = json.dumps(["box", "tone"])
    save_file(
        pictures,
        folder / "drawings.safetensors",
        {"artists": json.dumps(["a", "b", "c"]), "concepts": concepts},
    )
    save_file(
        sounds,
        folder / "speech.safetensors",
        {"voices": json.dumps(["x", "y"]), "concepts": concepts},
    )
    return folder


@pytest.fixture(scope="module")
def emoji(tmp_path_factory: pytest.TempPathFactory) -> Emoji:
    return Emoji.load(write(tmp_path_factory.mktemp("emoji"), drawings(), speech()))


def test_concepts_are_64_with_unique_names_and_at_least_six_artists() -> None:
    concepts = catalog.load_concepts()
    assert len(concepts) == 64
    assert len({concept.name for concept in concepts}) == 64
    assert all(len(concept.icons) >= 6 for concept in concepts)
    assert all(re.fullmatch(r"[a-z]+( [a-z]+)?", concept.name) for concept in concepts)
    assert all(2 <= len(concept.tags) <= 4 for concept in concepts)


def test_split_holds_out_one_artist_family_per_concept_in_equal_shares() -> None:
    concepts = catalog.load_concepts()
    split = catalog.load_split(concepts)
    families = Counter(split.artists[concept.codepoint] for concept in concepts)
    assert set(families) <= set(catalog.FAMILIES)
    assert max(families.values()) - min(families.values()) <= 1
    assert len(families) == len(catalog.FAMILIES)


def test_split_of_half_a_fluent_pair_is_refused(tmp_path: Path) -> None:
    concepts = catalog.load_concepts()
    raw = json.loads((EMOJI / "split.json").read_text())
    raw["artists"][concepts[0].codepoint] = ["fluent-emoji"]
    (tmp_path / "split.json").write_text(json.dumps(raw))
    with pytest.raises(
        catalog.DataError,
        match=r"panda must hold out one whole artist family, not \['fluent-emoji'\]",
    ):
        catalog.load_split(concepts, tmp_path / "split.json")


def test_name_used_twice_is_refused(tmp_path: Path) -> None:
    rows = json.loads((EMOJI / "concepts.json").read_text())
    rows[1]["name"] = rows[0]["name"]
    (tmp_path / "concepts.json").write_text(json.dumps(rows))
    with pytest.raises(catalog.DataError, match="name used twice: panda"):
        catalog.load_concepts(tmp_path / "concepts.json")


def test_package_json_pins_exact_versions_and_every_artist() -> None:
    packages = json.loads((EMOJI / "package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in packages.values())
    assert {f"@iconify-json/{artist}" for artist in catalog.ARTISTS} <= set(packages)
    assert not (EMOJI / "package-lock.json").exists()


def test_notice_names_every_artist_with_its_version_and_licence() -> None:
    packages = json.loads((EMOJI / "package.json").read_text())["dependencies"]
    rows = [
        line for line in (EMOJI / "NOTICE.md").read_text().splitlines() if line.startswith("| ")
    ]
    for artist in (*catalog.ARTISTS, unmet.ARTIST):
        row = next(line for line in rows if line.startswith(f"| {artist} |"))
        assert f"| {packages[f'@iconify-json/{artist}']} |" in row
        assert f"| {catalog.LICENCES[artist]} |" in row


def test_heldout_inputs_are_complete_small_and_of_the_split() -> None:
    concepts = catalog.load_concepts()
    split = catalog.load_split(concepts)
    folder = EMOJI / "heldout"
    index = json.loads((folder / "index.json").read_text())
    counted = Counter((entry["kind"], entry["concept"]) for entry in index)
    for concept in concepts:
        assert counted["image", concept.name] == len(split.artists[concept.codepoint])
        assert counted["audio", concept.name] == len(speech_tools.FLITE_PACES)
    assert {path.name for path in folder.iterdir()} == {entry["file"] for entry in index} | {
        "index.json",
        "prompts.jsonl",
    }
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3_000_000
    held = {concept.name: split.artists[concept.codepoint] for concept in concepts}
    for entry in index:
        if entry["kind"] == "image":
            assert entry["artist"] in held[entry["concept"]]
            with Image.open(folder / entry["file"]) as image:
                assert (image.size, image.mode) == ((64, 64), "RGBA")
        else:
            assert entry["voice"] == split.voice
            info = soundfile.info(folder / entry["file"])
            assert (info.samplerate, info.channels, info.frames) == (16_000, 1, 20_480)


def test_unmet_inputs_are_complete_small_and_by_makers_that_training_never_met() -> None:
    folder, names = EMOJI / "unmet", [concept.name for concept in catalog.load_concepts()]
    index = json.loads((folder / "index.json").read_text())
    for kind in ("image", "audio"):
        assert [entry["concept"] for entry in index if entry["kind"] == kind] == names
    makers = {entry.get("artist", entry.get("voice")) for entry in index}
    assert makers == {unmet.ARTIST, speech_tools.UNMET_VOICE.name}
    assert not makers & {*catalog.ARTISTS, *(voice.name for voice in speech_tools.VOICES)}
    engines = {voice.engine for voice in speech_tools.VOICES}
    assert speech_tools.UNMET_VOICE.engine not in engines
    files = {entry["file"] for entry in index} | {"index.json"}
    assert {path.name for path in folder.iterdir()} == files
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_500_000
    emoji = samples.unmet()
    assert len(emoji.drawings(heldout=True)) == len(emoji.clips_of(heldout=True)) == 64


def test_a_concept_that_the_unmet_artist_lacks_is_named() -> None:
    concept = catalog.load_concepts()[0]
    with pytest.raises(catalog.DataError, match="openmoji has no drawing of panda"):
        unmet.icon_of(concept, {"frog"})


@pytest.mark.parametrize("motion", MOTIONS)
def test_an_augmented_film_without_augmentation_is_the_film(emoji: Emoji, motion: str) -> None:
    rng = np.random.default_rng(0)
    plain = emoji.motion([0, 3], motion, 4)
    moved = emoji.moving([0, 3], motion, rng, 4, knobs=STILL)
    assert moved.shape == plain.shape and moved.dtype == np.float32
    # one look-up a pixel against a supersampled one: they differ at edges only
    assert np.abs(moved - plain).mean() < 0.02
    others = [kind for kind in MOTIONS if kind != motion]
    error = {kind: np.abs(moved - emoji.motion([0, 3], kind, 4)).mean() for kind in others}
    assert min(error.values()) > np.abs(moved - plain).mean()


def test_stale_heldout_files_go_and_strangers_stay(tmp_path: Path) -> None:
    for name in ("old.png", "kept.png", "stranger.txt"):
        (tmp_path / name).touch()
    (tmp_path / "index.json").write_text(json.dumps([{"file": "old.png"}, {"file": "kept.png"}]))
    heldout.remove_stale(tmp_path, {"kept.png"})
    assert {path.name for path in tmp_path.iterdir()} == {"kept.png", "stranger.txt", "index.json"}


def test_canonical_picture_is_the_box_filtered_drawing_on_white(emoji: Emoji) -> None:
    rgba = drawings()["rgba"][3].astype(np.float64) / 255
    white = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    expected = white.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(emoji.picture(3), expected, atol=1e-6)
    assert emoji.picture(3, size=64).shape == (3, 64, 64)


def test_augmentation_with_all_knobs_off_is_the_canonical_sample(emoji: Emoji) -> None:
    rows = np.arange(4)
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(
        emoji.pictures(rows, rng, knobs=STILL), emoji.pictures(rows), atol=1e-5
    )
    np.testing.assert_allclose(emoji.clips(rows, rng, knobs=STILL), emoji.clips(rows), atol=1e-5)


def test_augmented_batches_have_their_shape_range_and_one_value_per_seed(emoji: Emoji) -> None:
    rows = np.array([0, 5, 5, 2])
    pictures = emoji.pictures(rows, np.random.default_rng(7))
    assert (pictures.shape, pictures.dtype) == ((4, 3, 32, 32), np.float32)
    assert pictures.min() >= 0 and pictures.max() <= 1
    np.testing.assert_array_equal(pictures, emoji.pictures(rows, np.random.default_rng(7)))
    assert not np.array_equal(pictures[1], pictures[2])
    clips = emoji.clips(rows[[0, 3]], np.random.default_rng(7))
    assert (clips.shape, clips.dtype) == ((2, 20_480), np.float32)
    assert np.abs(clips).max() <= 1
    np.testing.assert_array_equal(clips, emoji.clips(rows[[0, 3]], np.random.default_rng(7)))


def test_white_ground_stays_white_under_augmentation(emoji: Emoji) -> None:
    pictures = emoji.pictures(np.zeros(32, np.int64), np.random.default_rng(1))
    assert (pictures[:, :, 0, -1] == 1).all()


def test_turning_a_drawing_moves_it_clockwise(emoji: Emoji) -> None:
    start, quarter = 1 - emoji.motion([0], "spinning")[0, :2].mean(axis=1)
    # The box lies left of the middle (and half way up); a quarter turn clockwise brings it above.
    assert start[:, :16].sum() > start[:, 16:].sum()
    assert quarter[:16].sum() > quarter[16:].sum()
    np.testing.assert_allclose(quarter, np.rot90(start, -1), atol=1e-5)


@pytest.mark.parametrize("kind", MOTIONS)
@pytest.mark.parametrize("frames", [4, 8])
def test_motions_hold_the_plain_drawing_and_move(emoji: Emoji, kind: str, frames: int) -> None:
    rows = np.array([1, 4])
    video = emoji.motion(rows, kind, frames)
    assert (video.shape, video.dtype) == ((2, frames, 3, 32, 32), np.float32)
    assert video.min() >= 0 and video.max() <= 1
    plain = video[:, -1 if kind == "growing" else 0]
    np.testing.assert_allclose(plain, emoji.pictures(rows), atol=1e-5)
    # The box of the test stands left of the middle, so that the last frames of "sliding left" may
    # be empty.
    assert all(
        np.abs(video[:, f] - video[:, f - 1]).max() > 0.1 for f in range(1, frames - frames // 4)
    )


def test_slide_of_four_frames_moves_by_whole_patches(emoji: Emoji) -> None:
    video = emoji.motion([0], "sliding right")[0]
    for frame in range(4):
        np.testing.assert_allclose(
            video[frame, :, :, 8 * frame :], video[0, :, :, : 32 - 8 * frame], atol=1e-5
        )


def test_scaled_changes_the_inked_area_by_the_square_of_the_factor(emoji: Emoji) -> None:
    ink = [float((1 - emoji.scaled([2], factor)).sum()) for factor in (0.5, 1.0, 1.3)]
    assert ink[0] / ink[1] == pytest.approx(0.25, rel=0.02)
    assert ink[2] / ink[1] == pytest.approx(1.69, rel=0.02)
    np.testing.assert_allclose(emoji.scaled([2], 1.0), emoji.pictures([2]), atol=1e-5)


def test_augmented_speech_keeps_the_end_of_long_words(tmp_path: Path) -> None:
    sounds = speech()
    sounds["waveform"][:, -400:-1] = 0  # the word's last sample, a mark of its own behind silence
    emoji = Emoji.load(write(tmp_path, drawings(), sounds))
    for seed in range(20):
        clip = emoji.clips([3], np.random.default_rng(seed), Augmentation(noise=0, gain=(1, 1)))[0]
        loud = np.flatnonzero(np.abs(clip) > 0.05)
        assert loud[-1] - loud[-4] > 250


def test_placed_word_is_trimmed_behind_its_lead_and_levelled() -> None:
    rng = np.random.default_rng(0)
    wave = np.concatenate([np.zeros(3000), rng.uniform(-0.2, 0.2, 8000), np.zeros(5000)]).astype(
        np.float32
    )
    word = speech_tools.trim(wave)
    assert 8000 <= len(word) <= 8000 + 3 * 160 + 480
    clip = speech_tools.place(word)
    assert (clip.shape, clip.dtype) == ((20_480,), np.int16)
    assert (clip[: dataset.LEAD] == 0).all() and (clip[dataset.LEAD + len(word) :] == 0).all()
    assert int(np.abs(clip).max()) == pytest.approx(0.9 * 32_767, abs=2)


def test_voices_have_unique_names_and_the_heldout_one_is_among_them() -> None:
    names = [voice.name for voice in speech_tools.VOICES]
    assert len(set(names)) == len(names)
    assert catalog.load_split(catalog.load_concepts()).voice in names


def test_rows_are_split_by_their_heldout_mark(emoji: Emoji) -> None:
    assert emoji.drawings().tolist() == [0, 1, 3, 5]
    assert emoji.drawings(heldout=True).tolist() == [2, 4]
    assert emoji.drawings(1).tolist() == [3, 5]
    assert emoji.clips_of(0).tolist() == [0]
    assert emoji.clips_of(heldout=True).tolist() == [2, 3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda emoji: emoji.motion([0], "dancing"),
            "unknown motion 'dancing'; there are: spinning, growing",
        ),
        (lambda emoji: emoji.motion([0], "spinning", 9), "a motion has 1 to 8 frames, not 9"),
        (lambda emoji: emoji.picture(0, size=33), "a picture's size must divide 64, not 33"),
        (lambda emoji: emoji.scaled([0], 0), "a scale factor lies between 0.1 and 10, not 0"),
    ],
)
def test_impossible_requests_are_told_in_one_line(emoji: Emoji, call: object, message: str) -> None:
    with pytest.raises(catalog.DataError, match=re.escape(message)):
        call(emoji)  # type: ignore[operator]


def test_missing_and_broken_data_files_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        catalog.DataError, match=r"drawings\.safetensors is missing; make it with prepare\.py"
    ):
        Emoji.load(tmp_path)
    bad = drawings()
    bad["concept"] = bad["concept"] + 1
    with pytest.raises(catalog.DataError, match="concept has numbers outside its list of 2 names"):
        Emoji.load(write(tmp_path, bad, speech()))
    bad = drawings()
    bad["rgba"] = bad["rgba"][:, :32].copy()
    with pytest.raises(
        catalog.DataError, match=r"rgba is uint8 \(6, 32, 64, 4\), not uint8 \(6, 64, 64, 4\)"
    ):
        Emoji.load(write(tmp_path, bad, speech()))
    (tmp_path / "drawings.safetensors").write_bytes(b"no header")
    with pytest.raises(catalog.DataError, match=r"is not a data file of prepare\.py"):
        Emoji.load(tmp_path)
