"""`pack --for android`: what the folder holds, that its graphs in ORT format compute what the
bundle's do, and what is refused. test_android_loop.py runs the Kotlin code."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration import quantize
from nextomni_edge.calibration.recipes.config import recipe
from nextomni_edge.decoding import CommitConfig, Count, Score, ScoreNoise
from nextomni_edge.errors import GateError, InputError, UsageError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.pack import android, pack
from nextomni_edge.pack.android import MODEL, SOURCES
from nextomni_edge.pack.loop import NOT_CHOSEN, NOT_NAMED
from nextomni_edge.runtimes.onnx import ort_format
from nextomni_edge.tokens.text import SPELLINGS
from nextomni_edge.verify import golden
from nextomni_edge.verify.comparison import error
from tests.bundle.damage import record
from tests.calls import Invoke, answered, refused

LOOP = SOURCES / "src/main/kotlin/nextomni/edge"


@pytest.fixture(scope="module")
def packed(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("android") / "nextomni"
    report = pack(Bundle.open(tiny_bundle), out, "android")
    files = [path for path in out.rglob("*") if path.is_file()]
    assert (report.files, report.bytes) == (len(files), sum(p.stat().st_size for p in files))
    return out


def files(folder: Path) -> dict[str, bytes | None]:
    """Contents by name. ONNX Runtime writes the tables of a graph in an order of its own each time,
    so a graph, and the manifest with its digest, count by name only."""
    return {
        path.relative_to(folder).as_posix(): None
        if path.suffix == ".ort" or path.name == "manifest.json"
        else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MODEL / "manifest.json").read_text())
    return found


def test_every_graph_in_ort_format_gives_the_outputs_of_the_bundle_s(
    packed: Path, tiny_bundle: Path
) -> None:
    bundle = Bundle.open(tiny_bundle)
    model, components = EdgeModel.from_bundle(bundle), manifest(packed)["components"]
    assert components.keys() == bundle.manifest.components.keys()
    for name, cases in golden.read(bundle).cases.items():
        own = onnxruntime.InferenceSession((packed / MODEL / components[name]["file"]).read_bytes())
        session = model.session(name)
        for inputs, _ in cases.values():
            outputs = [tensor.name for tensor in session.spec.outputs]
            expected = session.run(inputs, set(outputs))
            for output, found in zip(outputs, own.run(outputs, inputs), strict=True):
                assert found.dtype == expected[output].dtype
                assert error(found, expected[output]) < 1e-5, (name, output)


def test_the_manifest_names_every_file_with_its_digest(packed: Path, tiny_bundle: Path) -> None:
    found, bundle = manifest(packed), Bundle.open(tiny_bundle)
    contents = {path.name: path.read_bytes() for path in (packed / MODEL).iterdir()}
    del contents["manifest.json"]
    assert found["files"] == {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents.items()
    }
    assert bundle.manifest.golden is not None
    for name in (found["tokenizer"], found["metric_tables"], bundle.manifest.golden.file):
        assert contents[name] == (tiny_bundle / name).read_bytes()
    assert found["config"] == json.loads(json.dumps(bundle.config.to_json()))
    assert found["golden"]["tie"] == 1e-4
    assert found["components"]["audio_decoder"]["limit"] == 5e-3


def test_the_folder_is_a_module_for_gradle_with_the_licence(packed: Path) -> None:
    for path in (path for path in SOURCES.rglob("*") if path.is_file()):
        own = (packed / path.relative_to(SOURCES)).read_bytes()
        assert own == path.read_bytes() or path.name == "build.gradle.kts"
    build = (packed / "build.gradle.kts").read_text()
    assert f"onnxruntime-android:{onnxruntime.__version__}" in build
    assert "Apache License" in (packed / "LICENSE").read_text()
    assert (packed / "NOTICE").is_file()


def test_the_operators_that_a_smaller_runtime_needs_are_listed(packed: Path) -> None:
    text = (packed / "required_operators.config").read_text()
    assert re.search(r"^ai\.onnx;23;.*\bAttention\b", text, re.MULTILINE)
    assert "#" not in text and str(packed.parent) not in text  # no path of this machine


def test_the_library_s_log_stays_silent(tiny_bundle: Path, tmp_path: Path) -> None:
    """Its import gives the root logger a handler."""
    program = (
        "import sys, logging; from pathlib import Path; from nextomni_edge.bundle import Bundle\n"
        "from nextomni_edge.pack import pack; given = list(map(Path, sys.argv[1:]))\n"
        "pack(Bundle.open(given[0]), given[1], 'android'); print(logging.getLogger().handlers)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tiny_bundle, tmp_path / "out"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_the_same_bundle_gives_the_same_files_and_replaces_only_a_module_of_ours(
    packed: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle, out = Bundle.open(tiny_bundle), tmp_path / "again"
    for overwrite in (False, True):
        pack(bundle, out, "android", overwrite)
        assert files(out) == files(packed)
    with pytest.raises(UsageError, match="exists; choose another name or pass --overwrite"):
        pack(bundle, out, "android")
    (out / "build").mkdir()
    (out / "build/cache").write_text("of Gradle")
    (out / "src/main/kotlin/Mine.kt").write_text("mine")
    with pytest.raises(UsageError, match=r"Mine.kt is no file of a Gradle module that this tool"):
        pack(bundle, out, "android", True)
    (out / "src/main/kotlin/Mine.kt").unlink()
    pack(bundle, out, "android", True)
    assert not (out / "build").exists()


def test_what_the_kotlin_loop_cannot_run_is_refused(
    tiny_bundle: Path, tiny_coreml_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="is coreml, ONNX Runtime on Android runs ONNX graphs"):
        pack(Bundle.open(tiny_coreml_bundle), out, "android")
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    data = json.loads((copy / "tokenizer.json").read_text())
    data["pre_tokenizer"] = {"type": "Whitespace"}
    (copy / "tokenizer.json").write_text(json.dumps(data))
    record(copy, "tokenizer.json")
    with pytest.raises(InputError, match="the Kotlin code knows byte-level BPE behind a split"):
        pack(Bundle.open(copy), out, "android")
    bundle = Bundle.open(tiny_bundle)
    penalty = dataclasses.replace(
        bundle.config.flow.text, kind="mixture", mask=5, commit=CommitConfig(repeat_penalty=1.2)
    )
    flow = dataclasses.replace(bundle.config.flow, text=penalty)
    config = dataclasses.replace(bundle.config, flow=flow)
    changed = Bundle(bundle.path, dataclasses.replace(bundle.manifest, config=config))
    with pytest.raises(InputError, match="repeat_penalty, which the Kotlin loop does not compute"):
        pack(changed, out, "android")
    monkeypatch.setattr(android, "MOST", 1000)
    with pytest.raises(InputError, match="a file in ORT format holds 1,000; quantize it first"):
        pack(bundle, out, "android")
    assert not out.exists()


def test_a_graph_that_cannot_be_converted_leaves_nothing(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def session(*given: object, **more: object) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(InputError, match=r"cannot write .* in ORT format \(no kernel\)"):
        pack(Bundle.open(tiny_bundle), tmp_path / "out", "android")
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_to_do_next(
    invoke: Invoke, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "assistant"
    found = answered(invoke("pack", tiny_bundle, "--for", "android", "-o", out, "--json"))
    assert 'include(":assistant")' in found["next"] and found["files"] > 30
    refused(invoke("pack", tiny_bundle, "--for", "android", "-o", out), 2, "exists")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(
        invoke("pack", tiny_bundle, "--for", "android", "-o", tmp_path / "other"),
        5,
        "onnxruntime is not installed; install with: pip install 'nextomni-edge[cpu]'",
    )


def test_every_choice_of_a_commit_step_is_known_in_kotlin_or_refused() -> None:
    """A new choice in decoding.py must be one or the other."""
    rule = (LOOP / "flow/CommitRule.kt").read_text(encoding="utf-8")
    config = (LOOP / "ModelConfig.kt").read_text(encoding="utf-8")
    for each in dataclasses.fields(CommitConfig):
        first, *more = each.name.split("_")
        name = f"{first}{''.join(word.capitalize() for word in more)}"
        known = f"val {name}:" in rule and f'"{each.name}"' in config
        assert known != (each.name in NOT_CHOSEN), each.name
    steps = "".join(
        (LOOP / "flow" / name).read_text(encoding="utf-8")
        for name in ("Commit.kt", "Turns.kt", "CommitRule.kt")
    )
    for name in (*get_args(Count), *get_args(Score), *get_args(ScoreNoise)):
        # the last of several stands in a comment at the branch of what is left
        assert (f'"{name}"' in steps) != (name in NOT_NAMED), name


def test_a_template_is_spelled_as_in_python() -> None:
    text = (LOOP / "tokens/SpecialTokens.kt").read_text(encoding="utf-8")
    for template in ("llada", "mmada", "lumina", "dream"):
        for name, spelling in SPELLINGS[template].items():
            if name not in ("left_pad", "task_reasoned"):  # of training, and of no prompt
                assert f'"{name}" to "{spelling}"' in text, (template, name)


@pytest.fixture(scope="module")
def int8(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with integers in it, packed."""
    folder = tmp_path_factory.mktemp("int8")
    quantize(tiny_bundle, folder / "bundle", recipe("int8-dynamic"))
    pack(Bundle.open(folder / "bundle"), folder / "nextomni", "android")
    return folder


