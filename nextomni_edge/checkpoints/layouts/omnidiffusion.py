"""Omni-Diffusion's layout (arXiv 2603.06577): Dream's backbone over a vocabulary of text, speech
codes and image codes. MAGVIT-v2, SenseVoice's config, and GLM-4-Voice's tokenizer and decoder are
folders of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from nextomni_edge.checkpoints.layouts.dream import AUDIO, MASK, TOP_K, UNREAD
from nextomni_edge.checkpoints.layouts.image_tokenizers import Codec, Names, image_tokenizer
from nextomni_edge.checkpoints.layouts.llama import backbone_config, backbone_tensors
from nextomni_edge.checkpoints.layouts.speech import code_entries, listener, speech_tokenizer
from nextomni_edge.checkpoints.layouts.speech_decoder import speech_decoder
from nextomni_edge.checkpoints.source import IMAGE_TOKENIZER, PART_FOLDERS, Layout, Plan, Source
from nextomni_edge.errors import InputError

TOP_P: Final = 0.9
Settings = Mapping[str, Any]
PARTS: Final = (IMAGE_TOKENIZER, "sensevoice", "speech_tokenizer", "speech_decoder")
PART_OF: Final = {"image": "image tokenizer", "audio": "speech tokenizer"}
# sides in pixels of a given picture and of a drawn one, where config.json has no key of that name;
# the published one has neither, as the authors' script holds both numbers
SIDES: Final = {"given_image_size": 512, "drawn_image_size": 256}
# of the published scripts: tokens and steps of an answer, its penalties and guidance
TEXT: Final[Settings] = {"tokens": 64, "steps": 64}
IMAGE: Final[Settings] = {"tokens": 260, "steps": 260, "repeat": 1.2, "position": 2.0}
AUDIO_OUT: Final[Settings] = {"tokens": 50, "steps": 25}
TEXT_HEARD: Final[Settings] = {"tokens": 50, "steps": 25}
IMAGE_HEARD: Final[Settings] = {**IMAGE, "repeat": 1.5, "guidance": 2.0}
AUDIO_HEARD: Final[Settings] = {"tokens": 128, "steps": 128, "repeat": 1.2, "opens": 0.2}
CODES_A_SECOND: Final = 12.5
RATE: Final = 22_050
LONGEST: Final = 120.0  # seconds
AUDIO_SECTION: Final[Settings] = {
    "sample_rate": RATE, "hop": int(RATE / CODES_A_SECOND / 2), "frames_per_token": 2,
    "max_seconds": LONGEST, "head": {"kind": "parallel"},
}  # fmt: skip


def recognises(source: Source) -> bool:
    dream = str(source.config.get("model_type")).lower() == "dream"
    return dream and any(name.startswith(AUDIO) for name in source.tensors)


def plan(source: Source) -> Plan:
    """The whole model. InputError: what the layout cannot be, or a part that is missing."""
    config, ids = source.config, source.token_ids()
    size = source.size(config, "vocab_size")
    mask = source.agreed_id("mask_token_id", MASK, size)
    codec, speech, speaks, entries = _parts(source)
    offsets = {kind: _slice(source, ids, kind, size) for kind in ("audio", "image")}
    for kind, held in (("image", codec.entries), ("audio", entries)):
        if offsets[kind][1] != held:
            raise InputError(
                f"{source.path}: {offsets[kind][1]} {kind} codes in tokenizer.json, but the"
                f" {PART_OF[kind]} has {held}"
            )
    backbone = backbone_config(source, config, "qwen2", (*UNREAD, *SIDES))
    tied = bool(config.get("tie_word_embeddings", False))
    tensors = backbone_tensors(backbone["layers"], "model.", qkv_bias=True) | codec.tensors
    tensors["embed_text.weight"] = ("model.embed_tokens.weight",)
    if not tied:
        tensors["text_head.weight"] = ("lm_head.weight",)
    positions = backbone["max_positions"]
    given, drawn = (source.size(config, key, default) for key, default in SIDES.items())
    model: dict[str, Any] = {
        "network": "omnidiffusion", "modalities": ["text", "image", "audio"], "logit_shift": 1,
        "backbone": backbone,
        "text": {
            "vocabulary_size": size, "tied_head": tied, "template": "omnidiffusion",
            "block_size": min(TEXT["tokens"], positions // 4), "max_blocks": 64,
        },
        "image": codec.config | {
            "offset": offsets["image"][0], "fitting": "crop", "truncated": True,
            "size": given, "drawn": drawn, "head": {"kind": "parallel"},
        },
        "audio": dict(AUDIO_SECTION) | {
            "offset": offsets["audio"][0], "speech": speech.sections,
            "codebook": {"codebooks": 1, "entries": entries},
        },
        "flow": _paths(mask, TEXT, IMAGE, AUDIO_OUT),
        "heard": _paths(mask, TEXT_HEARD, IMAGE_HEARD, AUDIO_HEARD),
    }  # fmt: skip
    unused = speech.unused | {
        "image_tokenizer/quantize.": "computed from the codes",
        "model.audio_model.model.ctc.": "of speech recognition only",
    }
    return Plan(model, tensors | speech.tensors, unused, tokenizer="tokenizer.json", made=speaks)


@dataclass(frozen=True)
class _Speech:
    sections: dict[str, Any]
    tensors: Names
    unused: dict[str, str]


def _parts(source: Source) -> tuple[Codec, _Speech, dict[str, NDArray[Any]], int]:
    """The image tokenizer, what hears, what speaks, and the number of speech codes. InputError:
    names every part that is missing."""
    if missing := source.missing_parts(PARTS):
        wanted = ", ".join(f"{name} ({PART_FOLDERS[name][0]})" for name in missing)
        raise InputError(
            f"{source.path}: no folder of {wanted}: put it there, or name each with --part"
            f" {missing[0]}=FOLDER"
        )
    codec = image_tokenizer(source)
    if codec is None:
        raise InputError(f"{source.path}: no image tokenizer")
    hears, heard = listener(source)
    tokenizer, quantises, unused = speech_tokenizer(source)
    entries = code_entries(source)
    flow, vocoder, speaks = speech_decoder(source, RATE)
    if (held := speaks["speech_condition.table"].shape[0]) != entries:
        raise InputError(
            f"{source.path}: the speech decoder has {held} codes, but the speech tokenizer"
            f" {entries}"
        )
    if flow["code_rate"] != CODES_A_SECOND:
        raise InputError(
            f"{source.path}: a speech decoder of {flow['code_rate']:g} codes a second, but the"
            f" model speaks {CODES_A_SECOND:g}"
        )
    sections = {"listener": hears, "tokenizer": tokenizer, "flow": flow, "vocoder": vocoder}
    return codec, _Speech(sections, heard | quantises, unused), speaks, entries


def _paths(mask: int, text: Settings, image: Settings, audio: Settings) -> dict[str, Any]:
    return {
        "text": _path(mask, **text), "image": _path(mask, **image), "audio": _path(mask, **audio)
    }  # fmt: skip


def _path(
    mask: int, tokens: int, steps: int, repeat: float = 1.0, position: float = 1.0, **more: float
) -> dict[str, Any]:
    return {
        "kind": "mixture", "mask": mask, "tokens": tokens, "steps": steps, "temperature": 0.0,
        "commit": {
            "count": "time", "score": "entropy", "tempered": True, "top_k": TOP_K, "top_p": TOP_P,
            "repeat_penalty": repeat, "position_penalty": position,
        },
        **more,
    }  # fmt: skip


def _slice(source: Source, ids: dict[str, int], kind: str, size: int) -> tuple[int, int]:
    """(first id, number) of a modality's codes, which tokenizer.json spells <|image_0|> and so on.
    InputError: none, or ids that are not in a row within the vocabulary."""
    first, count = ids.get(f"<|{kind}_0|>"), 0
    while first is not None and ids.get(f"<|{kind}_{count}|>") == first + count:
        count += 1
    others = [name for name in ids if name.startswith(f"<|{kind}_") and name[8:-2].isdecimal()]
    if first is None or len(others) != count or first + count > size:
        raise InputError(
            f"{source.path / 'tokenizer.json'}: {len(others)} codes <|{kind}_0|> and so on, {count}"
            f" of them in a row; expected all of them in a row under the vocab_size of {size}"
        )
    return first, count


OMNIDIFFUSION: Final = Layout("omnidiffusion", recognises, plan)
