"""What a command may overwrite: nothing that it reads, and only what this tool wrote."""

from __future__ import annotations

import ast
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from nextomni_edge.bundle.writer import BUNDLE
from nextomni_edge.checkpoints.directory import MODEL_DIRECTORY
from nextomni_edge.cli.console import Output
from nextomni_edge.cli.root import VERBS, Verbs, root
from nextomni_edge.errors import UsageError
from nextomni_edge.outputs import OutputKind, check_output_directory, refuse_overlap
from tests.calls import Invoke, refused
from tests.models.fudoki_oracle import fudoki_source

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for name in ("nextomni_edge", "calibration", "export", "runtimes")
    for path in sorted((ROOT / name).rglob("*.py"))
]
SAME, INSIDE, AROUND = "is the same as", "lies inside", "holds"


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("out", "given", "relation"),
    [
        ("model", "model", SAME),
        ("model/", "./model/../model", SAME),
        ("link", "model", SAME),
        ("model", "link", SAME),
        ("model/new/deep", "model", INSIDE),
        ("link/new", "model", INSIDE),
        (".", "model", AROUND),
        ("model", "model/weights", AROUND),
        ("model", "link/weights", AROUND),
        ("twin", "model/weights", SAME),
    ],
)
def test_an_output_that_overlaps_an_input_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, given: str, relation: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("model/weights").write_bytes(b"w")
    Path("link").symlink_to("model")
    Path("twin").hardlink_to("model/weights")
    with pytest.raises(UsageError) as raised:
        refuse_overlap(Path(out), [Path("elsewhere"), Path(given)])
    assert str(raised.value) == (
        f"the output {Path(out)} {relation} the input {Path(given)}; choose another name for the"
        " output"
    )


def test_outputs_next_to_the_inputs_are_allowed(tmp_path: Path) -> None:
    for name in ("model", "model-2"):
        (tmp_path / name).mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    refuse_overlap(
        tmp_path / "model-2",
        [tmp_path / "model", tmp_path / "gone", tmp_path / "dangling"],
    )
    refuse_overlap(tmp_path / "mode", [tmp_path / "model"])


@pytest.mark.parametrize("kind", [BUNDLE, MODEL_DIRECTORY], ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (
            {"notes.txt": "mine"},
            "(it has no {marker}); it is not overwritten: it holds 'notes.txt'",
        ),
        ({"a/b.jpg": "mine"}, "(it has no {marker}); it is not overwritten: it holds 'a/b.jpg'"),
        ({"{marker}": "{}"}, "({marker} is not this tool's); it is not overwritten: it holds"),
        ({"{marker}": "[1]"}, "({marker} is not this tool's); it is not overwritten: it holds"),
        ({"{marker}": '{"format": "other", "files": {}}'}, "({marker} is not this tool's)"),
        ({"{marker}": '{"model_type": "qwen2"}', "model.safetensors": ""}, "is not this tool's"),
    ],
)
def test_a_folder_of_something_else_is_never_replaced(
    tmp_path: Path, kind: OutputKind, files: dict[str, str], sentence: str
) -> None:
    out = tmp_path / "out"
    for name, content in files.items():
        path = out / name.replace("{marker}", kind.marker)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    before = tree(out)
    with pytest.raises(UsageError) as raised:
        check_output_directory(out, kind, [], overwrite=True)
    assert str(raised.value).startswith(f"{out} is no {kind.name} (")
    assert sentence.replace("{marker}", kind.marker) in str(raised.value)
    assert tree(out) == before


@pytest.mark.parametrize("stray", ["README.md", "weights/mine.bin", "photos/a.jpg", "link"])
def test_a_file_of_the_user_in_a_folder_of_ours_stops_the_overwriting(
    tmp_path: Path, tiny_bundle: Path, tiny_checkpoint: Path, stray: str
) -> None:
    for kind, source in ((BUNDLE, tiny_bundle), (MODEL_DIRECTORY, tiny_checkpoint)):
        out = tmp_path / kind.name
        shutil.copytree(source, out)
        (out / ".DS_Store").touch()
        (out / "._weights").touch()
        check_output_directory(out, kind, [], overwrite=True)
        (out / stray).parent.mkdir(exist_ok=True)
        if stray == "link":
            (out / stray).symlink_to(tmp_path)
        else:
            (out / stray).write_text("mine")
        with pytest.raises(UsageError) as raised:
            check_output_directory(out, kind, [], overwrite=True)
        assert str(raised.value) == (
            f"{out / stray} is no file of a {kind.name} that this tool wrote; {out} is not"
            " overwritten: move that file away or choose another name"
        )


def test_an_import_never_deletes_its_source_nor_a_folder_of_something_else(
    invoke: Invoke, tmp_path: Path
) -> None:
    source, photos = fudoki_source(tmp_path / "source"), tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"mine")
    link = tmp_path / "link"
    link.symlink_to(source)
    before = tree(tmp_path)
    for out, words in (
        (source, SAME),
        (link, SAME),
        (source / "model", INSIDE),
        (tmp_path, AROUND),
        (photos, "it holds 'a.jpg'"),
    ):
        refused(invoke("import", source, "-o", out, "--overwrite"), 2, words)
    other = fudoki_source(tmp_path / "other")
    refused(
        invoke("import", source, "-o", other, "--overwrite"),
        2,
        "config.json is not this tool's",
    )
    assert {name: data for name, data in tree(tmp_path).items() if name[:5] != "other"} == before
    model = tmp_path / "model"
    for copy in ((), ("--copy",), ()):
        assert invoke("import", source, "-o", model, "--overwrite", *copy).exit_code == 0
    (model / "notes.txt").write_text("mine")
    refused(invoke("import", source, "-o", model, "--overwrite"), 2, f"{model / 'notes.txt'}")


