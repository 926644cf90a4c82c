"""`bench --save` and `run --variant` as a person uses them: what is chosen, and every measurement
that cannot be chosen by."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nextomni_edge.calibration import quantize
from nextomni_edge.calibration.recipes.config import Int8Dynamic
from nextomni_edge.cli import root
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.measure import variants
from nextomni_edge.runtimes import choice
from nextomni_edge.spec import ComponentName
from tests.calls import Invoke, answered, refused

Change = Callable[[dict[str, Any]], object]
ASKED = ("--text", "a cat")


@pytest.fixture(scope="module")
def saved(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two bundles and a measurement of them; `big` has the larger graph."""
    folder = tmp_path_factory.mktemp("saved")
    shutil.copytree(tiny_bundle, folder / "big")
    others = tuple(name for name in ComponentName.ALL if name != "text_head")
    quantize(tiny_bundle, folder / "small", Int8Dynamic(skip=others))
    arguments = ["bench", "big", "small", "--repeats", "1", "--steps", "2", "--json", "--save"]
    given = [str(folder / word) if word in ("big", "small") else word for word in arguments]
    result = CliRunner().invoke(root, [*given, str(folder / "variants.json")])
    assert result.exit_code == 0, result.output
    (folder / "bench.json").write_text(result.stdout)
    return folder


