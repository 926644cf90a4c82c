"""The package itself: what it names, how little it imports, and a stranger's five lines, with
PyTorch and without."""

from __future__ import annotations

import pydoc
import subprocess
import sys
from pathlib import Path
from typing import assert_type

import pytest

import nextomni_edge as ne
from nextomni_edge.errors import InputError, UsageError
from tests.torch_free import without_torch

ROOT = Path(__file__).parents[2]
NAMES = {
    "load", "Model", "Answer", "Chat", "Image", "Audio", "Video", "export", "quantize", "verify",
    "search", "__version__",
}  # fmt: skip
FIVE_LINES = """
import nextomni_edge as ne
model = ne.load("demo/bundle")
model.generate("draw rocket, noto style", to="image", seed=7).save("rocket.png")
print(model.generate(ne.Image("rocket.png")).text)
model.generate("say rocket", to="audio").save("rocket.wav")
for step in model.stream("draw rocket, noto style", to="image", seed=7): last = step.answer.image
"""
MORE = """
import sys
assert "torch" not in sys.modules, "torch was imported"
"""


def python(script: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_package_names_what_a_program_needs() -> None:
    assert set(ne.__all__) == NAMES <= set(dir(ne))
    assert all(getattr(ne, name) is not None for name in NAMES)
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        _ = ne.lod  # type: ignore[attr-defined]


def test_importing_it_imports_nothing_else() -> None:
    script = (
        "import sys; old = set(sys.modules); import nextomni_edge; print(*set(sys.modules) - old)"
    )
    found = set(python(script).stdout.split())
    assert "nextomni_edge" in found
    ours = {name for name in found if name.startswith("nextomni_edge")}
    assert ours == {"nextomni_edge", "nextomni_edge.privacy"}
    # privacy.py hides it, so that no vendor's library finds it
    outside = {name.partition(".")[0] for name in found - ours} - {"openvino_telemetry"}
    assert outside <= set(sys.stdlib_module_names)


def test_listing_and_helping_need_no_pytorch() -> None:
    script = (
        "import nextomni_edge as ne, pydoc; print(len(pydoc.render_doc(ne)), callable(ne.export))"
    )
    ended = without_torch(script)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split()[1] == "True"


def test_help_is_a_page_to_learn_from() -> None:
    page = pydoc.plain(pydoc.render_doc(ne))
    for line in (
        'model = ne.load("demo/bundle")',
        "for step in model.stream(",
        "chat = model.chat()",
        'ne.search.index("photos", model)',
        'ne.quantize("my-bundle", "my-int8", "int8-dynamic")',
        "class Model(",
        "load(",
    ):
        assert line in page, line


@pytest.mark.usefixtures("clone")
def test_five_lines_draw_save_name_speak_and_stream(clone: Path) -> None:
    with_torch = python(FIVE_LINES + MORE, clone)
    assert with_torch.returncode == 0, with_torch.stderr
    made = [(clone / name).read_bytes() for name in ("rocket.png", "rocket.wav")]
    for name in ("rocket.png", "rocket.wav"):
        (clone / name).unlink()
    without = without_torch(FIVE_LINES, folder=clone)
    assert without.returncode == 0, without.stderr
    assert [(clone / name).read_bytes() for name in ("rocket.png", "rocket.wav")] == made
    assert without.stdout == with_torch.stdout


def test_export_and_verify_are_calls_and_packages(tiny_checkpoint: Path, tmp_path: Path) -> None:
    from nextomni_edge.export import ExportReport

    report = ne.export(str(tiny_checkpoint), tmp_path / "bundle", dry_run=True)
    assert_type(report, ExportReport)
    assert report.total_weight_bytes > 0 and not (tmp_path / "bundle").exists()
    from nextomni_edge.export import export_bundle
    from nextomni_edge.verify import verify

    assert callable(export_bundle) and callable(verify) and callable(ne.verify)
    with pytest.raises(InputError):
        ne.export(tmp_path / "none", tmp_path / "bundle")


def test_verify_replays_a_bundle_s_golden_trace(tiny_bundle: Path) -> None:
    from nextomni_edge.verify import Report

    report = ne.verify(str(tiny_bundle))
    assert_type(report, Report)
    assert report.tasks and not report.failures


def test_quantize_takes_a_recipe_by_name(tiny_bundle: Path, tmp_path: Path) -> None:
    from nextomni_edge.calibration import QuantReport

    report = ne.quantize(str(tiny_bundle), str(tmp_path / "small"), "int8-dynamic")
    assert_type(report, QuantReport)
    assert report.bytes < report.parent_bytes
    assert ne.load(tmp_path / "small").generate("a cat").modality == "text"
    with pytest.raises(UsageError, match="int8-dynamc"):
        ne.quantize(tiny_bundle, tmp_path / "none", "int8-dynamc")


@pytest.mark.parametrize(
    ("call", "extra"),
    [
        ("ne.export('m', 'b')", "export"),
        ("ne.verify('b', against='m')", "export"),
        ("ne.load('demo/bundle', runtime='torch')", "train"),
    ],
)
def test_what_needs_pytorch_names_the_extra(clone: Path, call: str, extra: str) -> None:
    script = f"""
sys.modules["torch"] = None
import nextomni_edge as ne
from nextomni_edge.errors import NextOmniError
try:
    {call}
except NextOmniError as error:
    print(type(error).__name__, error)
"""
    ended = without_torch(script, folder=clone)
    assert ended.returncode == 0, ended.stderr
    if "runtime='torch'" in call:  # no bundle's format is PyTorch's
        assert ended.stdout.startswith("UsageError runtime 'torch' reads no component")
    else:
        assert ended.stdout.startswith("MissingRuntimeError ")
        assert f"install with: pip install 'nextomni-edge[{extra}]'" in ended.stdout


def test_a_type_checker_sees_calls_and_packages(tmp_path: Path) -> None:
    """What a user writes passes mypy's strict mode: names, settings, calls, and modules."""
    (tmp_path / "user.py").write_text(USER, encoding="utf-8")
    (tmp_path / "wrong.py").write_text(WRONG, encoding="utf-8")
    users = [str(tmp_path / name) for name in ("user.py", "wrong.py")]
    command = [sys.executable, "-m", "mypy", "--strict", *users]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in ended.stdout.splitlines() if ": error:" in line]
    assert not [line for line in lines if "user.py" in line], ended.stdout
    found = {line.split("wrong.py:")[1].split(":")[0] for line in lines if "wrong.py" in line}
    assert found == {"3", "4", "5"}, ended.stdout


