"""Heads, codebooks, the vocoder, and the model cut in components."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from nextomni_edge.config import CodebookConfig, HeadConfig
from nextomni_edge.errors import InputError
from nextomni_edge.models import native
from nextomni_edge.models.audio import GriffinLim
from nextomni_edge.models.codebook import Codebook, quantisation_loss
from nextomni_edge.models.components import components
from nextomni_edge.models.heads import AutoregressiveHead, ParallelHead
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.spec import Dim
from nextomni_edge.tokens.audio import log_mel
from tests.tiny import COMPONENTS, tiny_config, tiny_model

CODEBOOK = CodebookConfig(4, 16, 4)


@torch.no_grad()
def test_an_autoregressive_head_never_looks_ahead() -> None:
    torch.manual_seed(0)
    head = AutoregressiveHead(HeadConfig("autoregressive", 16, 2, 2), CODEBOOK, 24)
    hidden, codes = torch.randn(2, 3, 24), torch.randint(0, 16, (2, 3, 4))
    logits = head(hidden, codes)
    assert logits.shape == (2, 3, 4, 16)
    for k in range(4):
        changed = codes.clone()
        changed[..., k] = (changed[..., k] + 1) % 16
        moved = (head(hidden, changed) - logits).abs().amax(dim=(0, 1, 3)) > 1e-6
        assert moved.tolist() == [j > k for j in range(4)]


@torch.no_grad()
def test_a_parallel_head_has_one_row_of_logits_per_codebook() -> None:
    assert ParallelHead(HeadConfig("parallel", 16, 1, 2), CODEBOOK, 24)(
        torch.randn(2, 3, 24)
    ).shape == (2, 3, 4, 16)


@torch.no_grad()
def test_codebook_rows_encode_to_themselves() -> None:
    torch.manual_seed(0)
    codebook = Codebook(CODEBOOK)
    codes = torch.randint(0, 16, (2, 5, 4))
    assert (codebook.encode(3.0 * codebook.decode(codes)) == codes).all()
    torch.testing.assert_close(
        codebook.decode(codes).unflatten(2, (4, 4)).norm(dim=-1), torch.ones(2, 5, 4)
    )


def test_quantisation_is_straight_through_and_trains_the_codebook() -> None:
    torch.manual_seed(0)
    codebook = Codebook(CODEBOOK)
    latents = torch.randn(2, 5, 16, requires_grad=True)
    quantised, codes, loss = quantisation_loss(codebook, latents)
    torch.testing.assert_close(quantised, codebook.decode(codes))
    quantised.sum().backward(retain_graph=True)
    assert latents.grad is not None and latents.grad.abs().sum() > 0
    loss.backward()
    assert codebook.entries.grad is not None and codebook.entries.grad.abs().sum() > 0


@torch.no_grad()
def test_the_vocoder_gives_back_a_sound_with_the_same_spectrogram() -> None:
    """A vowel-like sound: what is heard has the log-mel that was asked for, where that is within 30
    dB of its loudest."""
    config = dataclasses.replace(tiny_config().audio, vocoder_iterations=32)
    time = np.arange(5120) / 16000
    glide = 2 * np.pi * (140 * time + 100 * time**2)
    waveform = sum(0.3 / k * np.sin(k * glide) for k in range(1, 20)).astype(np.float32)
    wanted = log_mel(waveform, config)
    heard = GriffinLim(config)(torch.from_numpy(wanted[None]))[0].reshape(-1).numpy()
    error = np.abs(log_mel(heard, config) - wanted)[wanted > wanted.max() - 0.75]
    assert len(error) > 500 and error.mean() < 0.06


def sizes(spec_dims: dict[str, Dim]) -> dict[str, int]:
    known = {"batch": 2, "rows": 3, "past": 0, "attended": 3, "length": 4}
    return {name: known[name] for name in spec_dims}


@pytest.mark.parametrize("kind", ["parallel", "autoregressive"])
@torch.no_grad()
def test_every_component_has_the_interface_it_declares(kind: str) -> None:
    model = OmniModel(tiny_config(kind)).eval()  # type: ignore[arg-type]
    found = components(model)
    assert tuple(found) == COMPONENTS
    for component in found.values():
        bound = sizes(component.spec.dims())
        dtypes = {"float32": torch.float32, "int64": torch.int64, "bool": torch.bool}
        arguments = [
            torch.ones(spec.shape(bound), dtype=dtypes[spec.dtype])
            for spec in component.spec.inputs
        ]
        outputs = component.module(*arguments)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for spec, output in zip(component.spec.outputs, outputs, strict=True):
            assert (
                spec.mismatch(
                    str(output.dtype).removeprefix("torch."), tuple(output.shape), dict(bound)
                )
                is None
            )


def test_components_read_every_tensor_of_the_checkpoint_and_share_the_codebooks() -> None:
    with torch.device("meta"):
        model = OmniModel(tiny_config())
    named = {
        name for component in components(model).values() for name in component.weights.values()
    }
    assert named == {
        name for name in native.state_names(model) if not name.startswith("metric_tables.")
    }
    found = components(model)
    for modality in ("image", "audio"):
        users = (f"embed_{modality}", f"{modality}_encoder", f"{modality}_decoder")
        assert {found[user].weights["codebook.entries"] for user in users} == {
            f"embed_{modality}.codebook.entries"
        }


def test_a_model_directory_round_trips(tmp_path: Path) -> None:
    tiny_model(tmp_path, seed=5)
    first, second = native.load(tmp_path), native.load(tmp_path)
    assert first.config == second.config
    for name, tensor in native.state(first).items():
        torch.testing.assert_close(native.state(second)[name], tensor, rtol=0, atol=0)


def test_a_checkpoint_of_another_config_is_refused(tmp_path: Path) -> None:
    tiny_model(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"mlp_size": 96', '"mlp_size": 64'))
    with pytest.raises(
        InputError, match=r"mlp.gate_proj.weight has shape \(96, 48\), expected \(64, 48\)"
    ):
        native.load(tmp_path)
    (tmp_path / "config.json").write_text(config.replace('"layers": 2', '"layers": 3', 1))
    with pytest.raises(InputError, match=r"tensor backbone.layers.2.\S+ is missing"):
        native.load(tmp_path)
