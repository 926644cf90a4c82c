"""Values of strangers that are on no list, in configs, tokenizers, graphs and tensors. {b} in
an error stands for the bundle's path."""

from __future__ import annotations

import json

from tests.bundle.damage import Case, Damage, rewrite
from tests.bundle.hostile_configs import one
from tests.bundle.hostile_tokenizers import MODEL, replace, sequence, split, tokenizer


def tables(header: object) -> Damage:
    """A file of tensors of this header, without data."""
    text = json.dumps(header).encode()
    return rewrite("metric_tables.safetensors", len(text).to_bytes(8, "little") + text)


CASES: list[Case] = [
    (
        "steps of 2^30",
        one("flow.steps", 2**30, "")[1],
        "{b}/manifest.json.config.flow: unknown key 'steps'",
    ),
    (
        "layers that are true",
        one("backbone.layers", True, "")[1],
        "{b}/manifest.json.config.backbone.layers: found True, expected int",
    ),
    (
        "layers below none",
        one("backbone.layers", -1, "")[1],
        "model config: backbone.layers is -1, expected 1 to 1024",
    ),
    (
        "a hop of none",
        one("audio.hop", 0, "")[1],
        "model config: audio.hop is 0, expected 1 to 65536",
    ),
    (
        "a sample rate of 2^31",
        one("audio.sample_rate", 2**31, "")[1],
        "model config: audio.sample_rate is 2147483648, expected 1 to 1048576",
    ),
    (
        "seconds of 1e308",
        one("audio.max_seconds", 1e308, "")[1],
        "model config: audio.max_seconds is 1e+308, expected 0.001 to 86400",
    ),
    (
        "seconds below none",
        one("audio.max_seconds", -1.0, "")[1],
        "model config: audio.max_seconds is -1.0, expected 0.001 to 86400",
    ),
    (
        "a vocabulary of 2^31",
        one("text.vocabulary_size", 2**31, "")[1],
        "model config: text.vocabulary_size is 2147483648, expected 1 to 4194304",
    ),
    (
        "heads of 2^31",
        one("backbone.heads", 2**31, "")[1],
        ("{b}/manifest.json.config.backbone: unknown key 'heads' (did you mean 'kv_heads'?)"),
    ),
    (
        "a hidden size of none",
        one("backbone.hidden_size", 0, "")[1],
        "model config: backbone.hidden_size is 0, expected 1 to 131072",
    ),
    (
        "a patch of none",
        one("image.encoder.patch", 0, "")[1],
        "{b}/manifest.json.config.image.encoder: unknown key 'patch'",
    ),
    (
        "a null id beyond the table",
        one("text.null_token", 2**40, "")[1],
        "model config: text.null_token is 1099511627776, expected 0 to 1073741824",
    ),
    (
        "a tokenizer that is a list",
        rewrite("tokenizer.json", b"[]"),
        "{b}/tokenizer.json: not a tokenizer (no object 'model')",
    ),
    (
        "a tokenizer that is empty",
        rewrite("tokenizer.json", b""),
        "{b}/tokenizer.json: not valid JSON (Expecting value: line 1 column 1 (char 0))",
    ),
    (
        "a tokenizer in UTF-16",
        rewrite("tokenizer.json", json.dumps({"model": MODEL}).encode("utf-16")),
        "{b}/tokenizer.json: not UTF-8 text",
    ),
    (
        "a tokenizer nested 100,000 deep",
        rewrite("tokenizer.json", b"[" * 10**5),
        "{b}/tokenizer.json: nested too deeply",
    ),
    (
        "a model of an unknown kind",
        tokenizer(model={"type": "Turing\x1b[2J"}),
        (
            "{b}/tokenizer.json: model 'Turing\\x1b[2J' is not supported, expected "
            "BPE, Unigram, WordLevel, WordPiece"
        ),
    ),
    (
        "an id of 2^70",
        tokenizer(model={"type": "WordLevel", "vocab": {"a": 2**70}, "unk_token": "a"}),
        "{b}/tokenizer.json: token id 1180591620717411303424, expected 0 to 5",
    ),
    (
        "an id below none",
        tokenizer(model={"type": "WordLevel", "vocab": {"a": -1}, "unk_token": "a"}),
        "{b}/tokenizer.json: token id -1, expected 0 to 5",
    ),
    (
        "an id that is true",
        tokenizer(model={"type": "WordLevel", "vocab": {"a": True}, "unk_token": "a"}),
        "{b}/tokenizer.json: token id True, expected 0 to 5",
    ),
    (
        "an added token that is a number",
        tokenizer(added_tokens=[7]),
        ("{b}/tokenizer.json: an added token is not 1 to 4096 characters of text (found 'None')"),
    ),
    (
        "an added token with id 2^40",
        tokenizer(added_tokens=[{"id": 2**40, "content": "a"}]),
        "{b}/tokenizer.json: token id 1099511627776, expected 0 to 5",
    ),
    (
        "an added token without content",
        tokenizer(added_tokens=[{"id": 2}]),
        ("{b}/tokenizer.json: an added token is not 1 to 4096 characters of text (found 'None')"),
    ),
    (
        "added tokens that are an object",
        tokenizer(added_tokens={}),
        "{b}/tokenizer.json: not a tokenizer (added_tokens is no list)",
    ),
    (
        "a pattern that looks back",
        split("(?<=a+)b"),
        (
            "{b}/tokenizer.json: pre_tokenizer Split: pattern '(?<=a+)b' has '(?', "
            "which is not supported"
        ),
    ),
    (
        "a pattern of nested repeats",
        split("((a*)*)*b"),
        (
            "{b}/tokenizer.json: pre_tokenizer Split: pattern '((a*)*)*b' repeats a"
            " group, which is not supported"
        ),
    ),
    (
        "a replacement of a pattern that grows",
        tokenizer(normalizer=replace("a", "bb", "Regex")),
        (
            "{b}/tokenizer.json: normalizer Replace: 1 characters become 2, "
            "expected a text that does not grow"
        ),
    ),
    (
        "a normalizer without a type",
        tokenizer(normalizer=sequence({})),
        (
            "{b}/tokenizer.json: normalizer None is not supported, expected "
            "BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Prepend, "
            "Replace, Sequence, Strip, StripAccents"
        ),
    ),
    (
        "a decoder of an unknown kind",
        tokenizer(decoder={"type": "Shell"}),
        (
            "{b}/tokenizer.json: decoder 'Shell' is not supported, expected "
            "ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence, Strip, "
            "WordPiece"
        ),
    ),
    (
        "a decoder that is a list",
        tokenizer(decoder=[]),
        "{b}/tokenizer.json: decoder [], expected an object",
    ),
    (
        "a post-processor of an unknown kind",
        tokenizer(post_processor={"type": "Shell"}),
        (
            "{b}/tokenizer.json: post_processor 'Shell' is not supported, expected "
            "ByteLevel, Sequence, TemplateProcessing"
        ),
    ),
    (
        "a post-processor that is a number",
        tokenizer(post_processor=7),
        "{b}/tokenizer.json: post_processor 7, expected an object",
    ),
    (
        "a pre-tokenizer of an unknown kind",
        tokenizer(pre_tokenizer={"type": "Shell\x1b[2J"}),
        (
            "{b}/tokenizer.json: pre_tokenizer 'Shell\\x1b[2J' is not supported, "
            "expected BertPreTokenizer, ByteLevel, Digits, Metaspace, Punctuation, "
            "Sequence, Split, Whitespace, WhitespaceSplit"
        ),
    ),
    (
        "a graph of no bytes",
        rewrite("backbone.onnx", b""),
        "{b}/backbone.onnx: no graph inside",
    ),
    (
        "a graph of one byte",
        rewrite("backbone.onnx", b"\xff"),
        "{b}/backbone.onnx: cut off within a number",
    ),
    (
        "a graph that is JSON",
        rewrite("backbone.onnx", b"{}"),
        "{b}/backbone.onnx: not a protobuf message (wire type 3)",
    ),
    (
        "a graph of a field of 2^63 bytes",
        rewrite("backbone.onnx", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
        ("{b}/backbone.onnx: cut off: a field of 9223372036854775807 bytes where 0 are left"),
    ),
    (
        "a golden trace of no bytes",
        rewrite("golden.safetensors", b""),
        "{b}/golden.safetensors: safetensors header is cut off (0 bytes in all)",
    ),
    (
        "a golden trace with a header of 2^63",
        rewrite("golden.safetensors", b"\xff" * 7 + b"\x7f"),
        "{b}/golden.safetensors: safetensors header is cut off (8 bytes in all)",
    ),
    (
        "metric tables with an offset of 2^70",
        rewrite(
            "metric_tables.safetensors",
            (lambda h: len(h).to_bytes(8, "little") + h)(
                json.dumps(
                    {"text": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**70]}}
                ).encode()
            ),
        ),
        (
            "{b}/metric_tables.safetensors: tensor text has data_offsets [0, "
            "1180591620717411303424], expected a list of sizes"
        ),
    ),
    (
        "metric tables with an escape in a name",
        rewrite(
            "metric_tables.safetensors",
            (lambda h: len(h).to_bytes(8, "little") + h)(
                json.dumps(
                    {"\x1b[2J": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}
                ).encode()
            ),
        ),
        "{b}/metric_tables.safetensors: tensors \x1b[2J, expected audio, image, text",
    ),
]
