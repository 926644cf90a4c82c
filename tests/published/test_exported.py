"""Published models exported, verified, and run without PyTorch: every recorded run through the
graphs on ONNX Runtime and on OpenVINO."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _pytest.mark.structures import ParameterSet

from nextomni_edge.bundle import Bundle
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.speech import Speaker
from nextomni_edge.media.image import to_bytes
from nextomni_edge.runtimes.base import Execution
from nextomni_edge.tokens import fbank
from tests.calls import Invoke
from tests.published.goldens import SETTINGS, Array, arrays, close
from tests.published.models import MakeOnce, bundled
from tests.published.omnidiffusion_runs import OmniRun, heard, noise_of
from tests.published.omnidiffusion_runs import runs as omnidiffusion_runs
from tests.published.origin import ORIGIN, check_origin
from tests.published.runs import all_runs, lumina_image_runs, of_run

FAMILIES = ("llada", "mmada", "lumina_dimoo", "dream", "omnidiffusion")


def marked(family: str, *values: str) -> ParameterSet:
    """Exports but LLaDA's, of ten seconds, are slow: up to two minutes each."""
    return pytest.param(*values, marks=[] if family == "llada" else [pytest.mark.slow])


TASKS = {
    "llada": {"text-to-text"},
    "dream": {"text-to-text"},
    "mmada": {"text-to-image", "image-to-text"},
    "lumina_dimoo": {"text-to-image", "image-to-text", "image-to-image"},
    "omnidiffusion": {
        "text-to-image",
        "image-to-text",
        "text-to-audio",
        "audio-to-text",
        "image-to-audio",
        "audio-to-image",
        "two-turn",
    },
}
RUNTIMES = ("onnx", "openvino")
# Omni-Diffusion has eleven graphs, each traced and verified: two minutes of an idle processor
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def bundles(made_once: MakeOnce) -> Callable[[str], Bundle]:
    return functools.cache(lambda family: Bundle.open(bundled(family, made_once)))


@functools.cache
def opened(path: Path, runtime: str) -> EdgeModel:
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="the OpenVINO runtime needs openvino")
    return EdgeModel.from_bundle(Bundle.open(path), Execution(runtime))


@pytest.mark.parametrize("family", [marked(family, family) for family in FAMILIES])
def test_the_export_is_verified_and_carries_its_trace(
    family: str, bundles: Callable[[str], Bundle]
) -> None:
    manifest = bundles(family).manifest
    assert manifest.parity["check"] == "full" and manifest.parity["failures"] == []
    assert set(manifest.parity["tasks"]) == TASKS[family]
    assert manifest.golden is not None


@pytest.mark.parametrize("family", [marked("omnidiffusion", "omnidiffusion")])
def test_the_trace_is_replayed(
    family: str, bundles: Callable[[str], Bundle], invoke: Invoke
) -> None:
    result = invoke("doctor", bundles(family).path)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", [marked(run.family, name) for name, run in all_runs().items()])
