"""FUDOKI's recorded numbers (fudoki_golden/README.md), and its checkpoint as a source to import."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from nextomni_edge.checkpoints.importing import import_model
from nextomni_edge.flow.guidance import guided
from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.flow.velocity import intensity
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.models.networks import expected_shapes
from nextomni_edge.tokens.sequence import Segment, Sequence, unconditional

FOLDER = Path(__file__).parent / "fudoki_golden"
NAMES = ("config.json", "model.safetensors", "text_embedding.pt", "image_embedding.pt")
if missing := [
    name
    for name in (*NAMES, "golden.safetensors", "dims.json", "vq_real.json")
    if not (FOLDER / name).is_file()
]:
    raise FileNotFoundError(
        f"{FOLDER} lacks {', '.join(missing)}: the tests against FUDOKI's own numbers cannot run"
        " without it"
    )

GOLDEN: dict[str, np.ndarray] = load_file(FOLDER / "golden.safetensors")
IDS: dict[str, int] = json.loads((FOLDER / "dims.json").read_text())["ids"]
SPELLINGS = {
    "bos": "<｜begin▁of▁sentence｜>", "eos": "<｜end▁of▁sentence｜>", "pad": "<｜▁pad▁｜>",
    "begin_of_image": "<begin_of_image>", "end_of_image": "<end_of_image>",
    "image_placeholder": "<image_placeholder>",
}  # fmt: skip


def write_tokenizer(out: Path) -> None:
    """One word per id, FUDOKI's special tokens at the ids of the golden numbers."""
    words = {
        "User": 0,
        "Assistant": 1,
        ":": 2,
        "what": 3,
        "is": 4,
        "this": 5,
        "?": 6,
        "draw": 7,
        "a": 8,
        "red": 9,
        "cat": 10,
    }
    special = {IDS[name]: spelling for name, spelling in SPELLINGS.items()}
    taken = {*words.values(), *special}
    vocabulary = words | {f"w{index}": index for index in range(384) if index not in taken}
    tokenizer = Tokenizer(
        models.WordLevel(
            {**vocabulary, **{text: index for index, text in special.items()}}, unk_token="w11"
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in special.values()]
    )
    tokenizer.save(str(out))


def fudoki_source(out: Path, **changes: Any) -> Path:
    """A folder in the released layout; `changes` go into config.json beside the null token of the
    golden numbers."""
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


def sequence(run: str, sample: int, image: np.ndarray | None = None) -> Sequence:
    """A recorded sample: its prompt, what is generated, and `image` as the features of the image
    that it shows."""
    length = int(GOLDEN[f"{run}.attention_mask"][sample].sum())
    tokens, shown = (
        GOLDEN[f"{run}.tokens"][sample][:length],
        GOLDEN[f"{run}.image_token_mask"][sample][:length].astype(bool),
    )
    answered = (
        shown if run == "gen" else GOLDEN["und.text_token_mask"][sample][:length].astype(bool)
    )
    edges = np.flatnonzero(np.diff(2 * shown.astype(int) + answered)) + 1
    segments = []
    for start, stop in zip([0, *edges], [*edges, length], strict=True):
        part, frozen = tokens[start:stop], not answered[start]
        if not shown[start]:
            segments.append(Segment("text", part, frozen))
        else:
            segments.append(Segment("image", part[:, None] if image is None else image, frozen))
    return Sequence(tuple(segments))


def replay(model: EdgeModel, run: str) -> float:
    """A recorded trajectory with its draws injected; AssertionError at the first token that is
    another.

    Returns the largest difference of the recorded distributions (generation) or logits
    (understanding).
    """
    image = run == "traj_gen"
    given = None if image else model.encode_image(GOLDEN["und.pixel_values"][0])
    whole, modality = (
        sequence("gen", 1) if image else sequence("und", 0, given),
        "image" if image else "text",
    )
    branches = [whole, unconditional(whole, model.tokenizer.special)] if image else [whole]
    (place,) = whole.generated()
    rows, (path,) = np.arange(*whole.spans()[place]), model.paths(modality)
    assert isinstance(path, MetricPath)
    states, difference = GOLDEN[f"{run}.x_t"], 0.0
    for step, h in enumerate(GOLDEN[f"{run}.h"]):
        now = states[step][:, None] if image else states[step]
        hidden = model.hidden([branch.with_tokens(place, now) for branch in branches])[:, rows - 1]
        logits = model.head(modality, hidden, np.zeros((len(branches), len(rows), 1), np.int64))[
            :, :, 0
        ]
        if image:
            logits = guided(logits[0], logits[1], 5.0)[None]
            if step in GOLDEN["traj_gen.probs_steps"]:
                weights = np.exp(logits[0] - logits[0].max(axis=1, keepdims=True))
                expected = GOLDEN["traj_gen.probs"][
                    GOLDEN["traj_gen.probs_steps"].tolist().index(step)
                ]
                difference = max(
                    difference,
                    float(np.abs(weights / weights.sum(axis=1, keepdims=True) - expected).max()),
                )
        else:
            np.testing.assert_array_equal(logits[0].argmax(axis=1), GOLDEN["traj_und.x_1"][step])
            name = {0: "first", len(states) - 2: "last"}.get(step)
            if name:
                difference = max(
                    difference,
                    float(np.abs(logits[0] - GOLDEN[f"traj_und.txt_logits_{name}"]).max()),
                )
        np.testing.assert_array_equal(moved(path, run, step, float(h)), states[step + 1])
    return difference


def moved(path: MetricPath, run: str, step: int, h: float) -> np.ndarray:
    """The state after a step: recorded x_1, uniforms and targets, our own intensity."""
    x_t, x_1 = GOLDEN[f"{run}.x_t"][step], GOLDEN[f"{run}.x_1"][step]
    if step == len(GOLDEN[f"{run}.h"]) - 1:
        return x_1
    leaving = intensity(x_t, x_1, float(GOLDEN[f"{run}.t"][step]), path.metric, path.schedule)
    jumps = GOLDEN[f"{run}.uniform"][step] < -np.expm1(-h * leaving)
    np.testing.assert_array_equal(jumps, GOLDEN[f"{run}.jump"][step])
    return np.where(jumps, GOLDEN[f"{run}.target"][step], x_t)
