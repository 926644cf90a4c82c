"""A native model that begins from published parts: Qwen2's or LLaMA's backbone, CLIP's or SigLIP's
image encoder, Whisper's audio encoder."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from nextomni_edge.checkpoints.directory import TensorStore, open_import
from nextomni_edge.checkpoints.importing import LAYOUTS, import_model
from nextomni_edge.checkpoints.record import RECORD, read_record
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.models import native
from nextomni_edge.models.networks import expected_shapes, state_names
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.models.resized import resized

# Tables of a vocabulary: a model with a tokenizer of its own has others, and learns them.
TABLES: Final = ("embed_text.weight", "text_head.weight")
# what may be another: the vocabulary, how long a sequence may be, and the resolution
FREE: Final = (
    "text.vocabulary_size", "backbone.max_positions", "image.size", "image.patch",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A part of a published model: the config sections that it determines, and its tensors under
    our names."""

    layout: str
    path: Path
    sections: dict[str, Any]
    tensors: dict[str, torch.Tensor]


def read_part(spec: str) -> Part:
    """The part that "LAYOUT=FOLDER" names: a published folder, or one that `import` wrote.

    UsageError: another form. InputError: the folder is not such a part, or holds a whole model.
    """
    layout, equals, folder = spec.partition("=")
    if not equals or layout not in LAYOUTS:
        raise UsageError(
            f"--init {spec!r}: expected LAYOUT=FOLDER, with one of {', '.join(LAYOUTS)}"
        )
    path = Path(folder)
    if (path / RECORD).is_file():
        return _read(layout, path, path)
    with tempfile.TemporaryDirectory() as scratch:
        import_model(path, Path(scratch) / "part", expected_shapes, layout)
        return _read(layout, path, Path(scratch) / "part")


def _read(layout: str, path: Path, directory: Path) -> Part:
    record, store = read_record(directory), open_import(directory)
    if record.part is None:
        raise InputError(
            f"{path}: a whole model of layout {record.layout}, expected a part; train from it with"
            " --resume, or export it"
        )
    if record.layout != layout:
        raise InputError(f"{path}: imported with layout {record.layout}, not {layout}")
    store.check_referenced()
    return Part(layout, path, dict(record.part), _tensors(store))


def _tensors(store: TensorStore) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(store.tensor(name).copy()) for name in store.names()}


def with_sections(config: ModelConfig, part: Part) -> ModelConfig:
    """The config with the part's sections in place of its own, so that the part fits."""
    return ModelConfig.from_json(_merged(config.to_json(), part.sections))


def _merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    nested = {
        key: _merged(base[key], value) if isinstance(value, Mapping) and key in base else value
        for key, value in change.items()
    }
    return {**base, **nested}


def check_sections(config: ModelConfig, part: Part) -> None:
    """InputError: the part was trained with other values than the config's, such as heads,
    activation, norm or RoPE constants: its tensors might fit, and the result would be wrong."""
    theirs = _leaves(with_sections(config, part))
    free = set(FREE)
    if config.text.vocabulary_size != theirs["text.vocabulary_size"]:
        free.add("text.tied_head")  # both tables are learned
    wrong = [
        f"{name} is {value}, the part's is {theirs[name]}"
        for name, value in _leaves(config).items()
        if value != theirs[name] and name not in free
    ]
    if wrong:
        raise InputError(
            f"{part.path}: the recipe's config.json says otherwise: {'; '.join(wrong)}; give it the"
            " part's values"
        )


def _leaves(section: Any, prefix: str = "") -> dict[str, Any]:
    """Every value of a config by its dotted name, defaults included."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(section):
        name, value = f"{prefix}{field.name}", getattr(section, field.name)
        found |= _leaves(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
    return found


def initialise(model: OmniModel, part: Part) -> list[str]:
    """Copy a part's tensors into the model. Returns one line for each tensor that is left out,
    tables of another vocabulary, or interpolated to another resolution.

    InputError: the part was trained with other values than the config's; or another tensor has no
    place in the model, or has another shape there.
    """
    check_sections(model.config, part)
    own, left, taken = state_names(model), list[str](), dict[str, torch.Tensor]()
    for name, tensor in part.tensors.items():
        if name not in own and not (name == "text_head.weight" and model.config.text.tied_head):
            raise InputError(
                f"{part.path}: the model has no tensor {name}; its config must take the sections of"
                " the part"
            )
        theirs, ours = tuple(tensor.shape), tuple(own[name].shape) if name in own else None
        if theirs == ours:
            taken[name] = tensor
        elif ours and (other := resized(name, tensor, ours)) is not None:
            taken[name] = other
            left.append(f"{name} {theirs}: interpolated to {ours}")
        elif name in TABLES:
            left.append(f"{name} {theirs}: the model's is {ours or 'tied'}")
        else:
            raise InputError(
                f"{part.path}: {name} has shape {theirs}, the model's {ours}; the two configs must"
                " agree"
            )
    with torch.no_grad():
        for name, tensor in taken.items():
            own[name].copy_(tensor)
    return left


def write_initial(
    config: ModelConfig, parts: list[Part], out: Path, tokenizer: Path | None
) -> list[str]:
    """Write a native model directory whose weights are the parts' and random elsewhere. Returns
    what was left out.

    Its metric tables are the codebooks. For text it is the text table, where the widths agree.
    InputError: parts that do not fit the config, or two parts for one section.
    """
    torch.manual_seed(0)
    model, left = OmniModel(config), list[str]()
    seen: dict[str, str] = {}
    for part in parts:
        for name in part.tensors:
            if seen.setdefault(name, part.layout) != part.layout:
                raise InputError(
                    f"--init {part.layout} and --init {seen[name]} both hold {name}; give one of"
                    " them"
                )
        left += initialise(model, part)
    with torch.no_grad():
        model.metric_tables.image.copy_(model.embed_image.codebook.unit())
        model.metric_tables.audio.copy_(model.embed_audio.codebook.unit())
        if model.metric_tables.text.shape == model.embed_text.weight.shape:
            model.metric_tables.text.copy_(model.embed_text.weight)
    native.save(model, tokenizer, out)
    return left