@pytest.fixture
def measured(saved: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """The folder with its measurement changed."""

    def changed(change: Change) -> Path:
        shutil.copytree(saved, tmp_path / "saved")
        file = tmp_path / "saved" / "variants.json"
        data = json.loads(file.read_text())
        change(data)
        file.write_text(json.dumps(data))
        return tmp_path / "saved"

    return changed


def times(**by_name: dict[str, float]) -> Change:
    """Measured milliseconds by bundle and rows, as if so."""

    def change(data: dict[str, Any]) -> None:
        for variant in data["variants"]:
            variant["forward_ms"] = by_name[variant["folder"]]

    return change


def test_bench_names_the_fastest_at_each_size_and_the_smallest_and_keeps_what_it_measured(
    saved: Path,
) -> None:
    found = json.loads((saved / "bench.json").read_text())
    data = json.loads((saved / "variants.json").read_text())
    assert found["fastest"].keys() == {"32", "64", "256"}  # the tiny model takes 512 positions
    assert (
        found["smallest"] == str(saved / "small")
        and found["bytes"][str(saved / "small")] < found["bytes"][str(saved / "big")]
    )
    assert [variant["folder"] for variant in data["variants"]] == ["big", "small"]
    for rows, fastest in found["fastest"].items():
        seconds = {name: own[rows] for name, own in found["forward_seconds"].items()}
        assert all(each > 0 for each in seconds.values()) and fastest == min(
            seconds, key=seconds.__getitem__
        )
        assert [1e3 * each for each in seconds.values()] == [
            variant["forward_ms"][rows] for variant in data["variants"]
        ]
    assert data["machine"] == vars(variants.Machine.here()) and data["task"] == "text-to-image"


@pytest.mark.parametrize(
    ("out", "relation"),
    [("small/x.png", "lies inside"), ("variants.json", "is the same as"), ("x.png", None)],
)
def test_an_output_may_stand_next_to_the_variants_but_not_in_one(
    invoke: Invoke, saved: Path, tmp_path: Path, out: str, relation: str | None
) -> None:
    folder = shutil.copytree(saved, tmp_path / "saved")
    asked = (*ASKED, "--to", "image", "--steps", 2, "-o", folder / out)
    result = invoke("run", folder, "--variant", "smallest", *asked)
    if relation is None:
        assert result.exit_code == 0 and (folder / out).is_file(), result.output
    else:
        refused(result, 2, f"the output {folder / out} {relation} the input")


def test_the_fastest_at_the_rows_of_this_request_runs(
    invoke: Invoke, measured: Callable[[Change], Path], tmp_path: Path
) -> None:
    """A short text needs few rows; a picture with guidance has both branches in its forward."""
    folder = measured(times(big={"16": 1.0, "32": 9.0}, small={"16": 5.0, "32": 5.0}))
    text = invoke("run", folder, "--variant", "fastest", *ASKED, "--steps", 2)
    assert text.exit_code == 0, text.output
    assert "variant big on onnx: the fastest at " in text.stderr
    picture = invoke(
        "run",
        folder / "variants.json",
        "--variant",
        "fastest",
        *ASKED,
        "--to",
        "image",
        "-o",
        tmp_path / "x.png",
    )
    assert picture.exit_code == 0, picture.output
    assert (
        "variant small on onnx: the fastest at " in picture.stderr
        and "small on onnx 5.00 ms" in picture.stderr
    )
    assert (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("more", "kind"),
    [((), "text"), (("--kv-cache", "prefix"), "text"), ((), "image"),
     (("--image", "red.png"), "text"), (("--audio", "tone.wav"), "text"),
     (("--video", "blink.gif"), "text"),
     (("--guidance", 0), "image"), (("--frames", 2), "video"), (("--seconds", 0.1), "audio")],
)  # fmt: skip
def test_the_rows_said_are_the_rows_computed(
    invoke: Invoke,
    saved: Path,
    media: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[object, ...],
    kind: str,
) -> None:
    monkeypatch.chdir(media)
    seen: list[int] = []
    plain = EdgeModel.attend

    def watched(self: EdgeModel, embeddings: Any, *arguments: Any, **given: Any) -> Any:
        seen.append(embeddings.shape[0] * embeddings.shape[1])
        return plain(self, embeddings, *arguments, **given)

    monkeypatch.setattr(EdgeModel, "attend", watched)
    suffix = {"text": "txt", "image": "png", "video": "gif", "audio": "wav"}[kind]
    out = ("--to", kind, "-o", tmp_path / f"x.{suffix}", "--steps", 3)
    result = invoke("run", saved, "--variant", "fastest", *ASKED, *more, *out)
    assert result.exit_code == 0, result.output
    assert f"the fastest at {seen[-1]} rows" in result.stderr
    assert len(set(seen)) == (2 if "--kv-cache" in more else 1)  # the first forward fills the cache


def test_the_smallest_runs_on_any_machine_and_reads_standard_input_once(
    invoke: Invoke, measured: Callable[[Change], Path], saved: Path
) -> None:
    folder = measured(lambda data: data["machine"].update(cores=99))
    result = invoke("run", folder, "--variant", "smallest", "--text", "-", stdin="a cat")
    assert result.exit_code == 0 and "variant small: the smallest of big " in result.stderr
    assert result.stdout == invoke("run", saved / "small", *ASKED).stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda data: data["machine"].update(processor="Abacus"),
            ("measured on another machine (Abacus,", "nextomni-edge bench"),
        ),
        (lambda data: data["machine"].update(threads=99), ("99 threads; this is",)),
        (
            lambda data: data.update(provider="CUDAExecutionProvider"),
            ("measured with another --runtime, --provider",),
        ),
        (
            lambda data: data["variants"][0].update(identity="0" * 64),
            ("big is another bundle than was measured",),
        ),
        (lambda data: data["variants"][1].update(folder="gone"), ("gone is no bundle any more",)),
        (
            lambda data: data["variants"][1].update(forward_ms={}),
            ("small: expected milliseconds by numbers of rows",),
        ),
        (
            lambda data: data["variants"][1].update(forward_ms={"many": 1.0}),
            ("small: expected milliseconds by numbers of rows",),
        ),
        (lambda data: data["variants"].clear(), ("no variants",)),
        (lambda data: data.update(version=1), ("expected nextomni-edge-variants version 2",)),
        (lambda data: data.update(tasks="x"), ("did you mean 'task'?",)),
    ],
)
def test_a_measurement_of_something_else_is_refused(
    invoke: Invoke, measured: Callable[[Change], Path], change: Change, words: tuple[str, ...]
) -> None:
    refused(invoke("run", measured(change), "--variant", "fastest", *ASKED), 3, *words)


