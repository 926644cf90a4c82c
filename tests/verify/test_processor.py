"""A golden trace on another kind of processor: integer components have the measured tolerance, one
line says so, and a real fault still fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from nextomni_edge.bundle import Bundle, bundle_identity
from nextomni_edge.errors import InputError
from nextomni_edge.runtimes import machine
from nextomni_edge.runtimes.base import runtime
from nextomni_edge.verify import Report, golden, processor, replay
from nextomni_edge.verify.comparison import INT8_LIMIT, LIMIT, limit, multiplies_integers
from nextomni_edge.verify.golden_schema import check_data
from tests.bundle.damage import manifest
from tests.calls import Invoke
from tests.sources import ROOT
from tests.verify import tamper

Variant = Callable[[str], Path]
HASWELL = ("x86_64", "avx2")
LINE = "another kind of processor: integer kernels differ"
QEMU = "qemu-x86_64"
BIAS = "layers.1.self_attn.v_proj.bias"


def shift(by: float) -> tamper.Change:
    def change(values: NDArray[Any]) -> None:
        values += np.float32(by)

    return change


def said(report: Report) -> list[str]:
    return [note for note in report.notes if note.startswith(LINE)]


@pytest.fixture
def on_haswell(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    variant("int8")  # recorded here, before this becomes another processor
    monkeypatch.setattr(processor, "integer_features", lambda: HASWELL)


def integer_components(path: Path) -> set[str]:
    components = Bundle.open(path).manifest.components
    return {name for name, record in components.items() if multiplies_integers(record)}


def test_on_the_same_kind_of_processor_the_tolerance_is_the_exact_one(variant: Variant) -> None:
    report = replay(Bundle.open(variant("int8")))
    assert report.failures == [] and said(report) == []
    assert all(part.limit == limit(name) for name, part in report.components.items())


@pytest.mark.usefixtures("on_haswell")
def test_on_another_kind_the_measured_tolerance_is_of_integer_components_only(
    variant: Variant,
) -> None:
    path = variant("int8")
    integers = integer_components(path)
    report = replay(Bundle.open(path))
    assert report.failures == [] and len(said(report)) == 1
    assert said(report)[0].endswith("here are x86_64 avx2")
    assert {"backbone"} <= integers < report.components.keys()
    for name, part in report.components.items():
        assert part.limit == (INT8_LIMIT if name in integers else limit(name))


@pytest.mark.usefixtures("on_haswell")
def test_a_float32_bundle_is_held_to_its_own_tolerance_anywhere(tiny_bundle: Path) -> None:
    report = replay(Bundle.open(tiny_bundle))
    assert report.failures == [] and said(report) == []
    assert report.components["backbone"].limit == LIMIT
    assert golden.read(Bundle.open(tiny_bundle)).processor == ()


@pytest.mark.parametrize("here", [None, HASWELL])
def test_a_real_fault_fails_on_either_kind(
    variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: tuple[str, ...] | None
) -> None:
    path = tamper.copy(variant("int8"), tmp_path / "bundle")
    if here:
        monkeypatch.setattr(processor, "integer_features", lambda: here)
    tamper.tensor(path, "backbone", BIAS, shift(1.0))
    report = replay(Bundle.open(path), check_digests=False)
    assert any(failure.startswith("backbone: hidden differs") for failure in report.failures)
    assert len(said(report)) == bool(here)


def test_a_small_difference_fails_here_and_passes_elsewhere(
    variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tamper.copy(variant("int8"), tmp_path / "bundle")
    tamper.tensor(path, "backbone", BIAS, shift(1e-3))
    bundle = Bundle.open(path)
    here = replay(bundle, check_digests=False)
    assert LIMIT < here.components["backbone"].error < INT8_LIMIT
    assert any(failure.startswith("backbone: ") for failure in here.failures)
    monkeypatch.setattr(processor, "integer_features", lambda: HASWELL)
    there = replay(bundle, check_digests=False)
    assert not any(failure.startswith("backbone: ") for failure in there.failures)


def test_a_trace_of_an_older_release_opens_and_is_held_to_the_exact_tolerance(
    variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tamper.copy(variant("int8"), tmp_path / "bundle")
    manifest(lambda data: data["golden"]["data"].pop("processor"))(path)
    monkeypatch.setattr(processor, "integer_features", lambda: HASWELL)
    report = replay(Bundle.open(path))
    assert report.failures == [] and said(report) == []
    assert report.components["backbone"].limit == LIMIT


def test_the_processor_is_no_part_of_a_bundles_identity(variant: Variant, tmp_path: Path) -> None:
    path = tamper.copy(variant("int8"), tmp_path / "bundle")
    assert list(golden.read(Bundle.open(path)).processor) == list(machine.integer_features())
    identity = bundle_identity(path)
    for edit in (
        lambda data: data["golden"]["data"].update(processor=list(HASWELL)),
        lambda data: data["golden"]["data"].pop("processor"),
    ):
        text = json.loads((path / "manifest.json").read_text())
        edit(text)
        (path / "manifest.json").write_text(json.dumps(text, indent=1) + "\n")
        assert bundle_identity(path) == identity


@pytest.mark.parametrize("command", ["verify", "doctor"])
@pytest.mark.usefixtures("on_haswell")
def test_verify_and_doctor_say_it_in_one_line(
    invoke: Invoke, variant: Variant, tmp_path: Path, command: str
) -> None:
    sound = invoke(command, variant("int8"))
    assert sound.exit_code == 0, sound.output
    path = tamper.copy(variant("int8"), tmp_path / "bundle")
    tamper.tensor(path, "backbone", BIAS, shift(1.0))
    broken = invoke(command, path)
    assert broken.exit_code == 4
    for result in (sound, broken):
        assert sum(LINE in line for line in result.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("features", "error"),
    [
        ("avx2", "processor must be a list of 1 to 32 names"),
        ([], "processor must be a list of 1 to 32 names"),
        (["avx2"] * 33, "processor must be a list of 1 to 32 names"),
        ([7], "processor has 7, expected names of a-z, 0-9 and _"),
        (["\x1b[2J"], "processor has '\\x1b[2J', expected names of a-z, 0-9 and _"),
        (["a" * 33], f"processor has '{'a' * 33}', expected names of a-z, 0-9 and _"),
        (None, "processor must be a list of 1 to 32 names"),
    ],
)
def test_a_processor_that_is_no_list_of_names_is_refused(features: object, error: str) -> None:
    with pytest.raises(InputError) as raised:
        check_data({"cases": {}, "tasks": {}, "processor": features})
    assert str(raised.value) == error


@pytest.mark.parametrize(
    ("architecture", "info", "asked", "expected"),
    [
        (
            "x86_64",
            "flags\t\t: fpu avx2 avx512_vnni avx_vnni amx_int8\n",
            {"avx2": True, "avx512_vnni": True},
            ("x86_64", "amx_int8", "avx2", "avx512_vnni", "avx_vnni"),
        ),
        # an emulator: the list is the host's
        (
            "x86_64",
            "flags\t\t: avx2 avx512_vnni amx_int8\n",
            {"avx2": True, "avx512_vnni": False},
            HASWELL,
        ),
        (
            "aarch64",
            "Features\t: fp asimd asimddp i8mm\n",
            {"dotprod": True},
            ("aarch64", "dotprod", "i8mm"),
        ),
        ("arm64", "", {"dotprod": True, "avx2": False}, ("aarch64", "dotprod")),
        ("AMD64", "", {"avx2": True}, HASWELL),
        ("riscv64", "model name : avx2\n", {}, ("riscv64",)),
    ],
)
def test_the_features_are_the_processors_own(
    architecture: str,
    info: str,
    asked: dict[str, bool],
    expected: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "cpuinfo").write_text(info)
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine.platform, "machine", lambda: architecture)
    monkeypatch.setattr(machine, "_asked_features", lambda: asked)
    assert machine.integer_features() == expected


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (HASWELL, True),
        (("x86_64",), True),
        (("x86_64", "avx2", "avx512_vnni"), False),
        (("x86_64", "avx2", "avx_vnni"), False),
        (("aarch64",), False),
    ],
)
def test_onnx_runtime_multiplies_only_uint8_where_sums_would_saturate(
    variant: Variant,
    monkeypatch: pytest.MonkeyPatch,
    features: tuple[str, ...],
    expected: bool,
) -> None:
    entries = []

    class Options(onnxruntime.SessionOptions):  # type: ignore[misc]
        def add_session_config_entry(self, key: str, value: str) -> None:
            entries.append((key, value))
            super().add_session_config_entry(key, value)

    monkeypatch.setattr(machine, "integer_features", lambda: features)
    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    bundle = Bundle.open(variant("int8"), verify_hashes=False)
    file, spec = bundle.component_file("text_head"), bundle.spec("text_head")
    runtime("onnx").load("text_head", file, spec)
    assert (("session.x64quantprecision", "1") in entries) == expected


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("config", [None, "int8", "int4"])
def test_a_bundle_verifies_on_an_emulated_processor_without_vnni(
    tiny_bundle: Path, variant: Variant, config: str | None
) -> None:
    emulator = shutil.which(QEMU)
    if emulator is None:
        pytest.skip(f"{QEMU} (qemu-user) is not installed: no processor without VNNI was emulated")
    path = variant(config) if config else tiny_bundle
    command = [emulator, "-cpu", "Haswell", sys.executable, "-m", "nextomni_edge", "verify", path]
    ended = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    found = json.loads(ended.stdout)
    assert (ended.returncode, found["failures"], found["unchecked"]) == (0, [], [])
    expected = config is not None and "avx512_vnni" in machine.integer_features()
    assert sum(LINE in note for note in found["notes"]) == expected
