"""What a published config.json may say. A key that is read is applied, a key that would change
results and is not read is refused by name, and an absent or null key has the default of
`transformers`' own config class."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from nextomni_edge.errors import InputError

# Names of things, training, and generation's own settings: none of them changes a forward pass.
WITHOUT_EFFECT: Final = (
    "model_type", "architectures", "transformers_version", "torch_dtype", "dtype", "name_or_path",
    "tokenizer_class", "finetuning_task", "task_specific_params", "problem_type", "id2label",
    "label2id", "return_dict", "use_cache", "output_attentions", "output_hidden_states",
    "output_scores", "torchscript", "use_bfloat16", "tf_legacy_loss", "is_encoder_decoder",
    "is_decoder", "chunk_size_feed_forward", "pretraining_tp", "prefix", "initializer_range",
    "initializer_factor", "init_std", "attention_dropout", "hidden_dropout", "dropout",
    "activation_dropout", "classifier_dropout", "drop_path_rate", "encoder_layerdrop",
    "decoder_layerdrop", "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id",
    "decoder_start_token_id", "max_length", "min_length", "do_sample", "early_stopping",
    "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p",
    "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences",
    "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id", "forced_decoder_ids",
    "suppress_tokens", "begin_suppress_tokens", "remove_invalid_values",
    "exponential_decay_length_penalty", "max_new_tokens",
)  # fmt: skip


def check_keys(
    where: Path,
    section: Mapping[str, Any],
    read: Collection[str],
    fixed: Mapping[str, tuple[Any, ...]],
    unread: Collection[str] = (),
) -> None:
    """InputError: a key of `fixed` with a value that is not among its own, or a key that is neither
    `read` nor known to change nothing (`unread`), unless it is null, false, 0 or empty."""
    for key, value in section.items():
        if key in fixed:
            if value is not None and not any(_equal(value, wanted) for wanted in fixed[key]):
                wanted = " or ".join(str(value) for value in fixed[key])
                raise InputError(
                    f"{where}: {key} is {str(value)[:60]!r}, which changes what the model computes"
                    f" and is not supported; expected {wanted}"
                )
        elif not (
            key in read
            or key in WITHOUT_EFFECT
            or key in unread
            or key.startswith("_")
            or not value
        ):
            raise InputError(
                f"{where}: {key} is {str(value)[:60]!r}, a key that this layout does not read and"
                " that may change what the model computes; expected it absent, null or false"
            )


def _equal(value: object, wanted: object) -> bool:
    return type(value) is type(wanted) and value == wanted


def present(section: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The section without its nulls, over the defaults of `transformers`' class."""
    return {**defaults, **{key: value for key, value in section.items() if value is not None}}
