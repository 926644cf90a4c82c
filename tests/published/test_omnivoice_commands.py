"""OmniVoice on the command line: what it says, and what is refused in one sentence."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import nextomni_edge as ne
from nextomni_edge.errors import UsageError
from nextomni_edge.export.bundle import export_bundle
from tests.calls import Invoke, answered, refused
from tests.published import omnivoice_checkpoint as checkpoint
from tests.published.models import MakeOnce
from tests.published.omnivoice_models import imported, source

QUICK = ("--steps", 4, "--progress", "none")
VOICE_TEXT = ("--voice-text", "Nice to meet you")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A voice, as the published command takes it, and clips that are none."""
    folder = tmp_path_factory.mktemp("clips")
    soundfile.write(folder / "voice.wav", checkpoint.clip(), 44_100)
    soundfile.write(folder / "silent.wav", np.zeros(24_000, np.float32), 24_000)
    short = np.full(300, 0.2, np.float32)
    soundfile.write(folder / "short.wav", short, 24_000)
    soundfile.write(folder / "long.wav", np.full(16_000 * 130, 0.2, np.float32), 16_000)
    (folder / "text.wav").write_text("no sound")
    return folder


def test_a_text_is_said_in_a_voice(invoke: Invoke, tmp_path: Path, clips: Path) -> None:
    out = tmp_path / "said.wav"
    asked = ("--text", "What a lovely day", "--voice", clips / "voice.wav", *VOICE_TEXT)
    result = invoke(
        "run", imported("few"), *asked, "--language", "French", "--to", "audio", *QUICK, "-o", out
    )
    assert result.exit_code == 0, result.output
    samples, rate = soundfile.read(out)
    assert rate == 16_000 and 0.0 < np.abs(samples).max() <= 1.0
    assert not samples[:1_600].any() and not samples[-1_600:].any()  # a tenth of silence around it


