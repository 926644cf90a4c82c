"""Models named hf:OWNER/NAME, against a server on loopback that answers as the hub does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextomni_edge.bundle import Bundle
from nextomni_edge.checkpoints.record import read_record
from nextomni_edge.errors import MissingRuntimeError, UsageError
from nextomni_edge.hub import download
from nextomni_edge.hub.reference import Reference, reference
from tests.hub.server import LARGE, TOKEN, Hub, Repository, serving
from tests.models.fudoki_oracle import fudoki_source
from tests.sources import ROOT

NAME = "someone/tiny"
ASKED = ("--text", "a cat", "--steps", "2", "-q")
Call = Callable[..., "subprocess.CompletedProcess[str]"]


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as started:
        yield started


def environment(hub: Hub, cache: Path, **variables: str) -> dict[str, str]:
    """Variables of a process whose hub is the server, with a cache of its own."""
    return {
        **os.environ,
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        **variables,
    }


@pytest.fixture
def call(hub: Hub, tmp_path: Path) -> Call:
    """The command in a process of its own."""

    def called(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "nextomni_edge", *map(str, arguments)]
        return subprocess.run(
            command, cwd=ROOT, env=environment(hub, tmp_path / "cache", **variables),
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return called


def ran(hub: Hub, cache: Path, program: str, **variables: str) -> str:
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment(hub, cache, **variables),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def refused(done: subprocess.CompletedProcess[str], code: int, sentence: str) -> None:
    assert (done.returncode, done.stderr) == (code, f"error: {sentence}\n")


@given(st.from_regex(r"[A-Za-z0-9][\w.-]{0,20}/[A-Za-z0-9][\w.-]{0,20}", fullmatch=True))
def test_a_repository_s_name_is_read_back_as_it_was_written(name: str) -> None:
    if name.isascii():
        for revision in (None, "main", "v1.0", "a" * 40, "pr/3"):
            assert reference(str(Reference(name, revision))) == Reference(name, revision)
    assert reference(name) is None and reference(Path(name)) is None


@pytest.mark.parametrize(
    "name",
    [
        "hf:",
        "hf:model",
        "hf:a/b/c",
        "hf:../model",
        "hf:a/b@",
        "hf:a/b@ main",
        "hf:a/b@../x",
        "hf:é/b",
    ],
)
def test_what_only_looks_like_a_repository_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no repository of the hub; expected hf:OWNER/NAME"):
        reference(name)


def test_a_bundle_on_the_hub_runs_as_the_one_here_does_and_again_without_a_network(
    hub: Hub, call: Call, tiny_bundle: Path
) -> None:
    files = content(tiny_bundle) | {"README.md": b"# tiny\n", "code.py": b"raise SystemExit\n"}
    commit = (hub.repositories.setdefault(NAME, Repository())).commit(files)
    here = call("run", tiny_bundle, *ASKED)
    there = call("run", f"hf:{NAME}", *ASKED)
    assert here.returncode == there.returncode == 0, there.stderr
    assert there.stdout == here.stdout
    assert not [path for _, path, _ in hub.requests if path.endswith((".py", "README.md"))]
    # the library looks this up for its telemetry, which is off
    assert not [path for _, path, _ in hub.requests if path == "/api/agent-harnesses"]
    hub.requests.clear()
    again = call("run", f"hf:{NAME}@{commit}", *ASKED, HF_HUB_OFFLINE="1")
    assert again.stdout == here.stdout and not hub.requests


def test_a_transfer_that_breaks_off_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    """The library writes pieces of ten megabytes. It tries again by itself since 1.0; before, the
    next call goes on."""
    weights = bytes(range(256)) * (25 << 12)
    hub.repositories.setdefault(NAME, Repository()).commit({"model.safetensors": weights})
    hub.broken = 1
    program = f"""
from nextomni_edge.errors import InputError
from nextomni_edge.hub.download import Reference, checkpoint
try:
    found = checkpoint(Reference({NAME!r}))
except InputError:
    found = checkpoint(Reference({NAME!r}))
