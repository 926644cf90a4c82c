"""FUDOKI's recorded numbers (fudoki_golden/README.md), and its checkpoint as a source to import."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from nextomni_edge.layouts.importing import import_model
from nextomni_edge.models.networks import expected_shapes

FOLDER = Path(__file__).parent / "fudoki_golden"
NAMES = ("config.json", "model.safetensors", "text_embedding.pt", "image_embedding.pt")
if missing := [name for name in (*NAMES, "golden.safetensors", "dims.json", "vq_real.json") if not (FOLDER / name).is_file()]:
    raise FileNotFoundError(f"{FOLDER} lacks {', '.join(missing)}: the tests against FUDOKI's own numbers cannot run without it")

GOLDEN: dict[str, np.ndarray] = load_file(FOLDER / "golden.safetensors")
IDS: dict[str, int] = json.loads((FOLDER / "dims.json").read_text())["ids"]
SPELLINGS = {
    "bos": "<｜begin▁of▁sentence｜>", "eos": "<｜end▁of▁sentence｜>", "pad": "<｜▁pad▁｜>",
    "begin_of_image": "<begin_of_image>", "end_of_image": "<end_of_image>", "image_placeholder": "<image_placeholder>",
}  # fmt: skip


def write_tokenizer(out: Path) -> None:
    """One word per id, FUDOKI's special tokens at the ids of the golden numbers."""
    words = {"User": 0, "Assistant": 1, ":": 2, "what": 3, "is": 4, "this": 5, "?": 6, "draw": 7, "a": 8, "red": 9, "cat": 10}
    special = {IDS[name]: spelling for name, spelling in SPELLINGS.items()}
    taken = {*words.values(), *special}
    vocabulary = words | {f"w{index}": index for index in range(384) if index not in taken}
    tokenizer = Tokenizer(models.WordLevel({**vocabulary, **{text: index for index, text in special.items()}}, unk_token="w11"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special.values()])
    tokenizer.save(str(out))


def fudoki_source(out: Path, **changes: Any) -> Path:
    """A folder in the released layout; `changes` go into config.json beside the null token of the golden numbers."""
    out.mkdir(parents=True)
    for name in NAMES[1:]:
        shutil.copyfile(FOLDER / name, out / name)
    config = json.loads((FOLDER / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | {"null_token": IDS["null"]} | changes))
    write_tokenizer(out / "tokenizer.json")
    return out


def fudoki_model(out: Path) -> Path:
    """The model directory that the source is imported to; both under `out`."""
    import_model(fudoki_source(out / "source"), out / "model", expected_shapes)
    return out / "model"
