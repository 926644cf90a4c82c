"""A model as a program uses it: any prompt, any answer, one or many, alone or next to others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

import nextomni_edge as ne
from nextomni_edge.api.prompt import batch_of
from nextomni_edge.errors import InputError, MissingRuntimeError, UsageError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.steps import StoppedError
from nextomni_edge.media.parts import Lengths
from nextomni_edge.runtimes.base import NonFiniteError
from nextomni_edge.tokens.audio import heard, max_samples
from nextomni_edge.tokens.chat import Kind

KINDS: tuple[Kind, ...] = ("text", "image", "audio", "video")
LENGTH: dict[Kind, dict[str, Any]] = {
    "text": {}, "image": {}, "audio": {"seconds": 0.2}, "video": {"frames": 2},
}  # fmt: skip
PICTURE = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
TONE = np.sin(np.arange(4000, dtype=np.float32) / 9)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(PICTURE).save(folder / "a.png")
    soundfile.write(folder / "a.wav", TONE, 16000, subtype="FLOAT")
    frames = [Image.new("L", (16, 16), level) for level in (0, 128, 255)]
    frames[0].save(folder / "a.gif", save_all=True, append_images=frames[1:])
    (folder / "a.txt").write_text("a cat", encoding="utf-8")
    return folder


def test_a_model_says_what_it_is(model: ne.Model, tiny_bundle: Path) -> None:
    assert repr(model) == f"<Model {tiny_bundle}: text, image, audio>"
    assert len(model.identity) == 64 and model.config.text.block_size == 4


@pytest.mark.parametrize("kind", KINDS)
def test_every_modality_is_answered_and_saved(model: ne.Model, tmp_path: Path, kind: Kind) -> None:
    answer = model.generate("a red rocket", to=kind, seed=3, **LENGTH[kind])
    assert answer.modality == kind
    for suffix in {"text": (".txt", ".md"), "image": (".png", ".jpg"), "audio": (".wav", ".mp3"),
                   "video": (".gif", ".mp4", ".mov", ".webm")}[kind]:  # fmt: skip
        answer.save(str(tmp_path / f"a{suffix}"))
        assert (tmp_path / f"a{suffix}").read_bytes() == answer.encode(suffix)


def test_an_answer_is_had_as_what_it_is(model: ne.Model) -> None:
    assert isinstance(model.generate("a cat").text, str)
    picture = model.generate("a cat", to="image")
    assert picture.image.size == (16, 16) and picture.tokens.shape == (4, 3)
    samples, rate = model.generate("a cat", to="audio", seconds=0.2).audio
    assert samples.shape == (3 * 1280,) and rate == 16000 and samples.dtype == np.float32
    video = model.generate("a cat", to="video", frames=2)
    assert [frame.size for frame in video.frames] == [(16, 16)] * 2
    assert video.tokens.shape == (2, 4, 3)


@pytest.mark.parametrize("wrong", ["text", "audio", "frames"])
def test_asking_an_answer_for_another_modality_is_one_sentence(model: ne.Model, wrong: str) -> None:
    with pytest.raises(UsageError, match=r"^the answer is a picture, not a \w+; ask for it with"):
        getattr(model.generate("a cat", to="image", steps=1), wrong)


def test_the_seed_decides(model: ne.Model) -> None:
    one, same, other = (
        model.generate("a cat", to="image", seed=seed).tokens.tolist() for seed in (1, 1, 2)
    )
    assert one == same != other


@pytest.mark.parametrize("form", ["path", "pathlib", "pil", "array"])
def test_a_picture_may_come_in_any_form(model: ne.Model, files: Path, form: str) -> None:
    given: dict[str, Any] = {
        "path": ne.Image(str(files / "a.png")),
        "pathlib": files / "a.png",
        "pil": Image.fromarray(PICTURE),
        "array": ne.Image(PICTURE),
    }
    expected = model.generate(ne.Image(files / "a.png"), to="image", seed=5)
    assert model.generate(given[form], to="image", seed=5).tokens.tolist() == (
        expected.tokens.tolist()
    )


@pytest.mark.parametrize("form", ["path", "pair", "whole numbers", "channels"])
def test_a_sound_may_come_in_any_form(model: ne.Model, files: Path, form: str) -> None:
    soundfile.write(files / "whole.wav", np.round(TONE * 32767).astype(np.int16), 16000)
    given: dict[str, Any] = {
        "path": ne.Audio(files / "a.wav"),
        "pair": (TONE, 16000),
        "whole numbers": (np.round(TONE * 32767).astype(np.int16), 16000),
        "channels": ne.Audio(np.stack([TONE, TONE], axis=1), 16000),
    }
    same = files / ("whole.wav" if form == "whole numbers" else "a.wav")
    expected = model.generate(ne.Audio(same), to="image", seed=5)
    assert model.generate(given[form], to="image", seed=5).tokens.tolist() == (
        expected.tokens.tolist()
    )


def test_a_video_may_come_as_frames(model: ne.Model, files: Path) -> None:
    frames = [Image.new("L", (16, 16), level) for level in (0, 128, 255)]
    one, other = (
        model.generate(ne.Video(given), to="image", seed=5).tokens.tolist()
        for given in (files / "a.gif", frames)
    )
    assert one == other


def test_several_parts_are_one_prompt(model: ne.Model, files: Path) -> None:
    parts = (ne.Image(files / "a.png"), "what is this?")
    as_tuple, as_list = model.generate(parts), model.generate(list(parts))
    assert as_tuple.text == as_list.text
    turned = model.generate(parts[::-1], to="image", seed=1).tokens
    assert turned.tolist() != model.generate(parts, to="image", seed=1).tokens.tolist()


def test_each_prompt_of_a_batch_gets_the_answer_that_it_gets_alone(model: ne.Model) -> None:
    prompts = ["a red rocket", "a small green tree spinning", "a cat"]
    together = model.generate(prompts, to="image", seed=4)
    alone = [model.generate(prompt, to="image", seed=4) for prompt in prompts]
    assert [each.tokens.tolist() for each in together] == [each.tokens.tolist() for each in alone]


@pytest.mark.parametrize(
    ("given", "prompts"),
    [
        ("a", None),
        (("a", "b"), None),
        (["a", "b"], ["a", "b"]),
        (["a"], ["a"]),
        ([("a", "b"), "c"], [("a", "b"), "c"]),
        ([["a", "b"], ["c"]], [("a", "b"), ("c",)]),
        ([ne.Image("x.png"), "a"], None),
        ((TONE, 16000), None),
        ([(TONE, 16000), "a"], None),
    ],
)
def test_a_list_of_prompts_is_a_batch_and_a_tuple_is_one_prompt(given: Any, prompts: Any) -> None:
    assert batch_of(given) == prompts


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([], "an empty list"),
        ((), "an empty prompt"),
        (" ", "an empty text"),
        ([ne.Image("a.png"), ne.Image("b.png")], "may be one prompt or a batch: write a tuple"),
        (TONE, "an array is a sound as (samples, rate), a picture as Image(array)"),
        (7, "int in a prompt: expected a text, a path"),
        (ne.Audio(TONE), "give Audio(samples, rate)"),
        (ne.Audio("a.wav", 16000), "leave the rate out"),
    ],
)
def test_what_is_no_prompt_is_refused(model: ne.Model, given: Any, line: str) -> None:
    with pytest.raises(UsageError) as refused:
        model.generate(given)
    assert line in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (ne.Image("none.png"), "none.png: no such file"),
        (ne.Image(PICTURE.astype(np.float32)), "a picture of float32 (16, 16, 3): expected uint8"),
        (ne.Image(PICTURE[:0]), "a picture of uint8 (0, 16, 3)"),
        (ne.Video([]), "a video without frames"),
        (ne.Audio(TONE.astype(np.int32), 16000), "a sound of int32 (4000,): expected floats"),
        (ne.Audio(TONE[:0], 16000), "a sound without samples"),
        (ne.Audio(TONE, 0), "a sound of 1 channels at 0 Hz, refused"),
        (ne.Audio(TONE * np.nan, 16000), "not finite"),
        (ne.Audio(np.tile(TONE, 200), 16000), "longer than the model's 40.96 s"),
    ],
)
def test_media_in_memory_are_never_trusted(model: ne.Model, given: Any, line: str) -> None:
    with pytest.raises(InputError) as refused:
        model.generate(given)
    assert line in str(refused.value)


def test_a_long_sound_is_heard_in_chunks(model: ne.Model, tmp_path: Path) -> None:
    long, most = np.tile(TONE, 4), max_samples(model.config.audio)
    whole = ne.Audio(long, 16000).part(model.edge, trim=False)
    assert len(long) % most and len(long) > 3 * most
    chunks = [
        ne.Audio(long[start : start + most], 16000).part(model.edge, trim=False).value
        for start in range(0, len(long), most)
    ]
    assert whole.value.tolist() == np.concatenate(chunks).tolist()
    soundfile.write(tmp_path / "long.wav", long, 16000, subtype="FLOAT")
    read = ne.Audio(tmp_path / "long.wav").part(model.edge, trim=False)
    assert read.value.tolist() == whole.value.tolist()
    counted = Lengths(model.config).encode("audio", heard(long, model.config.audio))
    assert counted.shape == whole.value.shape
    assert model.generate([ne.Audio(long, 16000), "what was said?"]).modality == "text"


def test_trim_keeps_the_beginning_of_a_sound(model: ne.Model) -> None:
    long = np.tile(TONE, 4)
    cut = model.generate(ne.Audio(long, 16000), to="image", trim=True).tokens.tolist()
    assert cut == model.generate(ne.Audio(long[:5120], 16000), to="image").tokens.tolist()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"tempreature": 1.0}, "no setting 'tempreature'; did you mean 'temperature'?"),
        ({"zzz": 1.0}, "no setting 'zzz'; expected one of seed, steps"),
        ({"steps": 0}, "steps is 0, expected at least 1"),
        ({"frames": 2}, "--frames is for video, but text is asked for"),
        ({"to": "smell"}, "answer in 'smell': expected one of text, image, audio, video"),
        (
            {"to": "audio", "seconds": 100},
            "100 seconds of sound: the model makes up to 0.32 s; ask for over 0 and at most 0.32",
        ),
        ({"to": "audio", "seconds": float("nan")}, "nan seconds of sound"),
        ({"to": "audio", "seconds": -1}, "-1 seconds of sound"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_before_any_work(
    model: ne.Model, settings: dict[str, Any], line: str
) -> None:
    for call in (model.generate, model.stream):
        with pytest.raises(UsageError) as refused:
            call("a cat", **settings)
        assert line in str(refused.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_ends_with_the_answer_that_generate_gives(model: ne.Model, kind: Kind) -> None:
    steps = list(model.stream("a red rocket", to=kind, seed=9, **LENGTH[kind]))
    answer = model.generate("a red rocket", to=kind, seed=9, **LENGTH[kind])
    assert steps[-1].answer.tokens.tolist() == answer.tokens.tolist()
    assert [step.t for step in steps] == sorted(step.t for step in steps)
    assert steps[0].t == 0 and steps[-1].t == 1 and steps[-1].record is None
    assert all(step.answer.modality == kind for step in steps)


def test_leaving_a_stream_stops_the_computation(model: ne.Model) -> None:
    stream = model.stream("a cat", to="image", steps=1000, temperature=1.0)
    for step in stream:
        if step.number == 3:
            break
    spent = step.answer.meter.forwards
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    assert spent <= 4 and step.answer.meter.forwards == spent
    assert step.answer.image.size == (16, 16)
    with pytest.raises(StopIteration):
        next(stream)


def test_margins_are_measured_where_they_are_asked_for(model: ne.Model) -> None:
    def measured(margins: bool) -> set[bool]:
        steps = model.stream("a cat", to="image", steps=4, margins=margins)
        return {step.record.margins is not None for step in steps if step.record}

    assert measured(False) == {False} and True in measured(True)


def test_progress_is_told_in_steps(model: ne.Model) -> None:
    told: list[tuple[int, int, str]] = []
    model.generate("a cat", to="image", steps=3, progress=lambda *step: told.append(step))
    assert told == [(1, 3, ""), (2, 3, ""), (3, 3, "")]


def test_threads_may_share_a_model(tiny_bundle: Path) -> None:
    """Each thread gets the answers that calls one after another get, on a model that loads its
    components meanwhile."""
    fresh = ne.load(tiny_bundle)
    jobs: list[tuple[Kind, int]] = [(kind, seed) for seed in range(3) for kind in KINDS]

    def answer(shared: ne.Model, job: tuple[Kind, int]) -> list[Any]:
        kind, seed = job
        found = shared.generate("a red rocket", to=kind, seed=seed, **LENGTH[kind])
        return [found.tokens.tolist(), "" if kind == "text" else found.media.tobytes()]

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda job: answer(fresh, job), jobs))
    one_by_one = ne.load(tiny_bundle)
    assert together == [answer(one_by_one, job) for job in jobs]


def test_embeddings_are_rows_of_length_one(model: ne.Model, files: Path) -> None:
    told: list[tuple[int, int, str]] = []
    rows = model.embed(
        ["a cat", files / "a.txt", ne.Image(PICTURE)], progress=lambda *item: told.append(item)
    )
    assert rows.shape == (3, 48) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(rows[0], rows[1])
    assert told[0] == (0, 3, "a cat") and told[-1] == (3, 3, "")
    assert model.embed([]).shape == (0, 48)
    with pytest.raises(UsageError, match="expected a list of texts and media"):
        model.embed("a cat")


def test_nan_on_the_way_is_told_with_what_there_was(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, calls = EdgeModel.head, list[int]()

    def spoil(self: EdgeModel, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise NonFiniteError("image_head: output logits is nan at batch 0, rows 1", (0, 1))
        return head(self, *arguments)

    monkeypatch.setattr(EdgeModel, "head", spoil)
    with pytest.raises(StoppedError, match="image_head: output logits is nan") as stopped:
        ne.load(tiny_bundle).generate("a cat", to="image")
    assert len(stopped.value.partial) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "line"),
    [
        ({"runtime": "fast"}, UsageError, "runtime 'fast': expected one of coreml"),
        ({"runtime": "coreml"}, UsageError, "reads no component of this bundle"),
        ({"device": "TPU"}, MissingRuntimeError, "provider 'TPU' is not in this ONNX Runtime"),
        ({"compute": "float16"}, UsageError, "ONNX Runtime computes in float32 here"),
    ],
)
def test_what_cannot_run_is_refused_at_loading(
    tiny_bundle: Path, arguments: dict[str, Any], error: type[Exception], line: str
) -> None:
    with pytest.raises(error) as refused:
        ne.load(tiny_bundle, **arguments)
    assert line in str(refused.value)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such directory"):
        ne.load(tmp_path / "none")
    with pytest.raises(InputError, match="neither a bundle"):
        ne.load(str(tmp_path))


def test_a_model_directory_loads_in_pytorch(tiny_checkpoint: Path, model: ne.Model) -> None:
    reference = ne.load(tiny_checkpoint)
    asked = {"to": "image", "seed": 3}
    assert reference.generate("a cat", **asked).tokens.tolist() == (  # type: ignore[call-overload]
        model.generate("a cat", **asked).tokens.tolist()  # type: ignore[call-overload]
    )
    with pytest.raises(UsageError, match="is a model directory, which only torch runs"):
        ne.load(tiny_checkpoint, runtime="onnx")
