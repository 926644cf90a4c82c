"""OmniVoice against the recorded runs of its own package, in three shapes: prompts and tokens are
exact."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from nextomni_edge.api.settings import Request
from nextomni_edge.api.speaking import Speaking
from nextomni_edge.generate import unmask
from nextomni_edge.generate.batch import Batch
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.steps import run_through
from nextomni_edge.generate.unmask import Unmasking
from nextomni_edge.tokens.chat import Part, Turn
from tests.published import omnivoice_checkpoint as checkpoint
from tests.published.omnivoice_cases import CASES, FOLDER, LONG, Uniform, voiced
from tests.published.omnivoice_models import model

Array = NDArray[Any]
STEPS = 8
# the package's argument → our setting
OURS = {
    "language": "language", "instruct": "voice_design", "speed": "speed", "duration": "seconds",
    "t_shift": "shift", "layer_penalty_factor": "codebook_penalty", "guidance_scale": "guidance",
    "class_temperature": "draw_temperature", "position_temperature": "temperature",
}  # fmt: skip
SHAPES = tuple(checkpoint.SHAPES)


@functools.cache
def golden(shape: str) -> dict[str, Array]:
    return load_file(FOLDER / f"{shape}.safetensors")


def settings_of(case: str) -> dict[str, Any]:
    """A case's settings in our words, without its texts."""
    given = CASES[case]
    found = {OURS[name]: value for name, value in given.items() if name in OURS}
    found |= {"steps": STEPS, "keep_noise": not given.get("denoise", True)}
    if voiced(case):
        found |= {"voice": (checkpoint.clip(), 44_100), "voice_text": "Nice to meet you"}
    return {name: value for name, value in found.items() if not isinstance(value, list)}


def speaking(shape: str, case: str, text: str, language: str | None = None) -> Speaking:
    given = settings_of(case) | ({"language": language} if language else {})
    turns = [[Turn("user", (Part("text", text),))]]
    return Speaking(model(shape), turns, Request.of("audio", given))


def texts(case: str) -> list[tuple[str, str | None]]:
    """Each text of a case, with its language where the case has several."""
    text, language = CASES[case]["text"], CASES[case].get("language")
    return list(zip(text, language, strict=True)) if isinstance(text, list) else [(text, None)]