def test_the_length_is_what_was_asked_for(invoke: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "said.wav"
    given = ("--text", "One.", "--seconds", 1.2, "--voice-design", "female, low pitch")
    told = answered(
        invoke("run", imported("few"), *given, "--keep-silence", *QUICK, "-o", out, "--json")
    )
    assert told["modality"] == "audio"
    assert soundfile.info(out).frames == 1.2 * 16_000 + 2 * 1_600


def test_a_text_is_heard_sentence_by_sentence(invoke: Invoke) -> None:
    """On standard output, as a WAV file whose length nobody knows yet."""
    text = "It rains. We stay in, all day. Who comes?"
    result = invoke(
        "run", imported("few"), "--text", text, "--to", "audio", "--stream", "-o", "-", *QUICK
    )
    assert result.exit_code == 0, result.output
    heard, rate = soundfile.read(io.BytesIO(result.stdout_bytes))
    parts = list(ne.load(imported("few")).speak(text, steps=4))
    assert rate == 16_000 and len(parts) == 3
    np.testing.assert_allclose(heard, np.concatenate(parts), atol=1e-4)


def test_a_program_speaks_a_batch() -> None:
    model = ne.load(imported("few"))
    answers = model.generate(["One.", "Two, three."], to="audio", steps=4, language="en")
    assert [answer.modality for answer in answers] == ["audio", "audio"]
    assert all(answer.tokens.shape[1] == 4 for answer in answers)
    steps = list(model.stream("One.", to="audio", steps=4, language="en"))
    np.testing.assert_array_equal(steps[-1].answer.tokens, answers[0].tokens)


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--text", "hi", "--language", "Germn"), 2, "did you mean 'german'"),
        (("--text", "... !"), 2, "no word in it"),
        (("--text", "a" * 100_000), 2, "without a break, at most 120 s: put full stops"),
        (("--text", "hi", "--voice-design", "femal"), 2, "did you mean 'female'"),
        (("--text", "hi", "--voice-design", "male, female"), 2, "contradict each other"),
        (("--text", "hi", "--voice", "voice.wav"), 2, "needs voice_text"),
        (("--text", "hi", "--voice-text", "hi"), 2, "give the clip too"),
        (("--text", "hi", "--voice", "silent.wav", *VOICE_TEXT), 3, "only silence in it"),
        (("--text", "hi", "--voice", "short.wav", *VOICE_TEXT), 3, "expected at least 0.040 s"),
        (("--text", "hi", "--voice", "long.wav", *VOICE_TEXT), 3, "longer than the model's 120.00"),
        (("--text", "hi", "--voice", "text.wav", *VOICE_TEXT), 3, "text.wav"),
        (("--text", "hi", "--voice", "none.wav", *VOICE_TEXT), 3, "none.wav"),
        (("--text", "hi", "--speed", 0.01), 2, "expected 0.05 to 20"),
        (("--text", "hi", "--shift", 0), 2, "shift is 0.0, expected over 0"),
        (("--text", "hi", "--repeat-penalty", 2), 2, "one code a token"),
        (("--audio", "voice.wav"), 2, "says one text"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused(
    invoke: Invoke, clips: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...],
    code: int, sentence: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(clips)
    result = invoke("run", imported("few"), *options, "--to", "audio", *QUICK, "-o", "out.wav")
    refused(result, code, sentence)
    assert not Path("out.wav").exists()


def test_it_answers_in_sound_only(invoke: Invoke, tiny_checkpoint: Path) -> None:
    refused(invoke("run", imported("few"), "--text", "hi", *QUICK), 2, "answers in audio")
    refused(
        invoke("run", tiny_checkpoint, "--text", "hi", "--to", "audio", "--language", "en", *QUICK,
               "-o", "a.wav"),
        2, "language: of models that say a text",
    )  # fmt: skip
    with pytest.raises(UsageError, match="does not say texts"):
        ne.load(tiny_checkpoint).speak("hi")


def changed(tmp_path: Path, name: str, **values: object) -> Path:
    """A copy of a checkpoint whose JSON file of this name has other values."""
    folder = tmp_path / "changed"
    shutil.copytree(source("few"), folder)
    file = folder / name
    data = json.loads(file.read_text(encoding="utf-8")) | values
    file.write_text(json.dumps(data), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("config.json", {"audio_mask_id": 3}, "audio_mask_id is 3, expected the last"),
        ("config.json", {"num_audio_codebook": 3}, "codec has 4 codebooks, but"),
        ("config.json", {"llm_config": {"model_type": "qwen2"}}, "expected qwen3"),
        ("config.json", {"odd": 1}, "odd is '1', a key that this layout does not read"),
        ("audio_tokenizer/preprocessor_config.json", {"sampling_rate": 24_000},
         "sampling_rate is 24000, but config.json's sample_rate is 16000"),
        ("audio_tokenizer/config.json", {"model_type": "dac"}, "expected higgs_audio_v2_tokenizer"),
        ("audio_tokenizer/config.json", {"strides": [2, 1]}, "strides is [2, 1], expected ones"),
        ("audio_tokenizer/config.json", {"sample_rate": 24_000}, "sampling_rate is 16000, but"),
    ],
)  # fmt: skip
def test_a_folder_that_does_not_fit_is_one_sentence(
    invoke: Invoke, tmp_path: Path, name: str, values: dict[str, object], sentence: str
) -> None:
    folder = changed(tmp_path, name, **values)
    refused(invoke("import", folder, "-o", tmp_path / "model"), 3, sentence)
    assert not (tmp_path / "model").exists()


def test_a_codec_that_is_missing_is_named(invoke: Invoke, tmp_path: Path) -> None:
    folder, codec = tmp_path / "model", tmp_path / "codec"
    shutil.copytree(source("few"), folder)
    (folder / "audio_tokenizer").rename(codec)
    out = tmp_path / "out"
    refused(invoke("import", folder, "-o", out), 3, "no folder audio_tokenizer")
    result = invoke("import", folder, "-o", out, "--part", f"audio_tokenizer={codec}")
    assert result.exit_code == 0, result.output


@pytest.mark.slow
@pytest.mark.parametrize("shape", checkpoint.SHAPES)
def test_exported_graphs_say_the_same(made_once: MakeOnce, clips: Path, shape: str) -> None:
    """Export verifies tokens against PyTorch on ONNX Runtime; OpenVINO says the same."""
    bundle = made_once(
        f"omnivoice-{shape}", lambda out: export_bundle(imported(shape), out, verify="full")
    )
    settings = {"steps": 8, "temperature": 0.0, "voice": clips / "voice.wav", "voice_text": "Hi."}
    expected = ne.load(imported(shape)).generate("What a day.", to="audio", **settings)
    for runtime in ("onnx", "openvino"):
        found = ne.load(bundle, runtime=runtime).generate("What a day.", to="audio", **settings)
        np.testing.assert_array_equal(found.tokens, expected.tokens)
        assert found.media.shape == expected.media.shape
