"""`pack --for ios`: what the folder holds, and that the numbers which the Swift code must reproduce
are still Python's."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.coreml_interface import Form
from nextomni_edge.config import CodedConfig
from nextomni_edge.decoding import CommitConfig, Count, Score, ScoreNoise
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.shortcuts import SHORTCUTS
from nextomni_edge.pack import pack
from nextomni_edge.pack.ios import SETTINGS, SOURCES, model_folder, sources
from nextomni_edge.pack.loop import NOT_CHOSEN, NOT_NAMED
from nextomni_edge.pack.naming import named_path, named_text, package_name
from nextomni_edge.verify import golden
from tests.bundle.damage import record
from tests.pack.vectors import FOLDER, vectors


@pytest.fixture(scope="module")
def packed(tiny_coreml_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ios") / "NextOmni"
    report = pack(Bundle.open(tiny_coreml_bundle), out, "ios")
    assert report.files == sum(path.is_file() for path in out.rglob("*")) and report.bytes > 0
    return out


def test_the_vectors_are_what_python_computes_now() -> None:
    now = vectors()
    assert {path.name for path in FOLDER.iterdir()} == now.keys()
    for name, data in now.items():
        written, own = json.loads((FOLDER / name).read_text()), json.loads(json.dumps(data))
        # a matrix product's last bits are the processor's
        same = _close(written, own) if name == "media.json" else written == own
        assert same, f"run python -m tests.pack.vectors: {name}"


def _close(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same but for 2e-5 in each float."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 2e-5
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_close, one, other))
    return bool(one == other)


def test_vectors_are_worth_replaying() -> None:
    found = vectors()
    moved = [
        np.not_equal(step["from"], step["next"]).sum() for step in found["steps.json"]["steps"]
    ]
    assert sum(moved) > 20
    runs = {run["name"]: run for run in found["loop.json"]["runs"]}
    assert {run["attention"] for run in runs.values()} == {"full", "prefix"}
    for run in runs.values():
        assert len({json.dumps(step["xt"]) for step in run["steps"]}) > 2, run["name"]


def test_the_folder_is_the_swift_package_with_the_model(
    packed: Path, tiny_coreml_bundle: Path
) -> None:
    bundle = Bundle.open(tiny_coreml_bundle)
    name = package_name(bundle.path.name)
    for path in sources():
        text = (SOURCES / path).read_text(encoding="utf-8")
        own = (packed / named_path(path, name)).read_text(encoding="utf-8")
        assert own == named_text(text, name) and not re.search(r"\bNextOmni(?!Error\b)\w", own)
    model = packed / model_folder(name)
    for file in (file for file in bundle.manifest.files if ".mlpackage/" in file):
        assert (model / file).read_bytes() == (bundle.path / file).read_bytes()
    digests = json.loads((model / "packages.json").read_text())
    assert digests.keys() == {
        file.split(".mlpackage/")[0] for file in bundle.manifest.files if ".mlpackage/" in file
    }
    assert len(set(digests.values())) == len(digests)
    assert json.loads((model / "config.json").read_text()) == json.loads(
        json.dumps(bundle.config.to_json())
    )


def test_the_golden_trace_is_the_bundles(packed: Path, tiny_coreml_bundle: Path) -> None:
    found = json.loads(
        (packed / model_folder(package_name(tiny_coreml_bundle.name)) / "golden.json").read_text()
    )
    tasks = golden.read(Bundle.open(tiny_coreml_bundle)).tasks
    assert [task["name"] for task in found["tasks"]] == list(tasks)
    for written, (task, trajectory) in zip(found["tasks"], tasks.values(), strict=True):
        assert written["seed"] == str(task.options.seed)
        last = [
            np.array(tokens).reshape(own.shape)
            for tokens, own in zip(written["tokens"], trajectory.tokens, strict=True)
        ]
        assert all(
            np.array_equal(one, other) for one, other in zip(last, trajectory.tokens, strict=True)
        )
        assert written["steps"][0]["x1"] is None and len(written["steps"]) == len(trajectory.x_t[0])


def test_the_same_bundle_gives_the_same_bytes(
    packed: Path, tiny_coreml_bundle: Path, tmp_path: Path
) -> None:
    pack(Bundle.open(tiny_coreml_bundle), tmp_path / "again", "ios")
    for path in (path for path in packed.rglob("*") if path.is_file()):
        assert (tmp_path / "again" / path.relative_to(packed)).read_bytes() == path.read_bytes()


def test_what_swift_cannot_run_is_refused(
    tiny_bundle: Path, tiny_coreml_bundle: Path, packed: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match="is onnx, iOS runs Core ML packages; export with --target coreml"
    ):
        pack(Bundle.open(tiny_bundle), tmp_path / "out", "ios")
    with pytest.raises(UsageError, match="exists"):
        pack(Bundle.open(tiny_coreml_bundle), packed, "ios")
    copy = Path(shutil.copytree(tiny_coreml_bundle, tmp_path / "copy"))
    data = json.loads((copy / "tokenizer.json").read_text())
    data["pre_tokenizer"] = {"type": "Whitespace"}
    (copy / "tokenizer.json").write_text(json.dumps(data))
    record(copy, "tokenizer.json")
    with pytest.raises(InputError, match="knows byte-level BPE behind a split by a pattern"):
        pack(Bundle.open(copy), tmp_path / "out", "ios")
    assert not (tmp_path / "out").exists()


def _with(bundle: Bundle, section: str, **values: Any) -> Bundle:
    """The bundle of a model whose config has other values in a section, or has them itself."""
    config = bundle.config
    if section:
        values = {section: dataclasses.replace(getattr(config, section), **values)}
    changed = dataclasses.replace(config, **values)
    return Bundle(bundle.path, dataclasses.replace(bundle.manifest, config=changed))


def test_a_model_that_the_swift_loop_computes_wrongly_is_refused(
    tiny_coreml_bundle: Path, tmp_path: Path
) -> None:
    bundle = Bundle.open(tiny_coreml_bundle)
    masked = dataclasses.replace(bundle.config.flow.text, kind="mixture", mask=5)
    weakened = dataclasses.replace(masked, commit=CommitConfig(score="peak", repeat_penalty=1.2))
    more = {
        "more": (CodedConfig("depth", 4),),
        "modalities": ("text", "image", "audio", "depth"),
    }
    shifted = _with(bundle, "", logit_shift=1)
    for model, found in (
        (
            _with(bundle, "flow", text=masked),
            "the path of text is neither metric nor has a commit step",
        ),
        (_with(bundle, "flow", text=weakened), "the commit step sets repeat_penalty, score peak"),
        (_with(shifted, "backbone", attention="causal"), "this model is autoregressive"),
        (_with(bundle, "", **more), "the model has the modalities depth"),
    ):
        with pytest.raises(InputError, match=f"{found}, which the Swift loop does not compute"):
            pack(model, tmp_path / "out", "ios")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"kv_cache": "prefix"}, "kv_cache"),
        ({"stepper": "commit", "shift": 2.0}, "shift"),
    ],
)
def test_a_trace_that_the_swift_loop_cannot_replay_is_refused(
    settings: dict[str, object],
    named: str,
    tiny_coreml_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = Bundle.open(tiny_coreml_bundle)
    trace = golden.read(bundle)
    for name, (task, trajectory) in trace.tasks.items():
        changed = dataclasses.replace(task, options=task.options.changed(**settings))
        trace.tasks[name] = changed, trajectory
    monkeypatch.setattr(golden, "read", lambda bundle: trace)
    with pytest.raises(InputError, match=f"sets {named}, which the Swift loop does not support"):
        pack(bundle, tmp_path / "out", "ios")
    assert not (tmp_path / "out").exists()


def test_prefix_attention_needs_packages_that_give_keys_and_values(
    tiny_coreml_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = _with(Bundle.open(tiny_coreml_bundle), "backbone", attention="prefix")
    pack(prefix, tmp_path / "ranged", "ios")
    config = json.loads(
        (
            tmp_path
            / "ranged"
            / model_folder(package_name(tiny_coreml_bundle.name))
            / "config.json"
        ).read_text()
    )
    assert config["backbone"]["attention"] == "prefix"
    for form in (Form(single=True, rows=(64,)), Form(single=True, keeps=True)):
        monkeypatch.setattr(Form, "of", lambda program, form=form: form)
        with pytest.raises(InputError, match="keeps no prompt in packages with --rows or --state"):
            pack(prefix, tmp_path / "out", "ios")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("folder", "name"),
    [("emoji", "Emoji"), ("emoji-int4", "EmojiInt4"), ("7b", "NextOmni7b"), ("___", "NextOmni")],
)
def test_a_package_has_its_bundles_name(folder: str, name: str) -> None:
    assert package_name(folder) == name
    text = 'name: "NextOmni" NextOmniFlowTests NextOmniError nextomni-sample'
    program = f"{name.lower()}-sample"
    assert named_text(text, name) == f'name: "{name}" {name}FlowTests NextOmniError {program}'


def test_every_setting_that_changes_tokens_is_an_option_in_swift_or_refused() -> None:
    """A new setting of options.py must be one or the other."""
    swift = (SOURCES / "Sources/NextOmniFlow/Options.swift").read_text(encoding="utf-8")
    for name in GenerationOptions().settings().keys() - {*SHORTCUTS, "padding"}:
        first, *more = name.split("_")
        known = f"public var {first}{''.join(word.capitalize() for word in more)}" in swift
        assert known == (name in SETTINGS), name


def test_every_choice_of_a_commit_step_is_known_in_swift_or_refused() -> None:
    """A new choice in decoding.py must be one or the other."""
    swift = (SOURCES / "Sources/NextOmniFlow/Commit.swift").read_text(encoding="utf-8")
    for each in dataclasses.fields(CommitConfig):
        first, *more = each.name.split("_")
        known = f"public var {first}{''.join(word.capitalize() for word in more)}" in swift
        assert known != (each.name in NOT_CHOSEN), each.name
    for name in (*get_args(Count), *get_args(Score), *get_args(ScoreNoise)):
        known = re.search(rf"case .*\b{name}\b|= \"{name}\"", swift) is not None
        assert known != (name in NOT_NAMED), name
