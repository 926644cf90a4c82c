"""`optimum-cli` with our commands, and our bundles in optimum's own classes. Run by `make
test-optimum`, in an environment that has optimum."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

modeling = pytest.importorskip(
    "optimum.onnxruntime", reason="optimum-onnx is not installed; `make test-optimum` installs it"
)

from nextomni_edge.bundle import Bundle  # noqa: E402
from nextomni_edge.generate.model import EdgeModel  # noqa: E402
from nextomni_edge.runtimes.base import Execution  # noqa: E402
from tests.tiny import tiny_model  # noqa: E402

CLI = Path(sys.executable).parent / "optimum-cli"


def cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [CLI, *map(str, arguments)]
    # the installed wheel only: a second copy of the file would register its commands twice
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, exported by `optimum-cli`."""
    folder = tmp_path_factory.mktemp("optimum")
    tiny_model(folder / "model")
    ended = cli("export", "nextomni", "-m", folder / "model", folder / "bundle", "--verify", "none")
    assert ended.returncode == 0, ended.stderr
    return folder / "bundle"


def test_the_commands_are_among_those_of_optimum() -> None:
    assert "nextomni" in cli("export", "--help").stdout
    assert "onnxruntime-nextomni" in cli("--help").stdout
    assert "--onnx_model" in cli("onnxruntime-nextomni", "quantize", "--help").stdout


def test_an_export_is_our_own(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert {"backbone", "image_encoder", "text_head"} <= opened.manifest.components.keys()


def test_a_bundle_is_quantised(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8"
    command = ("onnxruntime-nextomni", "quantize", "--onnx_model", bundle, "-o", out)
    ended = cli(*command, "--recipe", "int8-dynamic")
    assert ended.returncode == 0, ended.stderr
    made = Bundle.open(out).manifest.quantisation
    assert made is not None and "int8" in str(made)


def test_a_mistake_is_our_line_and_our_exit_code(tmp_path: Path) -> None:
    ended = cli("export", "nextomni", "-m", tmp_path / "none", tmp_path / "out")
    assert ended.returncode == 3 and ended.stderr.splitlines()[-1].startswith("error: ")
    ended = cli("export", "nextomni", "-m", tmp_path, tmp_path / "out", "--precison", "x")
    assert ended.returncode == 2 and "--precision" in ended.stderr


@pytest.mark.parametrize(
    "component", ["image_encoder", "image_decoder", "audio_encoder", "embed_text", "text_head"]
)
def test_optimum_computes_a_component_as_our_runtime_does(bundle: Path, component: str) -> None:
    model = modeling.ORTModelForCustomTasks.from_pretrained(
        bundle, file_name=f"{component}.onnx", use_io_binding=False
    )
    session = EdgeModel.from_bundle(Bundle.open(bundle), Execution()).session(component)
    generator = np.random.default_rng(0)
    given = {}
    for tensor in model.session.get_inputs():
        shape = [size if isinstance(size, int) else 2 for size in tensor.shape]
        given[tensor.name] = (
            generator.integers(0, 2, shape)
            if tensor.type == "tensor(int64)"
            else generator.normal(size=shape).astype(np.float32)
        )
    expected = session.run(given)
    found = model(**given)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)


def test_the_config_says_what_the_backbone_is(bundle: Path) -> None:
    told = json.loads((bundle / "config.json").read_text())
    backbone = Bundle.open(bundle).manifest.config.backbone
    assert told["model_type"] == "qwen2" and told["hidden_size"] == backbone.hidden_size
    assert "config.json" not in Bundle.open(bundle).manifest.files
