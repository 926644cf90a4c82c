"""What Xcode and coremltools show of a package: author, licence, and what each input and output is,
with its unit and shape."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final

from nextomni_edge.spec import ComponentName, GraphSpec, Precision, TensorSpec, Wire

AUTHOR: Final = "converted by nextomni_edge; the model's author is not recorded"
LICENCE: Final = "that of the model it was converted from; not recorded"
COMPONENTS: Final = {
    ComponentName.EMBED_TEXT: "Text tokens as the backbone's input rows.",
    ComponentName.EMBED_IMAGE: "An image's sub-codes as the backbone's input rows.",
    ComponentName.EMBED_AUDIO: "A sound's sub-codes as the backbone's input rows.",
    ComponentName.BACKBONE: "The transformer: input rows to hidden states.",
    ComponentName.TEXT_HEAD: "Hidden states to logits over the text's vocabulary.",
    ComponentName.IMAGE_HEAD: "Hidden states to logits over an image's codebooks.",
    ComponentName.AUDIO_HEAD: "Hidden states to logits over a sound's codebooks.",
    ComponentName.IMAGE_ENCODER: "A given picture as the model sees it.",
    ComponentName.IMAGE_DECODER: "Sub-codes to a picture.",
    ComponentName.IMAGE_QUANTISER: "A given picture as the sub-codes that the decoder turns back.",
    ComponentName.AUDIO_ENCODER: "A given sound as the model hears it.",
    ComponentName.AUDIO_DECODER: "Sub-codes to a waveform.",
}
WIRES: Final = {
    Wire.TOKENS: "Ids of the vocabulary",
    Wire.CODES: "Sub-codes, indices of codebooks",
    Wire.EMBEDDINGS: "Input rows of the backbone",
    Wire.POSITIONS: "The place of each row in its sequence, from 0",
    Wire.ATTENTION_MASK: "1 where a kept or a new row may be attended to, else 0",
    Wire.PAST_KEYS: "Keys kept of rows before",
    Wire.PAST_VALUES: "Values kept of rows before",
    Wire.KEYS: "Keys of the new rows",
    Wire.VALUES: "Values of the new rows",
    Wire.HELD: "The place in the state that each new row goes to",
    Wire.HIDDEN: "Hidden states of the rows",
    Wire.LOGITS: "Logits, before any temperature",
    Wire.PIXELS: "Red, green and blue planes, from -1 (dark) to 1",
    Wire.LOG_MEL: "Whisper's log-mel: (log10 of power + 4) / 4",
    Wire.WAVEFORM: "Samples from -1 to 1, at the config's rate in Hz",
    Wire.FEATURES: "Features of a given medium",
}


@dataclass(frozen=True)
class About:
    """Who made the model, and under which licence; empty where it is not said."""

    author: str = ""
    licence: str = ""


def describe(model: Any, spec: GraphSpec, precision: Precision, about: About) -> None:
    """Write metadata into a package's description, a protobuf message."""
    found = model.description.metadata
    found.shortDescription = COMPONENTS.get(spec.name, f"The component {spec.name}.")
    found.author = about.author or AUTHOR
    found.license = about.licence or LICENCE
    found.versionString = metadata.version("nextomni-edge")
    found.userDefined["component"] = spec.name
    found.userDefined["precision"] = precision
    for features, tensors in (
        (model.description.input, spec.inputs),
        (model.description.output, spec.outputs),
    ):
        for feature, tensor in zip(features, tensors, strict=True):
            feature.shortDescription = _said(tensor)


def _said(tensor: TensorSpec) -> str:
    """What a tensor is, and the names of its axes."""
    axes = ", ".join(str(getattr(dim, "name", dim)) for dim in tensor.dims)
    return f"{WIRES.get(tensor.name, tensor.name)}; ({axes})"
