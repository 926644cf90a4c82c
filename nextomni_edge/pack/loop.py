"""Which bundles a loop in another language computes as Python's does: the Swift package's, the web
page's and the Android module's. The others are refused when they are packed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from nextomni_edge.bundle import Bundle
from nextomni_edge.config import ModelConfig
from nextomni_edge.decoding import CommitConfig
from nextomni_edge.errors import InputError
from nextomni_edge.formats.strict_json import read_json
from nextomni_edge.formats.tokenizer import MAX_TOKENIZER
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.shortcuts import SHORTCUTS
from nextomni_edge.verify import golden

# the settings of Options.swift, options.js and Options.kt
SUPPORTED: Final = (
    "steps", "stepper", "temperature", "top_k", "top_p", "guidance", "guidance_image", "block",
    "threshold", "seed",
)  # fmt: skip
# what Commit.swift, commit.js and Commit.kt do not know of decoding.py: choices, and names
NOT_CHOSEN: Final = (
    "repeat_penalty", "repeat_free", "position_penalty", "codebook_penalty",
)  # fmt: skip
NOT_NAMED: Final = ("path", "peak")
# the templates of Tokenizer.swift, text.js and TextTokenizer.kt
TEMPLATES: Final = ("chatml", "llada", "mmada", "lumina", "dream")


def check_loop(
    bundle: Bundle,
    language: str,
    paths: Collection[str] = ("metric",),
    settings: Collection[str] = SUPPORTED,
) -> None:
    """InputError: the loop in `language` does not compute this model, its template, its tokenizer
    or its golden trace. `paths`: the kinds that it computes without a commit step. `settings`:
    those of a run that it supports."""
    for wrong, found in _not_computed(bundle.config, paths):
        if wrong:
            raise InputError(
                f"{bundle.path}: {found}, which the {language} loop does not compute; run this"
                " bundle with Python"
            )
    for task, _ in golden.read(bundle).tasks.values():
        if names := _beyond(task.options, settings):
            raise InputError(
                f"{bundle.path}: the golden trace of {task.name} sets {', '.join(names)}, which the"
                f" {language} loop does not support; export without"
            )
    if bundle.config.text.template not in TEMPLATES:
        raise InputError(
            f"{bundle.path}: chat template {bundle.config.text.template!r}, the {language} code"
            f" supports {', '.join(TEMPLATES)}"
        )
    data: Any = read_json(bundle.tokenizer_path, MAX_TOKENIZER)
    if not _known(data):
        raise InputError(
            f"{bundle.tokenizer_path}: the {language} code knows byte-level BPE behind a split by a"
            " pattern, not this tokenizer"
        )


def _not_computed(config: ModelConfig, kinds: Collection[str]) -> list[tuple[bool, str]]:
    """What a model may be that another loop would compute wrongly, and whether this one is."""
    paths = {name: config.path(name) for name in config.modalities}
    other = [name for name, path in paths.items() if path.kind not in kinds and not path.commit]
    unknown = sorted({name for path in paths.values() for name in _unknown_choices(path.commit)})
    more, known = [coded.name for coded in config.more], " nor ".join(kinds)
    return [
        (config.causal, "this model is autoregressive"),
        (config.network not in ("native", "unified"), f"network is {config.network!r}"),
        (bool(other), f"the path of {', '.join(other)} is neither {known} nor has a commit step"),
        (bool(unknown), f"the commit step sets {', '.join(unknown)}"),
        (bool(more), f"the model has the modalities {', '.join(more)}"),
    ]


def _unknown_choices(rule: CommitConfig | None) -> list[str]:
    """The choices of a commit step that the other loops do not know."""
    if rule is None:
        return []
    plain = CommitConfig()
    found = [name for name in NOT_CHOSEN if getattr(rule, name) != getattr(plain, name)]
    return found + [f"{name} {value}" for name, value in vars(rule).items() if value in NOT_NAMED]


def _beyond(options: GenerationOptions, supported: Collection[str]) -> list[str]:
    """The settings of a run that change its tokens and that are not supported."""
    unset, given = GenerationOptions().settings(), options.settings()
    free = {*supported, *SHORTCUTS, "padding"}
    return [name for name, value in given.items() if name not in free and value != unset[name]]


def _known(tokenizer: Any) -> bool:
    """Whether the other code computes this tokenizer.json as the `tokenizers` library does."""
    before, model = tokenizer.get("pre_tokenizer") or {}, tokenizer["model"]
    steps = before.get("pretokenizers", [before])
    normalizer = (tokenizer.get("normalizer") or {}).get("type")
    plain = not any(
        model.get(key)
        for key in (
            "continuing_subword_prefix",
            "end_of_word_suffix",
            "byte_fallback",
            "ignore_merges",
        )
    )
    return model.get("type") == "BPE" and plain and normalizer in (None, "NFC") and _splits(steps)


def _splits(steps: list[Any]) -> bool:
    """Whether bytes stand behind a split by a pattern, the step's own or GPT-2's."""
    if [step.get("type") for step in steps] == ["ByteLevel"]:
        return bool(steps[0].get("use_regex")) and not steps[0].get("add_prefix_space")
    return (
        [step.get("type") for step in steps] == ["Split", "ByteLevel"]
        and "Regex" in steps[0].get("pattern", {})
        and steps[0].get("behavior") == "Isolated"
        and not steps[0].get("invert")
        and not steps[1].get("use_regex")
        and not steps[1].get("add_prefix_space")
    )
