"""A report of real variants: what is measured, and the page that shows it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle, bundle_identity
from nextomni_edge.calibration.data.collect import Planned
from nextomni_edge.calibration.quantize import quantize
from nextomni_edge.calibration.recipes.config import recipe
from nextomni_edge.calibration.report import report as module
from nextomni_edge.calibration.report.kept import Kept, remove_kept
from nextomni_edge.calibration.report.page import page, write_report
from nextomni_edge.calibration.report.report import Variant, load_variants, report
from nextomni_edge.errors import InputError, UsageError
from tests.calls import Invoke, answered, refused


@pytest.fixture(scope="module")
def variants(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The parent, a copy of it, an INT8 and an INT4 bundle."""
    folder = tmp_path_factory.mktemp("variants")
    shutil.copytree(tiny_bundle, folder / "copy")
    for name in ("int8-dynamic", "int4-rtn"):
        quantize(tiny_bundle, folder / name, recipe(name))
    return [tiny_bundle, folder / "copy", folder / "int8-dynamic", folder / "int4-rtn"]


@pytest.fixture(scope="module")
def data(variants: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    loaded = load_variants(variants)
    folder = tmp_path_factory.mktemp("report")
    return report(
        loaded,
        lambda v: Planned(v.model, v.bundle.manifest.components),
        folder,
        bins=4,
        seed=1,
        rounds=3,
    )


def test_a_copy_agrees_in_everything_and_fewer_bits_agree_less(data: dict[str, Any]) -> None:
    parent, copy, int8, int4 = data["bundles"]
    assert "agreement" not in parent and copy["bytes"] == parent["bytes"]
    assert (
        copy["agreement"]["all"]["kl"]["mean"] == 0
        and copy["agreement"]["all"]["same_argmax"]["mean"] == 1
    )
    assert all(found["whole"]["mean"] == 1 for found in copy["tokens"].values())
    assert 0 < int8["agreement"]["all"]["kl"]["mean"] < int4["agreement"]["all"]["kl"]["mean"]
    assert int4["agreement"]["all"]["same_argmax"]["mean"] < 1
    assert int8["recipe"]["kind"] == "int8-dynamic" and parent["recipe"] is None


def test_flips_are_told_for_each_sub_code(data: dict[str, Any]) -> None:
    copy, int4 = data["bundles"][1], data["bundles"][3]
    codes = {"text": 1, "image": 3, "audio": 2}
    for name, count in codes.items():
        assert [each["mean"] for each in copy["agreement"][name]["flips_by_code"]] == [0] * count
        part = int4["agreement"][name]
        flips = np.mean([each["mean"] for each in part["flips_by_code"]])
        assert flips == pytest.approx(1 - part["same_argmax"]["mean"])
        decided = part["flips_when_decided"]
        assert 0 <= decided["mean"] <= 1 and decided["n"] > 0
        assert copy["agreement"][name]["flips_when_decided"]["mean"] == 0
    assert copy["agreement"]["all"]["flips_by_code"] == []
    shown = page(data, [])
    assert "<th>image 3</th><th>image, decided</th><th>text 1</th>" in shown


def test_every_bin_modality_and_task_is_there_with_its_number_of_trajectories(
    data: dict[str, Any],
) -> None:
    int4 = data["bundles"][3]
    assert int4["agreement"].keys() == {"all", "text", "image", "audio"}
    for part in int4["agreement"].values():
        assert [each["t"] for each in part["by_t"]] == [
            [0.0, 0.25],
            [0.25, 0.5],
            [0.5, 0.75],
            [0.75, 1.0],
        ]
        assert np.mean([each["kl"]["mean"] for each in part["by_t"]]) == pytest.approx(
            part["kl"]["mean"]
        )
    assert int4["agreement"]["all"]["kl"]["n"] == 9 and len(int4["tokens"]) == 9
    for bundle in data["bundles"]:
        # the tiny model takes 512 positions
        assert bundle["forward_seconds"].keys() == {"32", "64", "256"}
        assert bundle["generation"].keys() == {"text", "image", "audio", "video"}


def test_the_page_shows_every_variant_and_its_numbers(data: dict[str, Any], tmp_path: Path) -> None:
    index = write_report(tmp_path, data)
    shown = index.read_text()
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(data))
    for bundle in data["bundles"]:
        assert bundle["name"] in shown and f"{bundle['bytes'] / 1e6:.2f}" in shown
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {"kl-all.png", "kl-text.png", "kl-image.png", "kl-audio.png", "kl-size.png"}
    assert all(f'src="{name}"' in shown for name in pictures)


