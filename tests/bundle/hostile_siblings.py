"""Files, names and manifests of strangers that are on no list: siblings of the other kinds. {b} in
an error stands for the bundle's path."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.bundle.damage import Case, Damage, manifest, manifest_bytes, symlink


def files(name: str, entry: object) -> Damage:
    return manifest(lambda data: data["files"].__setitem__(name, entry))


def top(**values: object) -> Damage:
    return manifest(lambda data: data.update(values))


def replaced(name: str, make: object) -> Damage:
    def damage(path: Path) -> None:
        (path / name).unlink()
        make(path / name)  # type: ignore[operator]

    return damage


def bind(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's name is at most 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


CASES: list[Case] = [
    (
        "a manifest that is a FIFO",
        replaced("manifest.json", os.mkfifo),
        "{b}/manifest.json: no regular file, expected only files and folders in a bundle",
    ),
    (
        "a manifest that is a folder",
        replaced("manifest.json", Path.mkdir),
        "{b}/manifest.json: an empty folder, expected none in a bundle",
    ),
    (
        "a manifest of a sparse terabyte",
        replaced("manifest.json", sparse),
        "{b}/manifest.json: larger than 16777216 bytes, the most that is read",
    ),
    (
        "a manifest in UTF-16",
        manifest_bytes("{}".encode("utf-16")),
        "{b}/manifest.json: not UTF-8 text",
    ),
    (
        "a manifest with a NUL",
        manifest_bytes(b"{}\0"),
        "{b}/manifest.json: not valid JSON (Extra data: line 1 column 3 (char 2))",
    ),
    (
        "a manifest with a byte-order mark",
        manifest_bytes(b"\xef\xbb\xbf{}"),
        (
            "{b}/manifest.json: not valid JSON (Unexpected UTF-8 BOM (decode using "
            "utf-8-sig): line 1 column 1 (char 0))"
        ),
    ),
    (
        "a tokenizer that is a FIFO",
        replaced("tokenizer.json", os.mkfifo),
        "{b}/tokenizer.json: no regular file, expected only files and folders in a bundle",
    ),
    (
        "a tokenizer that is a socket",
        replaced("tokenizer.json", bind),
        "{b}/tokenizer.json: no regular file, expected only files and folders in a bundle",
    ),
    (
        "a tokenizer of a sparse terabyte",
        replaced("tokenizer.json", sparse),
        "{b}: file 'tokenizer.json' has 1099511627776 bytes, expected 110",
    ),
    (
        "a golden trace of a sparse terabyte",
        replaced("golden.safetensors", sparse),
        "{b}: file 'golden.safetensors' has 1099511627776 bytes, expected 128",
    ),
    (
        "a golden trace that is a socket",
        replaced("golden.safetensors", bind),
        ("{b}/golden.safetensors: no regular file, expected only files and folders in a bundle"),
    ),
    (
        "a graph that is a link to itself",
        symlink("backbone.onnx", "backbone.onnx"),
        "{b}/backbone.onnx: a link, expected only files and folders in a bundle",
    ),
    (
        "a graph that is a link to a device",
        symlink("backbone.onnx", "/dev/zero"),
        "{b}/backbone.onnx: a link, expected only files and folders in a bundle",
    ),
    (
        "a graph that is a FIFO",
        replaced("backbone.onnx", os.mkfifo),
        "{b}/backbone.onnx: no regular file, expected only files and folders in a bundle",
    ),
    (
        "a graph of a sparse terabyte",
        replaced("backbone.onnx", sparse),
        "{b}: file 'backbone.onnx' has 1099511627776 bytes, expected 1455",
    ),
    (
        "a size of 2^70",
        manifest(lambda m: m["files"]["tokenizer.json"].update(size=2**70)),
        (
            "{b}/manifest.json: files: tokenizer.json: size 1180591620717411303424,"
            " expected a number of bytes"
        ),
    ),
    (
        "a size that is a text",
        manifest(lambda m: m["files"]["tokenizer.json"].update(size="1")),
        "{b}/manifest.json.files.tokenizer.json.size: found '1', expected int",
    ),
    (
        "a size that is true",
        manifest(lambda m: m["files"]["tokenizer.json"].update(size=True)),
        "{b}/manifest.json.files.tokenizer.json.size: found True, expected int",
    ),
    (
        "a size of 1e308",
        manifest(lambda m: m["files"]["tokenizer.json"].update(size=1e308)),
        "{b}/manifest.json.files.tokenizer.json.size: found 1e+308, expected int",
    ),
    (
        "a hash that is a megabyte",
        manifest(lambda m: m["files"]["tokenizer.json"].update(sha256="a" * 2**20)),
        (
            "{b}/manifest.json: files: tokenizer.json: sha256 'aaaaaaaaaaaaaaaaaaaa"
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', "
            "expected 64 lower-case hex digits"
        ),
    ),
    (
        "a hash with an escape",
        manifest(lambda m: m["files"]["tokenizer.json"].update(sha256="\x1b[2J")),
        (
            "{b}/manifest.json: files: tokenizer.json: sha256 '\\x1b[2J', expected "
            "64 lower-case hex digits"
        ),
    ),
    (
        "a file's name with an escape",
        files("a\x1b[2J", {"sha256": "0" * 64, "size": 1}),
        (
            "{b}/manifest.json: files: path 'a\\x1b[2J' has a name outside A-Z a-z "
            "0-9 _ . - (first and last no dot)"
        ),
    ),
    (
        "a file's name that turns the writing",
        files("a\u202egnp.exe", {"sha256": "0" * 64, "size": 1}),
        (
            "{b}/manifest.json: files: path 'a\\u202egnp.exe' has a name outside A-Z"
            " a-z 0-9 _ . - (first and last no dot)"
        ),
    ),
    (
        "a file's name of a megabyte",
        files("a" * 2**20, {"sha256": "0" * 64, "size": 1}),
        "{b}/manifest.json: files: path of 1048576 characters, expected 1 to 240",
    ),
    (
        "a file's name that is half a character",
        files("\ud800", {"sha256": "0" * 64, "size": 1}),
        "{b}/manifest.json: not UTF-8 text",
    ),
    (
        "a file's name that is a device of Windows",
        files("NUL", {"sha256": "0" * 64, "size": 1}),
        "{b}/manifest.json: files: path 'NUL' has the reserved name 'NUL'",
    ),
    (
        "a file's name with a stream of Windows",
        files("a:b", {"sha256": "0" * 64, "size": 1}),
        (
            "{b}/manifest.json: files: path 'a:b' has a name outside A-Z a-z 0-9 _ "
            ". - (first and last no dot)"
        ),
    ),
    (
        "a file's record that is a list",
        files("tokenizer.json", []),
        "{b}/manifest.json.files.tokenizer.json: found list, expected an object",
    ),
    (
        "a file's record with another key",
        files("tokenizer.json", {"sha256": "0" * 64, "size": 1, "url": "http://x"}),
        "{b}/manifest.json.files.tokenizer.json: unknown key 'url'",
    ),
    (
        "files that are a list",
        top(files=[]),
        "{b}/manifest.json.files: found a list, expected dict",
    ),
    (
        "no files",
        top(files={}),
        "{b}/manifest.json: file 'embed_text.onnx' is named but not listed under files",
    ),
    (
        "a key of a megabyte",
        top(**{"k" * 2**20: 1}),
        (
            "{b}/manifest.json: unknown key 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
            "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk'"
        ),
    ),
    (
        "a key with an escape",
        top(**{"\x1b]0;owned\x07": 1}),
        "{b}/manifest.json: unknown key '\\x1b]0;owned\\x07'",
    ),
    (
        "a version of 2^70",
        top(version=2**70),
        (
            "{b}/manifest.json: version 1180591620717411303424, this release reads "
            "1; export the model again"
        ),
    ),
    (
        "a version of -1",
        top(version=-1),
        "{b}/manifest.json: version -1, this release reads 1; export the model again",
    ),
    (
        "a version that is a text",
        top(version="1"),
        "{b}/manifest.json: version '1', this release reads 1; export the model again",
    ),
    (
        "a format of a megabyte",
        top(format="f" * 2**20),
        "{b}/manifest.json: format '"
        + "f" * 200
        + "'... (1048576 characters), expected 'nextomni-edge-bundle'",
    ),
    (
        "components that are a list",
        top(components=[]),
        "{b}/manifest.json.components: found a list, expected dict",
    ),
    (
        "a config that is null",
        top(config=None),
        "{b}/manifest.json.config: found NoneType, expected an object",
    ),
    (
        "a tokenizer that is a number",
        top(tokenizer=7),
        "{b}/manifest.json.tokenizer: found 7, expected str",
    ),
    (
        "a component with an escape in its name",
        manifest(lambda m: m["components"].update({"\x1b[2J": m["components"]["text_head"]})),
        (
            "{b}/manifest.json: unknown component '\\x1b[2J', expected one of "
            "embed_text, embed_image, embed_audio, backbone, text_head, image_head,"
            " audio_head, image_encoder, image_decoder, audio_encoder, "
            "audio_decoder"
        ),
    ),
    (
        "a component's format of a megabyte",
        manifest(lambda m: m["components"]["text_head"].update(format="f" * 2**20)),
        (
            "{b}/manifest.json.components.text_head.format: found 'ffffffffffffffff"
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff, "
            "expected one of 'onnx', 'coreml', 'gguf'"
        ),
    ),
]
