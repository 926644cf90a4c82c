"""Hostile safetensors files and tokenizers. In an error {b} stands for the bundle's path, {tables}
for the tables' size."""

from __future__ import annotations

import json
import struct

import numpy as np

from tests.bundle.build import metric_tables, small_config
from tests.bundle.damage import Case, Damage, rewrite
from tests.bundle.tensors import safetensors_bytes

TABLE_FILE = "metric_tables.safetensors"
TABLES = "{b}/metric_tables.safetensors: "
TOKENIZER_IDS = b'{"model": {"vocab": {"a": 0, "b": %s}}}'


def tables(**changed: np.ndarray | None) -> bytes:
    arrays = {
        name: array
        for name, array in (metric_tables(small_config()) | changed).items()
        if array is not None
    }
    return safetensors_bytes(arrays)


def headed(header: object) -> Damage:
    """A file of tensors with this header, without data."""
    text = json.dumps(header).encode()
    return rewrite(TABLE_FILE, struct.pack("<Q", len(text)) + text)


def nan_table() -> np.ndarray:
    table = metric_tables(small_config())["image"].copy()
    table[1, 2, 0] = np.nan
    return table


CASES: list[Case] = [
    # safetensors
    (
        "tables of nothing",
        rewrite(TABLE_FILE, b""),
        TABLES + "safetensors header is cut off (0 bytes in all)",
    ),
    (
        "a header cut off",
        rewrite(TABLE_FILE, lambda x: x[:50]),
        TABLES + "safetensors header is cut off (50 bytes in all)",
    ),
    (
        "a header of exabytes",
        rewrite(TABLE_FILE, struct.pack("<Q", 2**63) + bytes(64)),
        TABLES + "safetensors header is cut off (72 bytes in all)",
    ),
    (
        "a header of 17 MiB",
        rewrite(TABLE_FILE, struct.pack("<Q", 17 * 2**20) + b" " * (17 * 2**20)),
        TABLES + "safetensors header of 17825792 bytes, at most 16777216 are read",
    ),
    (
        "a header that is no JSON",
        rewrite(TABLE_FILE, lambda x: x[:8] + b"!" + x[9:]),
        TABLES + "safetensors header: not valid JSON (Expecting value: line 1 column 1 (char 0))",
    ),
    (
        "tables cut off",
        rewrite(TABLE_FILE, lambda x: x[:-4]),
        TABLES + "tensors end at byte {tables+4}, the file at {tables}",
    ),
    (
        "bytes after the tables",
        rewrite(TABLE_FILE, lambda x: x + b"code"),
        TABLES + "tensors end at byte {tables-4}, the file at {tables}",
    ),
    (
        "tables that overlap",
        rewrite(TABLE_FILE, lambda x: x.replace(b"[96, 192]", b"[92, 188]")),
        TABLES + "tensor image begins at byte {tables-220}, expected {tables-216}",
    ),
    (
        "a table of another size",
        rewrite(TABLE_FILE, lambda x: x.replace(b"[2, 4, 3]", b"[2, 4, 4]", 1)),
        TABLES + "tensor audio spans 96 bytes, its shape needs 128",
    ),
    (
        "a table of an unknown dtype",
        rewrite(TABLE_FILE, lambda x: x.replace(b'"F32"', b'"F99"', 1)),
        TABLES
        + "tensor audio has dtype 'F99', expected one of F64, F32, F16, BF16, I64, I32, I16, I8,"
        " U8, BOOL",
    ),
    (
        "a table of negative size",
        rewrite(TABLE_FILE, lambda x: x.replace(b"[2, 4, 3]", b"[-2,4, 3]", 1)),
        TABLES + "tensor audio has shape [-2, 4, 3], expected a list of sizes",
    ),
    (
        "a table of another shape",
        rewrite(TABLE_FILE, tables(text=np.zeros((6, 4), np.float32))),
        TABLES + "table text is float32 (6, 4), expected float32 (6, 5)",
    ),
    (
        "a table of doubles",
        rewrite(TABLE_FILE, tables(text=np.zeros((6, 5), np.float64))),
        TABLES + "table text is float64 (6, 5), expected float32 (6, 5)",
    ),
    (
        "a table missing",
        rewrite(TABLE_FILE, tables(audio=None)),
        TABLES + "tensors image, text, expected audio, image, text",
    ),
    (
        "a table with NaN",
        rewrite(TABLE_FILE, tables(image=nan_table())),
        TABLES + "table image has values that are not finite",
    ),
    (
        "a golden trace of noise",
        rewrite("golden.safetensors", b"\xff" * 32),
        "{b}/golden.safetensors: safetensors header is cut off (32 bytes in all)",
    ),
    # tokenizer
    (
        "a tokenizer that is no JSON",
        rewrite("tokenizer.json", b"\x80\x04"),
        "{b}/tokenizer.json: not UTF-8 text",
    ),
    (
        "a tokenizer without a model",
        rewrite("tokenizer.json", b"{}"),
        "{b}/tokenizer.json: not a tokenizer (no object 'model')",
    ),
    (
        "a tokenizer without words",
        rewrite("tokenizer.json", b'{"model": {}}'),
        "{b}/tokenizer.json: not a tokenizer (no 'vocab')",
    ),
    (
        "a tokenizer too large",
        rewrite("tokenizer.json", b" " * (40 * 2**20 + 1)),
        "{b}/tokenizer.json: larger than 41943040 bytes, the most that is read",
    ),
    (
        "a token beyond the table",
        rewrite("tokenizer.json", TOKENIZER_IDS % b"6"),
        "{b}/tokenizer.json: token id 6, expected 0 to 5",
    ),
    (
        "a token below the table",
        rewrite("tokenizer.json", TOKENIZER_IDS % b"-1"),
        "{b}/tokenizer.json: token id -1, expected 0 to 5",
    ),
    (
        "metric tables with an offset of 2^70",
        headed({"text": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**70]}}),
        (
            "{b}/metric_tables.safetensors: tensor text has data_offsets [0, "
            "1180591620717411303424], expected a list of sizes"
        ),
    ),
    (
        "metric tables with an escape in a name",
        headed({"\x1b[2J": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}),
        "{b}/metric_tables.safetensors: tensors \x1b[2J, expected audio, image, text",
    ),
]
