"""Who made a bundle: signatures of the OpenSSF model-signing library. Hashes only say that a bundle
arrived whole."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nextomni_edge.bundle.digests import Hashes
from nextomni_edge.bundle.reader import SIGNATURE, beside, walk
from nextomni_edge.errors import InputError, reason_of
from nextomni_edge.extras import needs_extra
from nextomni_edge.files import atomic_write
from nextomni_edge.formats.regular import open_regular

if TYPE_CHECKING:
    from model_signing.hashing import Config

MAX_SIGNATURE: Final = 64 * 2**20
MAX_KEY: Final = 2**16


@dataclass(frozen=True)
class Trust:
    """What is checked of a bundle before it is opened: its hashes (see digests.py), and that it is
    signed by the private key of a public one."""

    hashes: Hashes = "always"
    key: Path | None = None


def sign(path: Path, private_key: Path, password: str | None = None) -> Path:
    """Sign every file of the bundle at `path`, and write model.sig into it.

    private_key: a PEM file of an elliptic curve key (P-256, P-384 or P-521). password: of an
    encrypted key. InputError: no such key, or another password.
    """
    with needs_extra("sign", "model_signing"):
        from model_signing import signing
    open_regular(private_key, MAX_KEY).close()
    out = path / SIGNATURE
    # made elsewhere, so that it is no file of what it signs
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / SIGNATURE
        try:
            config: signing.Config = signing.Config()  # type: ignore[no-untyped-call]
            # its types say str, but the library below it takes bytes
            secret: Any = password.encode() if password else None
            config.use_elliptic_key_signer(private_key=private_key, password=secret)
            config.set_hashing_config(_hashed(path)).sign(path, made)
        # the library lets errors of the libraries below it through
        except Exception as error:
            raise InputError(f"{private_key}: cannot sign ({reason_of(error)})") from error
        with atomic_write(out) as file:
            file.write(made.read_bytes())
    return out


def check_signature(path: Path, public_key: Path) -> None:
    """InputError: the bundle at `path` is not signed by the key, or changed since. Every byte of it
    is read."""
    with needs_extra("sign", "model_signing"):
        from model_signing import verifying
    open_regular(public_key, MAX_KEY).close()
    signature = path / SIGNATURE
    if not os.path.lexists(signature):
        raise InputError(f"{path}: it is not signed (no {SIGNATURE}), but a signature is required")
    open_regular(signature, MAX_SIGNATURE).close()
    try:
        config: verifying.Config = verifying.Config()  # type: ignore[no-untyped-call]
        config.use_elliptic_key_verifier(public_key=public_key)
        config.set_hashing_config(_hashed(path)).verify(path, signature)
    # as above
    except Exception as error:
        raise InputError(
            f"{path}: not signed by {public_key}, or changed since ({reason_of(error)})"
        ) from error


def _hashed(path: Path) -> Config:
    """Every file but the signature and what is no part of a bundle. A hub's cache has links."""
    from model_signing.hashing import Config

    aside = [Path(name) for name in walk(path) if beside(name)]
    ignored = [Path(SIGNATURE), *aside]
    config: Config = Config()  # type: ignore[no-untyped-call]
    return config.set_ignored_paths(paths=ignored).set_allow_symlinks(True)