def test_integers_stay_integers_and_have_the_limits_of_another_processor(
    int8: Path, packed: Path
) -> None:
    for name in ("embed_text", "text_head", "image_decoder"):
        own, whole = (folder / MODEL / f"{name}.ort" for folder in (int8 / "nextomni", packed))
        assert own.stat().st_size < 0.5 * whole.stat().st_size, name
    found = manifest(int8 / "nextomni")
    assert found["golden"]["tie"] == 1.0
    assert found["components"]["backbone"]["limit"] == 0.1
    assert found["components"]["audio_encoder"]["limit"] == 1e-4


def test_a_graph_with_other_outputs_ends_the_packing(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, file: Path) -> ort_format.Run:
        return lambda inputs, names: [np.zeros((1, 1), np.float32) for _ in names]

    monkeypatch.setattr(ort_format, "load", load)
    with pytest.raises(GateError, match=r"embeddings of embed_text differs by nan of its scale"):
        pack(Bundle.open(tiny_bundle), tmp_path / "out", "android")
    assert not list(tmp_path.iterdir())


def test_int4_is_refused_because_the_runtime_computes_it_wrongly(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize(tiny_bundle, tmp_path / "bundle", recipe("int4-rtn"))
    bundle = Bundle.open(tmp_path / "bundle")
    with pytest.raises(InputError, match=r"has weights in blocks \(INT4\), which ONNX Runtime"):
        pack(bundle, tmp_path / "out", "android")
    monkeypatch.setattr(android, "_check", lambda bundle: None)
    # where a release of ONNX Runtime mends this, `_check` has nothing to refuse
    with pytest.raises((GateError, InputError), match=r"in ORT\s+format"):
        pack(bundle, tmp_path / "out", "android")
    assert not (tmp_path / "out").exists()


def test_a_weight_of_float16_is_not_widened(tmp_path: Path) -> None:
    weight = onnx.numpy_helper.from_array(np.ones((256, 256), np.float16), "weight")
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Cast", ["weight"], ["wide"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("MatMul", ["x", "wide"], ["y"]),
        ],
        "wide",
        *(
            [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 256])]
            for name in "xy"
        ),
        [weight],
    )
    path, out = tmp_path / "graph.onnx", tmp_path / "graph.ort"
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    ort_format.convert("text_head", path, out, folds=False)
    assert 2 * 256**2 < out.stat().st_size < 3 * 256**2
    ort_format.convert("text_head", path, out, folds=True)
    assert out.stat().st_size > 4 * 256**2  # why `write` folds where weights are float32 only
