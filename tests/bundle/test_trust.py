"""Signed bundles: what is accepted, and every change that is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

import nextomni_edge as ne
from nextomni_edge.bundle import trust
from nextomni_edge.errors import InputError, MissingRuntimeError, UsageError
from tests.calls import Invoke, answered, refused

PASSWORD = "a password"
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def write(key: Key, folder: Path, name: str, encryption: KeySerializationEncryption) -> None:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pem").write_bytes(private)
    (folder / f"{name}.public.pem").write_bytes(public)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Private and public keys: two of one kind, one with a password, one of a kind that does not
    sign bundles."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("mine", "other"):
        write(ec.generate_private_key(ec.SECP256R1()), folder, name, NoEncryption())
    locked = BestAvailableEncryption(PASSWORD.encode())
    write(ec.generate_private_key(ec.SECP384R1()), folder, "locked", locked)
    write(ed25519.Ed25519PrivateKey.generate(), folder, "unfit", NoEncryption())
    return folder


@pytest.fixture(scope="module")
def signed_once(tiny_bundle: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("signed") / "bundle")
    trust.sign(bundle, keys / "mine.pem")
    return bundle


@pytest.fixture
def signed(signed_once: Path, tmp_path: Path) -> Path:
    return shutil.copytree(signed_once, tmp_path / "bundle")


def test_a_signed_bundle_loads_and_other_tools_read_its_signature(
    invoke: Invoke, signed: Path, keys: Path
) -> None:
    public = keys / "mine.public.pem"
    assert ne.load(signed, verify_key=public).identity == ne.load(signed).identity
    assert invoke("serve", signed, "--verify-key", public, "--check").stdout == "fine: bundle\n"
    (signed / "README.md").write_text("A card that came later.")
    trust.check_signature(signed, public)
    (signed / "README.md").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "model_signing", "verify", "key", signed, "--public_key", public,
         "--signature", signed / "model.sig", "--ignore-paths", signed / "model.sig"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_signature_holds_in_a_cache_of_links(signed: Path, keys: Path, tmp_path: Path) -> None:
    """As the hub's library keeps files: links into a folder of blobs."""
    cache = tmp_path / "snapshots" / "one"
    (tmp_path / "blobs").mkdir()
    for number, file in enumerate(sorted(path for path in signed.rglob("*") if path.is_file())):
        link, blob = cache / file.relative_to(signed), tmp_path / "blobs" / str(number)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    assert ne.load(cache, verify_key=keys / "mine.public.pem").identity


def grown(bundle: Path) -> None:
    (bundle / "weights" / "more").write_bytes(b"x")


def flipped(bundle: Path) -> None:
    weight = max((bundle / "weights").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(weight.read_bytes())
    content[-1] ^= 1
    weight.write_bytes(content)


def rewritten(bundle: Path) -> None:
    """A manifest of the same meaning in other bytes."""
    file = bundle / "manifest.json"
    file.write_text(file.read_text() + "\n")


def swapped(bundle: Path) -> None:
    """The signature of another folder."""
    (bundle / "model.sig").write_text((bundle / "model.sig").read_text().replace("A", "B", 9))


def emptied(bundle: Path) -> None:
    (bundle / "model.sig").write_bytes(b"")


def without(bundle: Path) -> None:
    (bundle / "tokenizer.json").unlink()


@pytest.mark.parametrize("change", [grown, flipped, rewritten, swapped, emptied, without])
def test_what_was_changed_after_it_was_signed_is_refused(
    change: Callable[[Path], None], signed: Path, keys: Path
) -> None:
    change(signed)
    with pytest.raises(
        InputError, match=r"^.*: not signed by .*mine\.public\.pem, or changed since"
    ):
        trust.check_signature(signed, keys / "mine.public.pem")


def test_a_key_that_did_not_sign_is_refused_everywhere(
    invoke: Invoke, signed: Path, tiny_bundle: Path, keys: Path
) -> None:
    for key, words in (
        ("other.public.pem", "not signed by"),
        ("mine.pem", "not signed by"),
        ("unfit.public.pem", "not signed by"),
        ("none.pem", "none.pem"),
    ):
        refused(invoke("verify", signed, "--key", keys / key), 3, words)
    public = keys / "mine.public.pem"
    asked = ("--verify-key", public, "--text", "a cat")
    refused(invoke("run", tiny_bundle, *asked), 3, "it is not signed (no model.sig)")
    refused(invoke("serve", tiny_bundle, "--verify-key", public, "--check"), 3, "it is not signed")
    os.mkfifo(shutil.copytree(tiny_bundle, signed.parent / "pipe") / "model.sig")
    refused(invoke("run", signed.parent / "pipe", *asked), 3, "model.sig")


def test_a_model_directory_has_no_signature(tiny_checkpoint: Path, keys: Path) -> None:
    with pytest.raises(UsageError, match=r"is a model directory; only bundles are signed$"):
        ne.load(tiny_checkpoint, verify_key=keys / "mine.public.pem")


def test_a_bundle_is_signed_once_unless_the_signature_is_to_be_replaced(
    invoke: Invoke, tiny_bundle: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    key = ("--key", keys / "locked.pem")
    refused(invoke("sign", bundle, *key), 3, "cannot sign")
    refused(invoke("sign", bundle, "--key", keys / "unfit.pem"), 3, "cannot sign")
    refused(invoke("sign", bundle, "--key", keys / "mine.public.pem"), 3, "cannot sign")
    assert not list(bundle.glob("model.sig*"))
    monkeypatch.setenv("NEXTOMNI_EDGE_KEY_PASSWORD", PASSWORD)
    told = answered(invoke("sign", bundle, *key, "--json"))
    assert told["signature"] == str(bundle / "model.sig")
    refused(invoke("sign", bundle, *key), 2, "exists; pass --overwrite to replace it")
    assert invoke("sign", bundle, *key, "--overwrite").exit_code == 0
    assert invoke("verify", bundle, "--key", keys / "locked.public.pem").exit_code == 0


def test_without_the_library_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, signed: Path, keys: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingRuntimeError, match=r"pip install 'nextomni-edge\[sign\]'"):
        trust.check_signature(signed, keys / "mine.public.pem")
