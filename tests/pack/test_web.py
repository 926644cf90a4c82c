"""`pack --for web`: what the folder holds, what is refused, and the JavaScript against the numbers
that the Swift package reproduces too. test_web_page.py opens the page."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import InputError, MissingRuntimeError, UsageError
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import StepRecord
from nextomni_edge.pack import pack, web
from nextomni_edge.pack.web import RUNTIME_FILES, SOURCES
from nextomni_edge.tokens.chat import Part, Turn, conversation, respond
from nextomni_edge.tokens.text import SPELLINGS
from tests.bundle.damage import record
from tests.calls import Invoke
from tests.pack.integers import integer_model
from tests.pack.runs import drawn_at_random
from tests.pack.vectors import FOLDER
from tests.sources import ROOT

SCRIPTS = Path(__file__).with_name("web")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the names of onnxruntime-web's files: what is copied, not what is run."""
    folder = tmp_path_factory.mktemp("npm") / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    for name in RUNTIME_FILES:
        (folder / "dist" / name).write_text(f"bytes of {name}")
    (folder / "package.json").write_text('{"version": "1.2.3"}')
    return folder


@pytest.fixture(scope="module")
def packed(tiny_bundle: Path, runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("web") / "page"
    report = pack(Bundle.open(tiny_bundle), out, "web", onnxruntime_web=runtime)
    files = [path for path in out.rglob("*") if path.is_file()]
    assert (report.files, report.bytes) == (len(files), sum(p.stat().st_size for p in files))
    return out


def shards(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file of the bundle, out of the shards."""
    index = json.loads((folder / "model/index.json").read_text())
    manifest = json.loads((folder / "model/manifest.json").read_text())
    whole = [(folder / "model" / shard["file"]).read_bytes() for shard in index["shards"]]
    assert [len(content) for content in whole] == [shard["size"] for shard in index["shards"]]
    for name, (shard, offset) in index["files"].items():
        yield name, whole[shard][offset : offset + manifest["files"][name]["size"]]


def test_the_bundle_is_two_shards_that_hold_every_file(packed: Path, tiny_bundle: Path) -> None:
    found = dict(shards(packed))
    bundle = Bundle.open(tiny_bundle)
    assert found.keys() == bundle.manifest.files.keys()
    for name, content in found.items():
        assert content == (tiny_bundle / name).read_bytes(), name
    assert len(list((packed / "model").glob("*.bin"))) == 2
    for shard in (packed / "model").glob("*.bin"):
        assert shard.stem == hashlib.sha256(shard.read_bytes()).hexdigest()[:16]
    index = json.loads((packed / "model/index.json").read_text())
    for name in bundle.manifest.components:
        assert set(index["weights"][name]) == bundle.component_weights(name)


def test_a_large_bundle_has_more_shards(
    tiny_bundle: Path, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "SHARD", 20_000)
    pack(Bundle.open(tiny_bundle), tmp_path / "out", "web", onnxruntime_web=runtime)
    assert len(list((tmp_path / "out/model").glob("*.bin"))) > 4
    for name, content in shards(tmp_path / "out"):
        assert content == (tiny_bundle / name).read_bytes(), name


def test_the_folder_holds_the_page_the_sources_and_the_runtime(packed: Path, runtime: Path) -> None:
    for name in ("index.html", "service_worker.js", "page/worker.js", "src/flow/noise.js"):
        assert (packed / name).read_bytes() == (SOURCES / name).read_bytes()
    for name, own in RUNTIME_FILES.items():
        assert (packed / "ort" / own).read_bytes() == (runtime / "dist" / name).read_bytes()
    assert "onnxruntime-web 1.2.3" in (packed / "NOTICE.txt").read_text()
    # what the service worker keeps is everything but the model, which the page keeps
    listed = json.loads((packed / "shell.json").read_text())["files"]
    files = {path.relative_to(packed).as_posix() for path in packed.rglob("*") if path.is_file()}
    assert set(listed) == {name for name in files if not name.startswith("model/")} - {"shell.json"}


def test_the_same_bundle_gives_the_same_bytes_and_replaces_only_a_page(
    packed: Path, tiny_bundle: Path, runtime: Path, tmp_path: Path
) -> None:
    bundle, out = Bundle.open(tiny_bundle), tmp_path / "again"
    for overwrite in (False, True):
        pack(bundle, out, "web", overwrite, runtime)
        for path in (path for path in packed.rglob("*") if path.is_file()):
            assert (out / path.relative_to(packed)).read_bytes() == path.read_bytes()
    with pytest.raises(UsageError, match="exists; choose another name or pass --overwrite"):
        pack(bundle, out, "web", onnxruntime_web=runtime)
    (out / "src/mine.js").write_text("mine")
    with pytest.raises(UsageError, match=r"mine.js is no file of a page that this tool wrote"):
        pack(bundle, out, "web", True, runtime)


def test_without_the_runtime_one_line_says_how_to_get_it(
    invoke: Invoke, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found: Result = invoke("pack", tiny_bundle, "--for", "web", "-o", "out")
    assert found.exit_code == 5
    assert "`npm install onnxruntime-web`" in found.stderr and not (tmp_path / "out").exists()
    with pytest.raises(MissingRuntimeError, match="is not the npm package onnxruntime-web"):
        pack(Bundle.open(tiny_bundle), tmp_path / "out", "web", onnxruntime_web=tmp_path)


def test_the_command_finds_the_runtime_in_node_modules_above(
    invoke: Invoke, tiny_bundle: Path, runtime: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shutil.copytree(runtime, tmp_path / "node_modules/onnxruntime-web")
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    found: Result = invoke("pack", tiny_bundle, "--for", "web", "-o", "out")
    assert found.exit_code == 0, found.stderr
    assert "open http://localhost:8000" in found.stdout
    refused: Result = invoke(
        "pack", tiny_bundle, "--for", "jetson", "-o", "a.tar", "--onnxruntime-web", runtime
    )
    assert refused.exit_code == 2 and "of --for web only" in refused.stderr


def test_what_the_page_cannot_run_is_refused(
    tiny_bundle: Path, tiny_coreml_bundle: Path, runtime: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with pytest.raises(InputError, match="is coreml, a browser runs ONNX graphs; export with"):
        pack(Bundle.open(tiny_coreml_bundle), tmp_path / "out", "web", onnxruntime_web=runtime)
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    data = json.loads((copy / "tokenizer.json").read_text())
    data["pre_tokenizer"] = {"type": "Whitespace"}
    (copy / "tokenizer.json").write_text(json.dumps(data))
    record(copy, "tokenizer.json")
    with pytest.raises(InputError, match="the JavaScript code knows byte-level BPE behind a split"):
        pack(Bundle.open(copy), tmp_path / "out", "web", onnxruntime_web=runtime)
    monkeypatch.setattr(web, "MOST", 1000)
    with pytest.raises(InputError, match="a browser's WebAssembly holds 1,000; quantize it first"):
        pack(Bundle.open(tiny_bundle), tmp_path / "out", "web", onnxruntime_web=runtime)
    assert not (tmp_path / "out").exists()


def test_the_page_asks_no_address_but_its_own() -> None:
    for path in (*SOURCES.glob("*.html"), *SOURCES.rglob("*.js"), *SOURCES.rglob("*.css")):
        assert not re.findall(r"(?:https?:)?//[a-z]+\.[a-z]+", path.read_text()), path


def test_the_package_for_npm_is_of_this_release_and_lists_what_it_exports() -> None:
    data = json.loads((SOURCES / "package.json").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{data["version"]}"' in project
    assert f'license = "{data["license"]}"' in project
    assert data["exports"]["."]["default"].removeprefix("./").split("/")[0] in data["files"]
    assert (SOURCES / "src/index.js").is_file() and data["type"] == "module"


def test_a_template_is_spelled_as_in_python() -> None:
    """Each spelling of the templates that the browser supports stands in text.js."""
    text = (SOURCES / "src/tokens/text.js").read_text()
    for template in ("llada", "mmada", "lumina", "dream"):
        for name, spelling in SPELLINGS[template].items():
            if name not in ("left_pad", "task_reasoned"):  # of training, and of no prompt
                assert f'{name}: "{spelling}"' in text, (template, name)


def node() -> str:
    """The program node; without it the test is skipped and says so."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node is installed: the browser's loop was not run")
    return found


def test_runs_drawn_at_random_have_the_tokens_of_python_at_every_step() -> None:
    program = node()
    asked: list[dict[str, Any]] = []
    expected: list[dict[str, Any]] = []
    stored = json.loads((FOLDER / "loop.json").read_text())["tables"]
    tables = {name: np.array(table, np.float32) for name, table in stored.items()}
    for config, kind, settings in drawn_at_random():
        model = integer_model(config, FOLDER / "tokenizer.json", tables)
        said = conversation(model.tokenizer, [Turn("user", (Part("text", "a cat"),))])
        sequence = respond(said, kind, config, model.tokenizer, 1)
        records: list[StepRecord] = []
        options = GenerationOptions.defaults(config, kind, **settings)
        finished = generate(model, sequence, options, records.append)
        (at,) = sequence.generated()
        expected.append(
            {
                "records": [record.x_t[0].ravel().tolist() for record in records],
                "tokens": finished.segments[at].tokens.ravel().tolist(),
            }
        )
        asked.append(
            {"config": config.to_json(), "kind": kind, "count": 1, "text": "a cat",
             "settings": settings | {"seed": str(settings["seed"])}}
        )  # fmt: skip
    done = subprocess.run(
        [program, SCRIPTS / "run.mjs"], input="\n".join(map(json.dumps, asked)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for line, own, given in zip(done.stdout.splitlines(), expected, asked, strict=True):
        assert json.loads(line) == own, given["settings"]


def test_the_loop_gives_the_numbers_that_python_computed() -> None:
    done = subprocess.run(
        [node(), "--test", *map(str, sorted(SCRIPTS.glob("*.test.mjs")))],
        capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    (passed,) = re.findall(r"^(?:#|ℹ) pass (\d+)$", done.stdout, re.MULTILINE)
    assert int(passed) > 20


def test_the_types_of_the_sources_hold() -> None:
    compiler = ROOT / "node_modules/.bin/tsc"
    if not compiler.exists():
        pytest.skip("no TypeScript in node_modules: `make test-web` installs it")
    done = subprocess.run(
        [compiler, "-p", SOURCES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
