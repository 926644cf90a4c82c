"""Encoders of published architectures, exported by optimum-onnx and by us: two graphs, one
answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

exporters = pytest.importorskip(
    "optimum.exporters.onnx", reason="optimum-onnx is not installed; `make test-optimum` does it"
)

from transformers import (  # noqa: E402
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from nextomni_edge.bundle import Bundle  # noqa: E402
from nextomni_edge.export import export_bundle  # noqa: E402
from nextomni_edge.generate.model import EdgeModel  # noqa: E402
from nextomni_edge.models import native  # noqa: E402
from nextomni_edge.models.initial import initialise, read_part, with_sections  # noqa: E402
from nextomni_edge.models.omni import OmniModel  # noqa: E402
from nextomni_edge.runtimes.base import Execution  # noqa: E402
from tests.models.published import VISION, published  # noqa: E402
from tests.tiny import tiny_config, tiny_model  # noqa: E402

Graph = Callable[[dict[str, Any]], dict[str, Any]]


def theirs(source: Path, out: Path, task: str, name: str, **shapes: int) -> Graph:
    """A graph of optimum-onnx, from the published checkpoint. `shapes`: of its traced inputs."""
    exporters.main_export(
        str(source), str(out), task=task, do_validation=False, device="cpu", **shapes
    )
    session = onnxruntime.InferenceSession(str(out / name))
    names = [output.name for output in session.get_outputs()]
    return lambda given: dict(zip(names, session.run(None, given), strict=True))


def ours(layout: str, source: Path, out: Path, component: str) -> tuple[OmniModel, Graph]:
    """A model that begins with the published encoder, and that encoder's graph in its bundle."""
    part = read_part(f"{layout}={source}")
    directory = tiny_model(out / "random", with_sections(tiny_config("parallel"), part))
    model = native.load(directory).eval()
    assert initialise(model, part) == []
    native.save(model, directory / "tokenizer.json", out / "model")
    export_bundle(out / "model", out / "bundle", components=[component], verify="none")
    edge = EdgeModel.from_bundle(Bundle.open(out / "bundle"), Execution())
    return model, edge.session(component).run


@pytest.mark.parametrize(
    ("layout", "model"),
    [
        ("clip", lambda: CLIPVisionModel(CLIPVisionConfig(**VISION))),
        ("siglip", lambda: SiglipVisionModel(SiglipVisionConfig(**VISION))),
    ],
    ids=["clip", "siglip"],
)
@torch.no_grad()
def test_a_vision_tower_gives_the_same_codes(
    tmp_path: Path, layout: str, model: Callable[[], PreTrainedModel]
) -> None:
    """The rows of their graph, quantised by our codebook, are the codes of our graph."""
    source = tmp_path / "published"
    published(model(), source)
    graph = theirs(source, tmp_path / "theirs", "feature-extraction", "model.onnx")
    native_model, encode = ours(layout, source, tmp_path / "ours", "image_encoder")
    encoder = native_model.image_encoder
    pixels = np.random.default_rng(0).normal(size=(2, 3, 24, 24)).astype(np.float32)
    rows = torch.from_numpy(graph({"pixel_values": pixels})["last_hidden_state"])
    expected_rows = encoder.transformer(encoder.rows(torch.from_numpy(pixels)))
    if layout == "clip":  # its class token has a row, and its last norm is for that row only
        rows, expected_rows = encoder.transformer.norm(rows)[:, 1:], expected_rows[:, 1:]
    torch.testing.assert_close(rows, expected_rows, atol=1e-5, rtol=1e-5)
    expected = encoder.codebook.encode(encoder.latent(rows))
    np.testing.assert_array_equal(encode({"pixels": pixels})["codes"], expected.numpy())


@torch.no_grad()
def test_whisper_s_encoder_gives_the_same_codes(tmp_path: Path) -> None:
    """As above, for sounds."""
    config = WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=128,
        decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=64, num_mel_bins=20,
        max_source_positions=16, max_target_positions=64, vocab_size=60, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
    )  # fmt: skip
    source = tmp_path / "published"
    published(WhisperForConditionalGeneration(config), source)
    task = "automatic-speech-recognition"
    graph = theirs(source, tmp_path / "theirs", task, "encoder_model.onnx", nb_max_frames=32)
    model, encode = ours("whisper", source, tmp_path / "ours", "audio_encoder")
    mel = np.random.default_rng(0).normal(size=(2, 4, 8, 20)).astype(np.float32)
    rows = graph({"input_features": mel.reshape(2, 32, 20).transpose(0, 2, 1)})
    hidden = torch.from_numpy(rows["last_hidden_state"])
    encoder = model.audio_encoder
    expected = encoder.codebook.encode(encoder.latent(hidden.reshape(2, 4, -1)))
    np.testing.assert_array_equal(encode({"log_mel": mel})["codes"], expected.numpy())
