"""Hostile paths and directories. {b} in an error stands for the bundle's path."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.bundle.build import SHA
from tests.bundle.build import WEIGHT_FILE as W
from tests.bundle.damage import (
    Case,
    also_list,
    rename_file,
    symlink,
    void,
)

M = "{b}/manifest.json"

NAMES = "A-Z a-z 0-9 _ . - (first and last no dot)"


def swap_kind(path: Path) -> None:
    (path / "golden.safetensors").unlink()
    os.mkfifo(path / "golden.safetensors")


def deep_folders(path: Path) -> None:
    (path / "a/b/c/d/e/f").mkdir(parents=True)
    (path / "a/b/c/d/e/f/g").write_bytes(b"")


def drop_weights(path: Path) -> None:
    shutil.rmtree(path / "weights")


CASES: list[Case] = [
    # paths
    (
        "an absolute path",
        rename_file(W, "/etc/passwd"),
        M + ": files: path '/etc/passwd' is absolute, expected one inside the bundle",
    ),
    (
        "a path upwards",
        rename_file(W, "../w"),
        M + ": files: path '../w' has the part '..', expected plain names",
    ),
    (
        "a path upwards inside",
        rename_file(W, "weights/../../w"),
        M + ": files: path 'weights/../../w' has the part '..', expected plain names",
    ),
    (
        "a path with a dot",
        rename_file(W, "./w"),
        M + ": files: path './w' has the part '.', expected plain names",
    ),
    (
        "a path with two slashes",
        rename_file(W, "weights//w"),
        M + ": files: path 'weights//w' has the part '', expected plain names",
    ),
    (
        "a path that is a folder",
        rename_file(W, "weights/"),
        M + ": files: path 'weights/' has the part '', expected plain names",
    ),
    (
        "a backslash",
        rename_file(W, "weights\\w"),
        M + ": files: path 'weights\\\\w' has a backslash, expected '/' between names",
    ),
    (
        "a share",
        rename_file(W, "\\\\host\\w"),
        M + ": files: path '\\\\\\\\host\\\\w' has a backslash, expected '/' between names",
    ),
    ("a drive", rename_file(W, "C:/w"), M + ": files: path 'C:/w' has a name outside " + NAMES),
    (
        "a NUL",
        rename_file(W, "weights/w\0.onnx"),
        M + ": files: path 'weights/w\\x00.onnx' has a name outside " + NAMES,
    ),
    ("a line break", rename_file(W, "w\n"), M + ": files: path 'w\\n' has a name outside " + NAMES),
    (
        "a letter that looks like another",
        rename_file(W, "b\u0430ckbone"),
        M + ": files: path 'b\\u0430ckbone' has a name outside " + NAMES,
    ),
    (
        "a hidden file",
        rename_file(W, ".ssh/w"),
        M + ": files: path '.ssh/w' has a name outside " + NAMES,
    ),
    (
        "a name that Windows shortens",
        rename_file(W, "w."),
        M + ": files: path 'w.' has a name outside " + NAMES,
    ),
    (
        "a device",
        rename_file(W, "weights/NUL"),
        M + ": files: path 'weights/NUL' has the reserved name 'NUL'",
    ),
    (
        "a device with an ending",
        rename_file(W, "com1.onnx"),
        M + ": files: path 'com1.onnx' has the reserved name 'com1.onnx'",
    ),
    ("an empty path", rename_file(W, ""), M + ": files: path of 0 characters, expected 1 to 240"),
    (
        "a long path",
        rename_file(W, "w" * 241),
        M + ": files: path of 241 characters, expected 1 to 240",
    ),
    (
        "names that differ in case",
        also_list("Backbone.onnx"),
        M + ": files: paths 'backbone.onnx' and 'Backbone.onnx' only differ in case",
    ),
    (
        "the manifest lists itself",
        also_list("Manifest.json"),
        M + ": files: the manifest lists itself",
    ),
    # the directory
    (
        "a file missing",
        lambda b: (b / "backbone.onnx").unlink(),
        "{b}: file 'backbone.onnx' is missing",
    ),
    ("all weights missing", drop_weights, "{b}: file '" + W + "' is missing"),
    (
        "a file too many",
        lambda b: void((b / "run.sh").write_bytes(b"")),
        "{b}: file 'run.sh' is not listed in the manifest",
    ),
    (
        "a hidden file too many",
        lambda b: void((b / ".x").write_bytes(b"")),
        "{b}: file '.x' is not listed in the manifest",
    ),
    (
        "a file in the other case",
        lambda b: void((b / "backbone.onnx").rename(b / "BACKBONE.onnx")),
        "{b}: file 'BACKBONE.onnx' is not listed in the manifest",
    ),
    ("a file listed but absent", also_list("more.bin"), "{b}: file 'more.bin' is missing"),
    (
        "an empty folder",
        lambda b: (b / "lib").mkdir(),
        "{b}/lib: an empty folder, expected none in a bundle",
    ),
    ("folders without end", deep_folders, "{b}/a/b/c/d/e: folders are nested more than 4 deep"),
    (
        "a link to a file of the host",
        symlink(W, "/etc/hostname"),
        "{b}/" + W + ": a link, expected only files and folders in a bundle",
    ),
    (
        "a link inside the bundle",
        symlink("tokenizer.json", "backbone.onnx"),
        "{b}/tokenizer.json: a link, expected only files and folders in a bundle",
    ),
    (
        "a link that leads nowhere",
        symlink("tokenizer.json", "nowhere"),
        "{b}/tokenizer.json: a link, expected only files and folders in a bundle",
    ),
    (
        "a linked folder",
        lambda b: (b / "more").symlink_to("/etc"),
        "{b}/more: a link, expected only files and folders in a bundle",
    ),
    (
        "a pipe",
        swap_kind,
        "{b}/golden.safetensors: no regular file, expected only files and folders in a bundle",
    ),
    (
        "a file cut off",
        lambda b: os.truncate(b / W, 2000),
        "{b}: file '" + W + "' has 2000 bytes, expected 2048",
    ),
    (
        "a byte too many",
        lambda b: void((b / "tokenizer.json").open("ab").write(b" ")),
        "{b}: file 'tokenizer.json' has 111 bytes, expected 110",
    ),
    (
        "a weight changed",
        lambda b: void((b / W).write_bytes(bytes(2048))),
        "{b}: file '"
        + W
        + "' has sha256 e5a00aa9991ac8a5ee3109844d84a55583bd20572ad3ffcd42792f3c36b183ad, expected"
        f" {SHA}",
    ),
]