class Recorded:
    """The package's draws: of each step those of all symbols, where they are drawn, then one for
    each sub-code, codebook by codebook."""

    def __init__(self, case: str, rows: int, codebooks: int, symbols: int) -> None:
        self.uniform, self.shape = Uniform(case), (codebooks, rows // codebooks)
        self.draws, self.vocabulary = bool(CASES[case]["class_temperature"]), symbols
        self.steps: list[tuple[Array | None, Array]] = []

    def _at(self, step: int) -> tuple[Array | None, Array]:
        while len(self.steps) <= step:
            every = (1, *self.shape, self.vocabulary)
            symbols = self.uniform.draw(every)[0] if self.draws else None
            self.steps.append((symbols, self.uniform.draw((1, *self.shape))[0]))
        return self.steps[step]

    def symbols(self, step: int, row: int, vocabulary: int) -> Array:
        place, code = divmod(row, self.shape[0])
        symbols = self._at(step)[0]
        assert symbols is not None
        return -np.log(-np.log(symbols[code, place].astype(np.float64) + 1e-10) + 1e-10)

    def scores(self, step: int, rows: int) -> Array:
        return self._at(step)[1].T.reshape(-1)[:rows]


@pytest.mark.parametrize("shape", SHAPES)
def test_codes_and_loudness_of_a_voice_are_those_of_the_package(shape: str) -> None:
    """Two channels at 44.1 kHz, with silences that are cut out."""
    voice = speaking(shape, "voice", "a").plans[0].speech.voice
    assert voice is not None and voice.text == "Nice to meet you."
    np.testing.assert_array_equal(voice.codes, golden(shape)["voice.codes"])
    assert voice.loudness == pytest.approx(float(golden(shape)["voice.loudness"][0]), rel=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "case", [name for name in CASES if name not in LONG and "noise" not in name]
)
def test_prompts_and_tokens_are_those_of_the_package(shape: str, case: str) -> None:
    for index, (text, language) in enumerate(texts(case)):
        run = speaking(shape, case, text, language)
        words = run.sequences[0].segments[0].tokens
        np.testing.assert_array_equal(words, golden(shape)[f"{case}.{index}.prompt"])
        (found,) = run_through(run.steps(None, Meter(), False))
        np.testing.assert_array_equal(
            found.segments[0].tokens, golden(shape)[f"{case}.{index}.codes"]
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", ["position_noise", "all_noise"])
def test_tokens_with_recorded_draws_are_those_of_the_package(
    shape: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    books, symbols = model(shape).symbols("audio")
    expected = golden(shape)[f"{case}.0.codes"]
    noise = Recorded(case, expected.size, books, symbols)
    monkeypatch.setattr(unmask, "CountedNoise", lambda *_: noise)
    run = speaking(shape, case, texts(case)[0][0])
    (found,) = run_through(run.steps(None, Meter(), False))
    np.testing.assert_array_equal(found.segments[0].tokens, expected)


@pytest.mark.parametrize("case", LONG)
def test_a_long_text_is_cut_as_by_the_package(case: str) -> None:
    """Without a voice, its later parts are in that of the first."""
    expected = [
        golden("narrow")[name] for name in sorted(golden("narrow")) if name.startswith(f"{case}.")
        and name.endswith("codes")
    ]  # fmt: skip
    run = speaking("narrow", case, str(CASES[case]["text"]))
    assert len(run.plans[0].parts) == len(expected) > 1
    (found,) = run_through(run.steps(None, Meter(), False))
    for segment, codes in zip(found.segments, expected, strict=True):
        np.testing.assert_array_equal(segment.tokens, codes)


def test_texts_of_a_batch_are_said_as_by_themselves() -> None:
    said = [[Turn("user", (Part("text", text),))] for text, _ in texts("batch")]
    request = Request.of("audio", settings_of("position_noise") | {"language": "en", "seed": 3})
    together = Speaking(model("few"), said, request)
    found = run_through(together.steps(None, Meter(), False))
    for turns, sequence in zip(said, found, strict=True):
        (alone,) = run_through(Speaking(model("few"), [turns], request).steps(None, Meter(), False))
        np.testing.assert_array_equal(sequence.segments[0].tokens, alone.segments[0].tokens)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", ["short", "short_voice"])
def test_the_sound_of_codes_is_that_of_the_package(shape: str, case: str) -> None:
    """Samples within 1e-4; the finished sound is of 16 bits, so that a sample may be one of them
    away, and louder by as much as the sound is made."""
    codes = golden(shape)[f"{case}.0.codes"].astype(np.int64)
    decoded = golden(shape)[f"{case}.decoded"]
    np.testing.assert_allclose(model(shape).decode("audio", codes), decoded, atol=1e-4, rtol=0)
    found, expected = speaking(shape, case, "Short.").sound([codes]), golden(shape)[f"{case}.sound"]
    louder = max(1.0, 0.5 / np.abs(decoded).max())
    np.testing.assert_allclose(found, expected, atol=louder * (2**-15 + 1e-5), rtol=0)


def test_guidance_reads_the_bare_sound_at_its_own_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """The branch without a prompt is much shorter, so it is not padded to the other's length."""
    of, seen = model("few"), list[tuple[int, ...]]()
    whole = of.backbone

    def backbone(embeddings: Array, attended: Array) -> Array:
        seen.append(embeddings.shape[:2])
        return whole(embeddings, attended)

    monkeypatch.setattr(of, "backbone", backbone)
    run = speaking("few", "voice", "What a  lovely day")
    sequence = run.sequences[0]
    run_through(run.steps(None, Meter(), False))
    bare = len(sequence.segments[-1])
    assert set(seen) == {(1, sequence.length), (1, bare)} and sequence.length > 2 * bare


def test_guidance_that_ends_leaves_the_conditional_predictions() -> None:
    of, steps, until = model("few"), 8, 0.5
    spoken = speaking("few", "design", "One, two.")
    options = spoken.options.changed(steps=steps)
    batch = Batch(spoken.sequences, [3])
    kinds = ({"guidance_until": until}, {}, {"guidance": 0.0})
    ending, guided, bare = (
        Unmasking(of, batch, options.changed(**each), Meter()) for each in kinds
    )
    behind = 0
    for record in ending.steps([0], margins=True):
        other = guided if record.step / steps <= until else bare
        _, x_1 = other.follow(record.step, ending.x_t)
        assert record.x_1 is not None
        np.testing.assert_array_equal(record.x_1[0], x_1[0])
        behind += other is bare
    assert behind == 3