def test_names_are_shown_as_text_and_never_as_markup(data: dict[str, Any]) -> None:
    evil = json.loads(json.dumps(data))
    evil["bundles"][1]["name"] = evil["bundles"][0]["name"] = "<script>"
    assert "<script>" not in page(evil, ["<x>.png"])


def test_a_variant_of_another_model_and_doubled_names_are_refused(
    variants: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="expected the parent and at least one variant"):
        load_variants(variants[:1])
    with pytest.raises(UsageError, match="each of another name"):
        load_variants([variants[0], variants[0]])
    shutil.copytree(variants[0], tmp_path / "other")
    manifest = json.loads((tmp_path / "other" / "manifest.json").read_text())
    manifest["config"]["flow"]["text"]["c"] = 2.0
    (tmp_path / "other" / "manifest.json").write_text(json.dumps(manifest))
    assert Bundle.open(tmp_path / "other").config.flow.text.c == 2.0
    with pytest.raises(InputError, match="it is no variant of it"):
        load_variants([variants[0], tmp_path / "other"])


def test_the_command_writes_the_folder(
    invoke: Invoke, variants: list[Path], tmp_path: Path
) -> None:
    for place, path in enumerate(("a.json", "b.json")):
        measures = {"naming": {"value": 0.9 - place / 10, "ci95": [0.7, 0.95], "n": 64}}
        (tmp_path / path).write_text(json.dumps({"measures": measures}))
    quality = ["--quality", tmp_path / "a.json", "--quality", tmp_path / "b.json"]
    few = ["--bins", 4, "--rounds", 1, "--no-record"]
    found = answered(
        invoke("report", variants[0], variants[2], "-o", tmp_path / "out", *quality, *few, "--json")
    )
    assert found["bundles"][1]["quality"]["naming"]["value"] == pytest.approx(0.8)
    assert "0.800 (0.700 – 0.950)" in (tmp_path / "out" / "index.html").read_text()
    assert (tmp_path / "out" / "quality-naming.png").exists() and (
        tmp_path / "out" / "trajectories"
    ).is_dir()
    refused(invoke("report", variants[0], variants[2], "-o", tmp_path / "out", *few), 2, "exists")
    refused(invoke("report", variants[0], "-o", tmp_path / "new", *few), 2, "at least one variant")
    refused(
        invoke("report", variants[0], variants[2], "-o", tmp_path / "new", *quality[:2]),
        2,
        "1 --quality files for 2 bundles",
    )
    (tmp_path / "b.json").write_text('{"measures": {"naming": {"value": 1}}}')
    refused(
        invoke("report", variants[0], variants[2], "-o", tmp_path / "new", *quality),
        3,
        "measure 'naming'",
        "value, n and ci95",
    )
    (tmp_path / "b.json").write_text('{"drawing": {"value": 1, "n": 3, "ci95": [0, 1]}}')
    refused(
        invoke("report", variants[0], variants[2], "-o", tmp_path / "new", *quality),
        3,
        "'drawing' is not in both",
    )
    assert not (tmp_path / "new").exists()