def test_without_a_measurement_there_is_nothing_to_choose_by(
    invoke: Invoke, saved: Path, tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    refused(
        invoke("run", tiny_bundle, "--variant", "fastest", *ASKED),
        3,
        "no variants.json there",
        "bench BUNDLE... --save",
    )
    for command in (("run", saved, *ASKED), ("chat", saved), ("embed", saved, *ASKED)):
        refused(
            invoke(*command),
            3,
            "`run --variant` and `chat --variant` choose among measured variants",
        )
    refused(invoke("run", saved, "--variant", "cheapest", *ASKED), 2, "'fastest', 'smallest'")
    few = ("--repeats", 1, "--save", tmp_path / "v.json")
    refused(
        invoke("bench", tiny_checkpoint, *few),
        2,
        "is no bundle: variants to choose among are bundles",
    )
    refused(
        invoke("bench", tiny_bundle, "--rows", "32,900", *few), 2, "expected numbers from 1 to 512"
    )
    refused(invoke("bench", tiny_bundle, tiny_bundle, *few), 2, "a bundle is given twice")
    assert list(tmp_path.iterdir()) == []


def test_bundles_of_several_models_are_no_variants(
    invoke: Invoke, saved: Path, measured: Callable[[Change], Path]
) -> None:
    folder = measured(lambda data: None)
    manifest = json.loads((folder / "big" / "manifest.json").read_text())
    manifest["config"]["flow"]["text"]["c"] = 2.0
    (folder / "big" / "manifest.json").write_text(json.dumps(manifest))
    few = ("--repeats", 1, "--save", folder / "v.json")
    refused(invoke("bench", folder / "big", folder / "small", *few), 2, "bundles of several models")


def test_between_measured_sizes_time_is_on_the_line_and_beyond_them_the_nearest() -> None:
    variant = variants.Variant("a", "", "onnx", 1, {"256": 30.0, "32": 10.0, "64": 14.0}, 1.0)
    assert [variant.at(rows) for rows in (1, 32, 48, 160, 9999)] == pytest.approx(
        [10.0, 10.0, 12.0, 22.0, 30.0]
    )


def test_the_table_says_it_too(invoke: Invoke, saved: Path) -> None:
    few = ("--repeats", 1, "--steps", 2, "--rows")
    result = invoke("bench", saved / "big", saved / "small", *few, "16,32")
    assert result.exit_code == 0, result.output
    first, second, size = result.stdout.splitlines()[-3:]
    assert (
        first.startswith("forward of   16 rows: ")
        and "; fastest: " in second
        and size.endswith(f"smallest: {saved / 'small'}")
    )
    assert answered(invoke("bench", saved / "small", *few, "8", "--json"))["fastest"].keys() == {
        "8"
    }


def test_a_chat_chooses_once_by_an_answer_to_an_empty_turn(
    invoke: Invoke, measured: Callable[[Change], Path]
) -> None:
    folder = measured(times(big={"12": 1.0, "28": 9.0}, small={"12": 5.0, "28": 5.0}))
    asked = ("chat", folder, "--variant", "fastest", "--steps", 2, "--seconds", 0.1)
    found = [invoke(*asked, "--to", kind, stdin="a cat\na dog\n") for kind in ("text", "image")]
    assert [result.exit_code for result in found] == [0, 0], found[0].output
    assert [result.stderr.count("variant ") for result in found] == [1, 1]
    assert (
        "variant big on onnx: the fastest at " in found[0].stderr
        and "variant small on onnx: the " in found[1].stderr
    )
    smallest = invoke(
        "chat", folder, "--variant", "smallest", "--to", "image", "--steps", 2, stdin="/quit\n"
    )
    assert smallest.exit_code == 0 and "variant small: the smallest of big " in smallest.stderr


@pytest.fixture
def ran_on(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The runtime asked for whenever a model is opened."""
    seen: list[str | None] = []
    opened = EdgeModel.from_bundle

    def watched(bundle: Any, execution: Any = None, components: Any = ()) -> EdgeModel:
        seen.append(execution.runtime if execution else None)
        return opened(bundle, execution, components)

    monkeypatch.setattr(EdgeModel, "from_bundle", watched)
    return seen


def test_what_was_measured_on_a_runtime_runs_on_it(
    invoke: Invoke,
    variant: Callable[[str], Path],
    tiny_bundle: Path,
    tmp_path: Path,
    ran_on: list[str | None],
) -> None:
    """`bench` measures each bundle on the runtime that `run` takes for it, or on the one that is
    named; a variant then runs on the one that it was measured on."""
    pytest.importorskip(
        "openvino", reason="OpenVINO is not installed: there is one runtime to measure on"
    )
    for name in ("float32", "int4"):
        shutil.copytree(tiny_bundle if name == "float32" else variant(name), tmp_path / name)
    choice.keep(tmp_path / "int4", "openvino", 1.5, {})
    few = (
        tmp_path / "float32",
        tmp_path / "int4",
        "--repeats",
        1,
        "--steps",
        2,
        "--rows",
        16,
        "--save",
    )
    file, asked = tmp_path / "variants.json", ("--variant", "fastest", *ASKED, "--steps", 2)
    for runtime, own in (((), ["onnx", "openvino"]), (("--runtime", "onnx"), ["onnx", "onnx"])):
        assert invoke("bench", *few, file, *runtime).exit_code == 0
        data = json.loads(file.read_text())
        assert [each["runtime"] for each in data["variants"]] == own
        times(float32={"16": 9.0}, int4={"16": 1.0})(data)
        file.write_text(json.dumps(data))
        ran_on.clear()
        result = invoke("run", file, *asked)
        assert result.exit_code == 0 and ran_on == [own[1]], result.output
        assert f"variant int4 on {own[1]}: the fastest" in result.stderr
    refused(
        invoke("run", file, *asked, "--runtime", "openvino"), 3, "measured with another --runtime"
    )
