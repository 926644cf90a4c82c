"""Generated checkpoints: deterministic, the same in pieces as whole, and exported like any
other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.accounting import account
from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.export import export_bundle
from nextomni_edge.models import generated
from nextomni_edge.models.generated import GeneratedCheckpoint
from nextomni_edge.models.networks import check_tensors
from tests.tiny import tiny_config


@pytest.fixture
def checkpoint(tiny_checkpoint: Path) -> GeneratedCheckpoint:
    return GeneratedCheckpoint(
        Checkpoint.open(tiny_checkpoint).config, tiny_checkpoint / "tokenizer.json"
    )


def test_a_tensor_is_the_same_whole_and_in_pieces_across_the_pools_end(
    checkpoint: GeneratedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_tensors(checkpoint)
    monkeypatch.setattr(generated, "PERIOD", 101)
    name = "backbone.layers.0.mlp.up_proj.weight"
    whole = checkpoint.tensor(name).reshape(-1)
    pieces = [
        checkpoint.values(name, start, min(37, whole.size - start))
        for start in range(0, whole.size, 37)
    ]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(whole[101:202], whole[:101])


def test_weights_keep_a_networks_scale_and_follow_name_and_seed(
    checkpoint: GeneratedCheckpoint, tiny_checkpoint: Path
) -> None:
    matrix = checkpoint.tensor("backbone.layers.1.mlp.down_proj.weight")
    assert abs(float(matrix.std()) * 96**0.5 - 1) < 0.05 and abs(float(matrix.mean())) < 0.01
    assert abs(float(checkpoint.tensor("backbone.norm.weight").mean()) - 1) < 0.05
    assert abs(float(checkpoint.tensor("backbone.layers.0.self_attn.q_proj.bias").mean())) < 0.05
    other = checkpoint.tensor("backbone.layers.0.mlp.down_proj.weight")
    again = GeneratedCheckpoint(checkpoint.config, tiny_checkpoint / "tokenizer.json")
    seeded = GeneratedCheckpoint(checkpoint.config, tiny_checkpoint / "tokenizer.json", seed=1)
    assert (matrix != other).any()
    np.testing.assert_array_equal(again.tensor("backbone.layers.1.mlp.down_proj.weight"), matrix)
    assert (seeded.tensor("backbone.layers.1.mlp.down_proj.weight") != matrix).any()
    assert again.sha256() == checkpoint.sha256() != seeded.sha256()


def test_a_generated_model_is_exported_and_its_files_are_what_the_graphs_read(
    checkpoint: GeneratedCheckpoint, tmp_path: Path
) -> None:
    told: list[tuple[str, float]] = []
    names = ["embed_text", "text_head"]
    export_bundle(
        checkpoint,
        tmp_path / "b",
        names,
        "float16",
        verify="none",
        progress=lambda *now: told.append(now),
    )
    bundle = Bundle.open(tmp_path / "b")
    assert account(bundle).exact
    assert bundle.manifest.provenance.source == checkpoint.sha256()
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) == 5
    assert tiny_config().text.vocabulary_size >= checkpoint.config.text.vocabulary_size