def test_an_export_never_replaces_the_model_or_what_it_refers_to(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_checkpoint, model)
    before = tree(tmp_path)
    for out, words in ((model, SAME), (model / "bundle", INSIDE), (tmp_path, AROUND)):
        refused(invoke("export", model, "-o", out, "--overwrite"), 2, words)
    source = fudoki_source(tmp_path / "source")
    assert invoke("import", source, "-o", tmp_path / "imported").exit_code == 0
    refused(invoke("export", tmp_path / "imported", "-o", source, "--overwrite"), 2, AROUND)
    assert {name: data for name, data in tree(tmp_path).items() if name[:5] == "model"} == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("quantize", "B", "--recipe", "int8-dynamic", "-o", "B", "--overwrite"),
        ("quantize", "B", "--recipe", "int8-dynamic", "-o", "B/int8", "--overwrite"),
        ("calibrate", "B", "-o", "B/set", "--prompts", "P"),
        ("calibrate", "B", "-o", "P", "--prompts", "P"),
        ("report", "B", "B", "-o", "B/report"),
        ("pack", "B", "--for", "jetson", "-o", "B/edge.tar", "--overwrite"),
        ("pack", "B", "--for", "ios", "-o", "B", "--overwrite"),
        ("run", "B", "--image", "P/a.png", "--text", "x", "--to", "image", "-o", "P/a.png"),
        ("run", "B", "--text", "x", "--to", "image", "-o", "B/a.png"),
        ("run", "B", "--text", "x", "--save-trace", "B/trace.safetensors"),
        ("embed", "B", "P/a.png", "-o", "P/a.png"),
        ("embed", "B", "P/a.png", "-o", "B/golden.safetensors"),
        ("bench", "B", "--save", "B/variants.json"),
        ("bench", "B", "--trace", "B/manifest.json"),
        ("compile", "B", "--cache", "B/engines"),
        ("search", "index", "P", "--bundle", "B", "--index", "B/index"),
        ("search", "index", "B", "--bundle", "B"),
        ("train", "R", "--out", "R"),
        ("train", "R", "--init", "qwen2=P", "--out", "P/x"),
    ],
    ids=" ".join,
)
def test_every_command_refuses_an_output_that_is_or_lies_in_an_input(
    invoke: Invoke, tiny_bundle: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    places = {name: tmp_path / name for name in "BPR"}
    places["B"].symlink_to(tiny_bundle)
    places["P"].mkdir()
    (places["P"] / "a.png").write_bytes(b"a picture")
    places["R"].mkdir()
    (places["R"] / "train.py").write_text("raise SystemExit(1)")
    before, bundle = tree(tmp_path), tree(tiny_bundle)

    def located(word: str) -> str:
        if word[0] not in places or word[1:2] not in ("", "/"):
            return word if "=P" not in word else word.replace("=P", f"={places['P']}")
        return str(tmp_path / word)

    result = invoke(*map(located, arguments))
    refused(result, 2, "the output ", "choose another name for the output")
    assert tree(tmp_path) == before and tree(tiny_bundle) == bundle


def test_a_pack_replaces_archives_of_its_own_only(tiny_bundle: Path, tmp_path: Path) -> None:
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.pack import pack

    bundle, out = Bundle.open(tiny_bundle), tmp_path / "edge.tar"
    for content in (b"", b"my letters", b"\0" * 10240):
        out.write_bytes(content)
        with pytest.raises(UsageError, match=r"is no archive that `pack` wrote; it is not"):
            pack(bundle, out, "jetson", overwrite=True)
        assert out.read_bytes() == content
    with tarfile.open(out, "w") as archive:
        archive.add(__file__, "letters/one.txt")
    with pytest.raises(UsageError, match=r"is no archive that `pack` wrote"):
        pack(bundle, out, "jetson", overwrite=True)
    out.unlink()
    pack(bundle, out, "jetson")
    pack(bundle, out, "jetson", overwrite=True)


def test_every_option_that_names_an_output_has_the_type_that_is_checked() -> None:
    """-o, --output, --out, --save, --trace and --save-trace, of every verb; `train` checks itself,
    because a recipe's folder comes with --init."""
    context = root.make_context("nextomni-edge", ["doctor"])
    assert isinstance(root, Verbs)
    unchecked = [
        (verb, parameter.name)
        for verb in VERBS
        for parameter in getattr(root.get_command(context, verb), "params", ())
        if parameter.name in ("output", "out", "save", "trace", "save_trace")
        and not isinstance(parameter.type, Output)
    ]
    assert unchecked == [("train", "out")]


def test_nothing_but_the_guard_replaces_a_directory() -> None:
    callers = {
        path.name
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name) and node.id == "atomic_directory"
    }
    assert callers == {"outputs.py"}


def test_a_bundle_whose_manifest_is_of_a_later_version_may_be_replaced(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    manifest = {"format": "nextomni-edge-bundle", "version": 9, "files": {"a.onnx": {}}}
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "a.onnx").touch()
    check_output_directory(out, BUNDLE, [], overwrite=True)
