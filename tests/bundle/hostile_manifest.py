"""Hostile manifests. {b} in an error stands for the bundle's path."""

from __future__ import annotations

from tests.bundle.build import WEIGHT_FILE as W
from tests.bundle.damage import (
    Case,
    manifest,
    manifest_bytes,
    manifest_text,
    symlink,
)

M = "{b}/manifest.json"
COMPONENTS = (
    "embed_text, embed_image, embed_audio, backbone, text_head, image_head, audio_head,"
    " image_encoder, image_decoder, audio_encoder, audio_decoder"
)


CASES: list[Case] = [
    # the manifest as JSON
    (
        "manifest missing",
        lambda b: (b / "manifest.json").unlink(),
        "{b}: no manifest.json inside; expected a bundle",
    ),
    (
        "manifest empty",
        manifest_bytes(b""),
        M + ": not valid JSON (Expecting value: line 1 column 1 (char 0))",
    ),
    ("manifest is a list", manifest_bytes(b"[]"), M + ": found list, expected an object"),
    ("manifest not UTF-8", manifest_bytes(b'{"format": "\xff"}'), M + ": not UTF-8 text"),
    (
        "manifest too large",
        manifest_bytes(b" " * (16 * 2**20 + 1)),
        M + ": larger than 16777216 bytes, the most that is read",
    ),
    (
        "nested 100,000 deep",
        manifest_bytes(b"[" * 100_000 + b"]" * 100_000),
        M + ": nested too deeply",
    ),
    (
        "nested as deep as the library reads",
        manifest_text('"parity": {}', '"parity": ' + '{"a": ' * 960 + "1" + "}" * 960),
        M + ": nested too deeply",
    ),
    (
        "nested in lists",
        manifest_text('"parity": {}', '"parity": {"a": ' + "[" * 64 + "]" * 64 + "}"),
        M + ": nested too deeply",
    ),
    ("half a character", manifest_text('"2.13.0"', '"\\ud800"'), M + ": not UTF-8 text"),
    (
        "NaN",
        manifest_text('"c": 3.0', '"c": NaN'),
        M + ": not valid JSON (NaN is not a JSON number)",
    ),
    (
        "infinity",
        manifest_text('"c": 3.0', '"c": -Infinity'),
        M + ": not valid JSON (-Infinity is not a JSON number)",
    ),
    (
        "infinity spelled in digits",
        manifest_text('"c": 3.0', '"c": 1e999'),
        M + ": not valid JSON (1e999 is out of range)",
    ),
    (
        "a key twice",
        manifest_text('"version"', '"format": 0, "version"'),
        M + ": not valid JSON (key 'format' appears twice)",
    ),
    (
        "a component twice",
        manifest_text('"embed_image": {\n', '"embed_text": {\n'),
        M + ": not valid JSON (key 'embed_text' appears twice)",
    ),
    (
        "manifest is a link",
        symlink("manifest.json", "/etc/hostname"),
        M + ": a link, expected only files and folders in a bundle",
    ),
    # the manifest against its schema
    (
        "another format",
        manifest(lambda m: m.update(format="onnx")),
        M + ": format 'onnx', expected 'nextomni-edge-bundle'",
    ),
    (
        "a later version",
        manifest(lambda m: m.update(version=2, later=1)),
        M + ": version 2, this release reads 1; export the model again",
    ),
    (
        "version true",
        manifest(lambda m: m.update(version=True)),
        M + ": version True, this release reads 1; export the model again",
    ),
    (
        "an unknown key",
        manifest(lambda m: m.update(tokeniser="x")),
        M + ": unknown key 'tokeniser' (did you mean 'tokenizer'?)",
    ),
    (
        "an unknown key deep inside",
        manifest(lambda m: m["config"]["backbone"].update(kv_head=1)),
        M + ".config.backbone: unknown key 'kv_head' (did you mean 'kv_heads'?)",
    ),
    ("a key missing", manifest(lambda m: m.pop("files")), M + ": key 'files' is missing"),
    (
        "config of a wrong type",
        manifest(lambda m: m["config"]["backbone"].update(layers="1")),
        M + ".config.backbone.layers: found '1', expected int",
    ),
    (
        "a constant of 400 digits",
        manifest(lambda m: m["config"]["flow"]["text"].update(c=10**400)),
        M + ".config.flow.text.c: found 1" + "0" * 79 + ", expected float",
    ),
    (
        "config with true for a number",
        manifest(lambda m: m["config"]["image"].update(patch=True)),
        M + ".config.image.patch: found True, expected int",
    ),
    (
        "config no object",
        manifest(lambda m: m.update(config=3)),
        M + ".config: found int, expected an object",
    ),
    (
        "a size of zero",
        manifest(lambda m: m["config"]["backbone"].update(query_heads=0)),
        "model config: backbone.query_heads is 0, expected 1 to 4096",
    ),
    (
        "a size that is no size",
        manifest(lambda m: m["config"]["text"].update(vocabulary_size=10**30)),
        f"model config: text.vocabulary_size is {10**30}, expected 1 to 4194304",
    ),
    (
        "a clip without end",
        manifest(lambda m: m["config"]["audio"].update(max_seconds=1e308)),
        "model config: audio.max_seconds is 1e+308, expected 0.001 to 86400",
    ),
    (
        "sizes that do not fit",
        manifest(lambda m: m["config"]["image"].update(patch=7)),
        "model config: image.size must be a multiple of image.patch",
    ),
    (
        "an unknown component",
        manifest(lambda m: m["components"].update(backbone2=m["components"]["backbone"])),
        M + f": unknown component 'backbone2', expected one of {COMPONENTS}",
    ),
    (
        "an unknown graph format",
        manifest(lambda m: m["components"]["backbone"].update(format="pickle")),
        M + ".components.backbone.format: found 'pickle', expected one of 'onnx', 'coreml', 'gguf'",
    ),
    ("no components", manifest(lambda m: m.update(components={})), M + ": no components"),
    (
        "a component taken away",
        manifest(lambda m: m["components"].pop("audio_decoder")),
        "{b}: file 'audio_decoder.onnx' is used by nothing",
    ),
    (
        "one graph for two components",
        manifest(lambda m: m["components"]["text_head"].update(file="backbone.onnx")),
        M + ": file 'backbone.onnx' is named twice",
    ),
    (
        "the tokenizer as a graph",
        manifest(lambda m: m["components"]["text_head"].update(file="tokenizer.json")),
        M + ": file 'tokenizer.json' is named twice",
    ),
    (
        "a weight as a graph",
        manifest(lambda m: m["components"]["text_head"].update(file=W)),
        M + f": graph '{W}' must stand at the bundle's top",
    ),
    (
        "a graph that is not listed",
        manifest(lambda m: m["components"]["text_head"].update(file="../text_head.onnx")),
        M + ": file '../text_head.onnx' is named but not listed under files",
    ),
    (
        "a tokenizer outside",
        manifest(lambda m: m.update(tokenizer="/etc/passwd")),
        M + ": file '/etc/passwd' is named but not listed under files",
    ),
    (
        "a hash that is none",
        manifest(lambda m: m["files"]["tokenizer.json"].update(sha256="A" * 64)),
        M + f": files: tokenizer.json: sha256 '{'A' * 64}', expected 64 lower-case hex digits",
    ),
    (
        "a negative size",
        manifest(lambda m: m["files"]["tokenizer.json"].update(size=-1)),
        M + ": files: tokenizer.json: size -1, expected a number of bytes",
    ),
    (
        "a weight under another's name",
        manifest(lambda m: m["files"][W].update(sha256="0" * 64)),
        M + f": files: {W}: a weight's name must be its sha256, found {'0' * 64}",
    ),
    (
        "a report of other numbers",
        manifest(lambda m: m.update(measured={"parent": {}})),
        M + ".measured.parent: key 'name' is missing",
    ),
    (
        "a report that is none",
        manifest(lambda m: m.update(measured=[1])),
        M + ".measured: found list, expected an object",
    ),
]