USER = """
from typing import assert_type
import nextomni_edge as ne
import nextomni_edge.export.onnx
from nextomni_edge.export import CoreMlOptions, export_bundle
from nextomni_edge.verify import replay
model = ne.load("demo/bundle", compute="float32")
assert_type(model.generate("a", to="image", seed=7, guidance=2.0), ne.Answer)
assert_type(model.generate((ne.Image("a.png"), "what?")), ne.Answer)
assert_type(model.generate([ne.Image("a.png"), "what?"]), ne.Answer)
assert_type(model.generate(["a", "b"], to="image"), list[ne.Answer])
assert_type(model.generate([("a", ne.Image("a.png"))]), list[ne.Answer])
ne.export("model", "bundle", coreml=CoreMlOptions())
nextomni_edge.export.onnx.write_component
ne.verify("bundle").failures
ne.quantize("bundle", "small", "int4").bytes
for step in model.stream("a"):
    print(step.answer.text)
chat: ne.Chat = model.chat(seconds=2.0)
hits = ne.search.find("photos", ne.Image("a.png"), model)
print(hits[0].cosine, ne.search.index("photos", model).embedded, ne.__version__)
"""
WRONG = """
import nextomni_edge as ne
ne.load("bundle").generate("a", sed=7)
ne.export("model")
ne.lod
"""