def test_a_recorded_run_repeats_through_the_graphs(
    name: str, runtime: str, bundles: Callable[[str], Bundle]
) -> None:
    run = all_runs()[name]
    run.check(opened(bundles(run.family).path, runtime))


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("run", list(omnidiffusion_runs()), ids=lambda run: run.name)
def test_omnidiffusions_runs_repeat_through_the_graphs(
    run: OmniRun, runtime: str, bundles: Callable[[str], Bundle]
) -> None:
    run.check(opened(bundles("omnidiffusion").path, runtime))


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_omnidiffusion_hears_and_speaks_through_the_graphs(
    runtime: str, bundles: Callable[[str], Bundle]
) -> None:
    """Rows of a heard sound, codes of given ones, and the samples of codes."""
    model, golden = opened(bundles("omnidiffusion").path, runtime), arrays("omnidiffusion")
    for name in "ABC":
        rows = fbank.bfloat16(golden[f"sv.{name}.fbank"])
        close(model.encode("audio", rows), golden[f"sv.{name}.rows"])
    for name in ("S1", "S2", "S3", "S4"):
        codes = model.quantise_audio(heard("st", name))
        np.testing.assert_array_equal(codes[:, 0], golden[f"st.{name}.codes"])
    speaker = Speaker(model.session, model.config.audio)
    for name in "01":
        recorded = of_run("omnidiffusion", f"dec.{name}")
        noise = noise_of(recorded)
        close(speaker.spectrum(recorded["codes"], noise), recorded["mel"], 1e-3)
        close(speaker.sound(recorded["mel"], noise), recorded["speech"], 1e-3)
        close(speaker.waveform(recorded["codes"], noise), recorded["speech"], 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_omnidiffusion_sees_and_draws_through_the_graphs(
    runtime: str, bundles: Callable[[str], Bundle]
) -> None:
    """Codes of given pictures, and the pictures of codes."""
    model, golden = opened(bundles("omnidiffusion").path, runtime), arrays("omnidiffusion")
    for name in ("I1", "I2"):
        codes = model.encode_image(golden[f"mv.{name}.pixels"])
        np.testing.assert_array_equal(codes.ravel(), golden[f"mv.{name}.codes"].ravel())
    for codes, pixels in zip(golden["mv.dec.codes"], golden["mv.dec.pixels"], strict=True):
        close(decoded(codes, model), np.clip(pixels, -1, 1))


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", [name for name in all_runs() if name.startswith("dream-")])
def test_dreams_runs_repeat_through_omnidiffusions_graphs(
    name: str, runtime: str, bundles: Callable[[str], Bundle]
) -> None:
    all_runs()[name].check(opened(bundles("omnidiffusion").path, runtime))


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("family", ["dream", "omnidiffusion"])
@pytest.mark.parametrize("name", ORIGIN)
def test_dreams_jumps_repeat_through_the_graphs(
    name: str,
    family: str,
    runtime: str,
    bundles: Callable[[str], Bundle],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_origin(opened(bundles(family).path, runtime), name, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", list(SETTINGS["lumina_image"]))
def test_luminas_pictures_repeat_through_the_graphs(
    name: str, runtime: str, bundles: Callable[[str], Bundle]
) -> None:
    model = opened(bundles("lumina_dimoo").path, runtime)
    run = next(run for run in lumina_image_runs(model) if run.name == name)
    run.check(model)


def decoded(golden: Array, model: EdgeModel, side: int | None = None) -> Array:
    height = side or int(np.sqrt(golden.size))
    return model.decode_image(golden.reshape(height, -1, 1).astype(np.int64))


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_pictures_in_and_out_of_the_graphs(runtime: str, bundles: Callable[[str], Bundle]) -> None:
    mmada, magvit = opened(bundles("mmada").path, runtime), arrays("magvitv2")
    codes = mmada.encode_image(magvit["enc.pixels"])
    np.testing.assert_array_equal(codes.reshape(2, -1), magvit["enc.codes"])
    found = mmada.decode_image(magvit["enc.codes"].reshape(2, 4, 4, 1))
    close(found, np.clip(magvit["dec.pixels"], -1, 1))
    close(decoded(magvit["dec2.codes"], mmada, 3), np.clip(magvit["dec2.pixels"][0], -1, 1))
    for shown, name in (
        (arrays("mmada")["t2i.codes"], "t2i"),
        (arrays("mmada")["t2i_part.codes"], "t2i_part"),
    ):
        for codes, expected in zip(shown, arrays("mmada")[f"{name}.uint8"], strict=True):
            levels = to_bytes(decoded(codes, mmada), truncated=True)
            assert np.abs(levels.astype(int) - expected).max() <= 1
    lumina, amused = opened(bundles("lumina_dimoo").path, runtime), arrays("vq_amused")
    codes = lumina.encode_image(amused["enc.pixels"][0] * 2 - 1)
    np.testing.assert_array_equal(codes.ravel(), amused["enc.codes"])
    close(
        decoded(amused["dec2.codes"], lumina, 3),
        np.clip(amused["dec2.pixels"][0] * 2 - 1, -1, 1),
        2e-4,
    )
    for name, height in (("t2i", 4), ("i2i", 2)):
        golden = arrays("lumina_dimoo")
        levels = to_bytes(decoded(golden[f"{name}.result"] - 336, lumina, height))
        assert np.abs(levels.astype(int) - golden[f"{name}.uint8"]).max() <= 1