print(found.folder)
"""
    folder = Path(ran(hub, tmp_path, program))
    assert (folder / "model.safetensors").read_bytes() == weights
    assert [ranged for _, _, ranged in hub.requests if ranged] == ["bytes=10485760-"]


def test_a_file_that_was_changed_on_the_hub_is_refused(
    hub: Hub, call: Call, tiny_bundle: Path
) -> None:
    files = content(tiny_bundle)
    name = max((file for file in files if file.startswith("weights/")), key=lambda n: len(files[n]))
    files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
    hub.repositories.setdefault(NAME, Repository()).commit(files)
    done = call("run", f"hf:{NAME}", *ASKED)
    assert done.returncode == 3 and name in done.stderr and "sha256" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("repository", "asked", "variables", "sentence"),
    [
        (
            None, "", {},
            "there is no such repository, or it is private: check the name, or set HF_TOKEN",
        ),
        (
            Repository(private=True), "", {},
            "there is no such repository, or it is private: check the name, or set HF_TOKEN",
        ),
        (
            Repository(gated=True), "", {},
            "its owner must grant you access: ask for it on the hub, and set HF_TOKEN",
        ),
        (Repository(), "@gone", {}, "there is no such revision"),
        (
            Repository(), "", {},
            "it has no manifest.json, so it is no bundle; `import` reads checkpoints",
        ),
        (
            Repository(), "", {"HF_HUB_OFFLINE": "1"},
            "it is not in the cache, and the hub cannot be reached",
        ),
        (
            Repository(), "", {"HF_ENDPOINT": "http://127.0.0.1:9"},
            "it is not in the cache, and the hub cannot be reached",
        ),
    ],
)  # fmt: skip
def test_what_the_hub_does_not_give_is_one_sentence(
    hub: Hub,
    call: Call,
    repository: Repository | None,
    asked: str,
    variables: dict[str, str],
    sentence: str,
) -> None:
    if repository is not None:
        repository.commit({"config.json": b"{}"})
        hub.repositories[NAME] = repository
    name = f"hf:{NAME}{asked}"
    refused(call("inspect", name, **variables), 3, f"{name}: {sentence}")


def test_a_manifest_that_leaves_its_folder_fetches_nothing(hub: Hub, call: Call) -> None:
    manifest = {"files": {"../../secret": {"sha256": "0" * 64, "size": 1}}}
    hub.repositories.setdefault(NAME, Repository()).commit(
        {"manifest.json": json.dumps(manifest).encode()}
    )
    assert call("inspect", f"hf:{NAME}").returncode == 3
    assert not [path for _, path, _ in hub.requests if "secret" in path]


def test_an_import_fetches_weights_and_tokenizer_only_and_records_the_commit(
    hub: Hub, call: Call, tmp_path: Path
) -> None:
    source = content(fudoki_source(tmp_path / "source"))
    unsafe = {"modeling.py": b"raise SystemExit\n", "pytorch_model.bin": b"x" * LARGE}
    repository = hub.repositories.setdefault(NAME, Repository())
    commit = repository.commit(source | unsafe, "tried")
    repository.commit({"config.json": b"{}"})
    out = tmp_path / "model"
    done = call("import", f"hf:{NAME}@tried", "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hub"] == f"hf:{NAME}@{commit}" == read_record(out).hub
    fetched = {path.name for path in (tmp_path / "cache").rglob("snapshots/*/*")}
    assert fetched == set(source)


def test_a_bare_name_of_the_hub_says_how_it_is_written(call: Call, tmp_path: Path) -> None:
    refused(
        call("import", NAME, "-o", tmp_path / "model"),
        3,
        f"{NAME}: no such folder; a repository of the hub is named hf:{NAME}",
    )


def test_a_pushed_bundle_comes_back_whole_with_a_card_of_what_was_checked(
    hub: Hub, call: Call, tiny_bundle: Path
) -> None:
    to, key = f"hf:{NAME}", {"HF_TOKEN": TOKEN}
    pushed = call("push", tiny_bundle, to, "--licence", "apache-2.0", "--private", "--json", **key)
    assert pushed.returncode == 0, pushed.stderr
    repository = hub.repositories[NAME]
    commit = json.loads(pushed.stdout)["commit"]
    files = dict(repository.commits[commit])
    card = files.pop("README.md").decode()
    assert repository.private and files == content(tiny_bundle) | {".gitattributes": b""}
    identity = json.loads(call("inspect", tiny_bundle, "--json").stdout)["identity"]
    for line in (
        'license: "apache-2.0"',
        f"nextomni-edge doctor hf:{NAME}",
        f"`{identity}`",
        "- parity: compared with",
    ):
        assert line in card, line
    hub.requests.clear()
    assert call("push", tiny_bundle, to, "--licence", "apache-2.0", **key).returncode == 0
    assert not [path for method, path, _ in hub.requests if method == "PUT"]
    assert call("serve", to, "--check", **key).stdout == "fine: tiny\n"


def test_the_card_of_a_quantised_bundle_says_what_it_costs(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    from nextomni_edge.calibration import quantize
    from nextomni_edge.calibration.recipes.config import Int8Dynamic
    from nextomni_edge.hub.card import model_card

    quantize(tiny_bundle, tmp_path / "int8", Int8Dynamic())
    card = model_card(Bundle.open(tmp_path / "int8"), NAME, "mit")
    assert "## Quantisation" in card and '"divergence"' in card and "on no data" in card


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("hf:someone", "--licence", "mit"), 2, "expected hf:OWNER/NAME[@REVISION]"),
        (
            ("someone/tiny", "--licence", "mit"),
            2,
            "expected a repository of the hub, hf:OWNER/NAME",
        ),
        ((f"hf:{NAME}", "--licence", "my own"), 2, "expected a name such as apache-2.0"),
        ((f"hf:{NAME}",), 2, "Missing option '--licence'"),
        ((f"hf:{NAME}", "--licence", "mit"), 3, f"hf:{NAME}: "),
    ],
)
def test_a_push_that_cannot_be_meant_or_allowed_is_one_sentence(
    call: Call, tiny_bundle: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    done = call("push", tiny_bundle, *arguments, HF_TOKEN="")
    assert done.returncode == code and sentence in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_program_loads_from_the_hub(hub: Hub, tmp_path: Path, tiny_bundle: Path) -> None:
    hub.repositories.setdefault(NAME, Repository(private=True)).commit(content(tiny_bundle))
    program = f"import nextomni_edge as ne; print(ne.load('hf:{NAME}').identity)"
    assert len(ran(hub, tmp_path, program, HF_TOKEN=TOKEN)) == 64


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingRuntimeError, match=r"pip install 'nextomni-edge\[hub\]'"):
        download.bundle(Reference(NAME))