def test_the_variants_manifest_holds_it_and_the_bundle_stays_the_same(
    invoke: Invoke, variants: list[Path], tmp_path: Path
) -> None:
    for name, source in (("parent", variants[0]), ("int8", variants[2])):
        shutil.copytree(source, tmp_path / name)
        (tmp_path / f"{name}.json").write_text(
            '{"naming": {"value": 0.75, "n": 64, "ci95": [0.6, 0.9], "seconds": 3}}'
        )
    parent, int8 = (tmp_path / name for name in ("parent", "int8"))
    identity, before = bundle_identity(int8), (parent / "manifest.json").read_bytes()
    quality = ["--quality", tmp_path / "parent.json", "--quality", tmp_path / "int8.json"]
    few = ["--bins", 4, "--rounds", 1, "--json"]
    found = answered(invoke("report", parent, int8, "-o", tmp_path / "out", *quality, *few))
    # every hash is checked on the way
    held = answered(invoke("inspect", int8, "--json"))["measured"]
    assert (parent / "manifest.json").read_bytes() == before and bundle_identity(int8) == identity
    own = found["bundles"][1]
    assert (
        held["agreement"] == own["agreement"]
        and held["tokens"] == own["tokens"]
        and held["prompts"] is None
    )
    assert held["variant"]["quality"] == {"naming": {"value": 0.75, "n": 64, "ci95": [0.6, 0.9]}}
    assert held["variant"]["forward_seconds"] == own["forward_seconds"] and held["parent"][
        "identity"
    ] == bundle_identity(parent)
    assert held["variant"]["bytes"] < held["parent"]["bytes"]
    peaks = [each["peak_bytes"] for each in held["variant"]["generation"].values()]
    assert all(peak is None or 2**24 < peak < 2**31 for peak in peaks)
    shown = invoke("inspect", int8).stdout
    assert (
        "measured against parent" in shown
        and "naming: 0.750 (0.600 – 0.900), n 64; of the parent 0.750" in shown
    )
    assert answered(invoke("inspect", variants[2], "--diff", int8, "--json"))["differences"] == []
    answered(invoke("report", parent, int8, "-o", tmp_path / "again", "--no-record", *few))
    assert answered(invoke("inspect", int8, "--json"))["measured"] == held


def test_an_interrupted_report_goes_on_and_makes_no_measure_twice(
    variants: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def source(variant: Variant) -> Planned:
        return Planned(variant.model, variant.bundle.manifest.components)

    def run(bins: int = 4) -> dict[str, Any]:
        return report(loaded, source, tmp_path, bins=bins, seed=1, rounds=1)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def counted(name: str) -> None:
        plain = getattr(module, name)

        def made_now(*arguments: Any, **given: Any) -> Any:
            made.append(name)
            return plain(*arguments, **given)

        monkeypatch.setattr(module, name, made_now)

    loaded, made = load_variants([variants[0], variants[2]]), list[str]()
    for name in ("collect", "speeds", "agreed"):
        counted(name)
    with monkeypatch.context() as patch:
        patch.setattr(module, "token_agreement", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert made == ["collect", "speeds", "agreed"]
    first = run()
    assert made == ["collect", "speeds", "agreed"] and first["bundles"][1]["tokens"]
    assert run() == first
    assert run(bins=2)["bins"] == 2 and made == ["collect", "speeds", "agreed"] * 2


def test_a_damaged_result_is_made_again_and_other_settings_begin_anew(tmp_path: Path) -> None:
    kept = Kept(tmp_path, {"seed": 1})
    assert (
        kept("a", {"of": 1}, lambda: {"x": 1}) == {"x": 1} == kept("a", {"of": 1}, lambda: {"x": 2})
    )
    assert kept("a", {"of": 2}, lambda: {"x": 2}) == {"x": 2}
    next((tmp_path / "measures").glob("a-*")).write_text("{")
    found = [Kept(tmp_path, {"seed": 1})("a", {"of": which}, lambda: {"x": 3}) for which in (1, 2)]
    assert sorted(each["x"] for each in found) in ([1, 3], [2, 3])
    assert Kept(tmp_path, {"seed": 2})("a", {"of": 1}, lambda: {"x": 4}) == {"x": 4}
    remove_kept(tmp_path)
    assert list(tmp_path.iterdir()) == []
