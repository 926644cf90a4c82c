"""`embed` and `search` over the torch reference of the tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from nextomni_edge.search import INDEX_NAME, OLD_NAME
from tests.calls import Invoke, answered, refused
from tests.tiny import tiny_model


def test_embeddings_are_normalised_and_named(
    invoke: Invoke, tiny_checkpoint: Path, media: Path, tmp_path: Path
) -> None:
    files = [media / "red.png", media / "tone.wav", media / "blink.gif", media / "cat.txt"]
    found = answered(invoke("embed", tiny_checkpoint, *files, "--text", "a cat", "--json"))["items"]
    assert [item["kind"] for item in found] == ["image", "audio", "video", "text", "text"]
    rows = np.array([item["embedding"] for item in found])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(rows[3], rows[4], atol=1e-6)  # cat.txt says "a cat"
    assert (
        invoke(
            "embed", tiny_checkpoint, *files, "--text", "a cat", "-o", tmp_path / "e.safetensors"
        ).exit_code
        == 0
    )
    with safe_open(tmp_path / "e.safetensors", "numpy") as file:
        np.testing.assert_allclose(file.get_tensor("embeddings"), rows, atol=1e-6)
        assert [item["source"] for item in json.loads(file.metadata()["items"])][:4] == [
            str(path) for path in files
        ]


def test_embeddings_print_as_lines(invoke: Invoke, tiny_checkpoint: Path) -> None:
    name, numbers = (
        invoke("embed", tiny_checkpoint, "--text", "a cat").stdout.rstrip("\n").split("\t")
    )
    assert name == "a cat" and len([float(number) for number in numbers.split()]) == 48


def test_what_cannot_be_embedded_is_refused(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    refused(invoke("embed", tiny_checkpoint), 2, "nothing to embed")
    refused(
        invoke("embed", tiny_checkpoint, tmp_path / "a.pdf"),
        3,
        "a.pdf: suffix '.pdf' names no kind of media",
    )
    refused(invoke("embed", tiny_checkpoint, tmp_path / "none.png"), 3, "none.png: no such file")


@pytest.fixture
def folder(media: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(media, tmp_path / "media"))


def test_a_folder_is_indexed_once_and_found_by_any_modality(
    invoke: Invoke, tiny_checkpoint: Path, folder: Path
) -> None:
    first = answered(invoke("search", "index", folder, "--bundle", tiny_checkpoint, "--json"))
    assert (first["embedded"], first["kept"], first["skipped"]) == (5, 0, []) and first[
        "index"
    ] == str(folder / INDEX_NAME)
    second = answered(invoke("search", "index", folder, "--bundle", tiny_checkpoint, "--json"))
    assert (second["embedded"], second["kept"]) == (0, 5)
    for query, best in (
        (["a cat"], "cat.txt"),
        (["--image", folder / "red.png"], "red.png"),
        (["--video", folder / "blink.gif"], "blink.gif"),
    ):
        hits = answered(invoke("search", folder, *query, "--bundle", tiny_checkpoint, "--json"))[
            "results"
        ]
        assert hits[0]["path"] == str(folder / best) and hits[0]["cosine"] == pytest.approx(
            1.0, abs=1e-4
        )
        assert [hit["cosine"] for hit in hits] == sorted(
            (hit["cosine"] for hit in hits), reverse=True
        )
    shown = invoke(
        "search",
        folder,
        "--audio",
        folder / "tone.wav",
        "--kind",
        "image",
        "-n",
        "3",
        "--bundle",
        tiny_checkpoint,
    )
    assert (
        shown.exit_code == 0
        and shown.stdout.count("\n") == 1
        and str(folder / "red.png") in shown.stdout
    )


def test_the_bundle_may_come_from_the_environment(
    invoke: Invoke, tiny_checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTOMNI_EDGE_BUNDLE", str(tiny_checkpoint))
    assert invoke("search", "index", folder).exit_code == 0
    assert invoke("search", folder, "a cat").exit_code == 0


def test_broken_files_are_told_and_the_rest_is_indexed(
    invoke: Invoke, tiny_checkpoint: Path, folder: Path
) -> None:
    (folder / "bad.png").write_bytes(b"not a picture")
    result = invoke("search", "index", folder, "--bundle", tiny_checkpoint, "-q")
    assert result.exit_code == 0 and "5 embedded, 0 kept, 0 removed, 1 skipped" in result.stdout
    assert (
        result.stderr
        == f"warning: skipped {folder / 'bad.png'}: not a picture that Pillow decodes\n"
    )


def test_mistakes(invoke: Invoke, tiny_checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    bundle = ("--bundle", tiny_checkpoint)
    refused(
        invoke("search", folder, "a cat", *bundle),
        3,
        "no index; make it with `nextomni-edge search index",
    )
    refused(invoke("search", "index", tmp_path / "none", *bundle), 3, "none: not a folder")
    refused(
        invoke("search", folder, *bundle),
        2,
        "no query: give QUERY, --image, --audio or --video, or several of them",
    )
    refused(invoke("search", folder, "a cat"), 2, "Missing option '--bundle'")


def test_another_models_index_is_refused(
    invoke: Invoke, tiny_checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    other = tiny_model(tmp_path / "other", seed=1)
    assert invoke("search", "index", folder, "--bundle", tiny_checkpoint).exit_code == 0
    refused(invoke("search", folder, "a cat", "--bundle", other), 3, "made by another bundle")
    refused(invoke("search", "index", folder, "--bundle", other), 3, "made by another bundle")


def test_several_parts_are_one_query_and_a_folder_chooses(
    invoke: Invoke, tiny_checkpoint: Path, folder: Path
) -> None:
    (folder / "deep").mkdir()
    shutil.copy(folder / "red.png", folder / "deep" / "red.png")
    bundle = ("--bundle", tiny_checkpoint)
    assert invoke("search", "index", folder, *bundle).exit_code == 0
    query = ["a cat", "--image", folder / "red.png", "--audio", folder / "tone.wav"]
    hits = answered(invoke("search", folder, *query, *bundle, "--json"))["results"]
    rows = answered(
        invoke("embed", tiny_checkpoint, folder / "red.png", folder / "tone.wav", "--text", "a cat",
               "--json")
    )["items"]  # fmt: skip
    vectors = np.array([row["embedding"] for row in rows])
    mean = vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0))
    expected = {row["source"]: float(np.array(row["embedding"]) @ mean) for row in rows[:2]}
    found = {hit["path"]: hit["cosine"] for hit in hits}
    for path, cosine in expected.items():
        assert found[path] == pytest.approx(cosine, abs=1e-4)
    within = ("--within", "deep", *bundle, "--json")
    (hit,) = answered(invoke("search", folder, *query, *within))["results"]
    assert hit["path"] == str(folder / "deep" / "red.png") and hit["start"] is None


def test_an_index_of_the_older_form_is_refused_by_both(
    invoke: Invoke, tiny_checkpoint: Path, folder: Path
) -> None:
    (folder / OLD_NAME).write_bytes(b"old")
    for words in (["search", "index", folder], ["search", folder, "a cat"]):
        result = invoke(*words, "--bundle", tiny_checkpoint)
        refused(result, 3, "an index of an older version; delete it, then run")
