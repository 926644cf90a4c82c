"""Configs of published checkpoints: what is read is applied, what is not is refused by name, and
what is absent or null is what `transformers` takes. Its own classes are the oracle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    SiglipVisionConfig,
    SiglipVisionModel,
    WhisperConfig,
)

from nextomni_edge.checkpoints.importing import import_model
from nextomni_edge.checkpoints.layouts import encoders, llama
from nextomni_edge.checkpoints.source import Source
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError
from nextomni_edge.models.networks import expected_shapes, load
from tests.models.published import LANGUAGE, VISION, native, published
from tests.tiny import tiny_config

pytestmark = pytest.mark.usefixtures("within_bounds")

LANGUAGES = {"qwen2": Qwen2Config, "qwen3": Qwen3Config, "llama": LlamaConfig}


def source(folder: Path, config: dict[str, Any]) -> Source:
    """A folder with a config and one tensor: enough for what reads the config alone."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"x": np.zeros(1, np.float32)}, folder / "model.safetensors")
    return Source(folder)


LANGUAGE_KEYS: dict[str, st.SearchStrategy[Any]] = {
    "hidden_size": st.sampled_from([64, 128, 256]),
    "num_hidden_layers": st.integers(1, 40),
    "num_attention_heads": st.sampled_from([2, 4, 8]),
    "num_key_value_heads": st.sampled_from([None, 1, 2]),
    "intermediate_size": st.integers(1, 5000),
    "rms_norm_eps": st.floats(1e-8, 1e-3),
    "max_position_embeddings": st.integers(1, 10**6),
    "vocab_size": st.integers(1, 10**6),
    "rope_theta": st.floats(1e3, 1e7),
    "use_sliding_window": st.just(False),
    "rope_parameters": st.one_of(
        st.none(),
        st.just({}),
        st.builds(lambda x: {"rope_theta": x, "rope_type": "default"}, st.floats(1e3, 1e7)),
        st.just({"rope_type": "default"}),
    ),
}


@given(
    kind=st.sampled_from(["qwen2", "qwen3", "llama"]),
    config=st.fixed_dictionaries({}, optional=LANGUAGE_KEYS),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_language_model_s_config_means_what_transformers_takes_it_for(
    tmp_path: Path, kind: str, config: dict[str, Any]
) -> None:
    five = hasattr(Qwen2Config(), "rope_parameters")  # a key of transformers 5
    config = {key: value for key, value in config.items() if five or key != "rope_parameters"}
    oracle = LANGUAGES[kind](**json.loads(json.dumps(config)))
    found = llama.backbone_config(source(tmp_path / "source", config), config, kind)
    assert found == {
        "hidden_size": oracle.hidden_size,
        "layers": oracle.num_hidden_layers,
        "query_heads": oracle.num_attention_heads,
        "kv_heads": oracle.num_key_value_heads,
        "mlp_size": oracle.intermediate_size,
        "rms_norm_eps": oracle.rms_norm_eps,
        "qkv_bias": kind == "qwen2",
        "rope_base": oracle.rope_parameters["rope_theta"] if five else oracle.rope_theta,
        "max_positions": oracle.max_position_embeddings,
        **({"head_size": oracle.head_dim, "qk_norm": True} if kind == "qwen3" else {}),
    }


@pytest.mark.parametrize(
    ("ours", "oracle"),
    [
        (encoders.CLIP_DEFAULTS, CLIPVisionConfig()),
        (encoders.SIGLIP_DEFAULTS, SiglipVisionConfig()),
        (encoders.WHISPER_DEFAULTS, WhisperConfig()),
        (
            {key: value for key, value in llama.DEFAULTS["qwen2"].items() if key != "rope_theta"},
            Qwen2Config(),
        ),
        (
            {key: value for key, value in llama.DEFAULTS["qwen3"].items() if key != "rope_theta"},
            Qwen3Config(),
        ),
        (
            {key: value for key, value in llama.DEFAULTS["llama"].items() if key != "rope_theta"},
            LlamaConfig(),
        ),
    ],
    ids=["clip", "siglip", "whisper", "qwen2", "qwen3", "llama"],
)
def test_the_defaults_are_those_of_transformers_classes(ours: dict[str, Any], oracle: Any) -> None:
    assert {key: getattr(oracle, key) for key in ours} == dict(ours)


@pytest.mark.parametrize("missing", encoders.SIGLIP_DEFAULTS)
@pytest.mark.parametrize("null", [False, True], ids=["absent", "null"])
def test_a_vision_tower_s_missing_key_is_its_default(
    tmp_path: Path, missing: str, null: bool
) -> None:
    section = {key: value for key, value in VISION.items() if key != missing}
    section |= {"hidden_size": 48} if missing == "num_attention_heads" else {}  # 12 by default
    section |= {missing: None} if null else {}
    for clip, oracle, kind in (
        (True, CLIPVisionConfig, "clip"),
        (False, SiglipVisionConfig, "siglip"),
    ):
        for config in (
            {"model_type": kind, "vision_config": section},
            {"model_type": f"{kind}_vision_model", **section},
        ):
            found = encoders._vision_section(source(tmp_path / kind, config), clip)
            told = {key: value for key, value in section.items() if value is not None}
            assert found[missing] == getattr(oracle(**told), missing)


BAD_LANGUAGE: list[tuple[str, object]] = [
    ("hidden_act", "gelu"),
    ("hidden_act", "relu2"),
    ("use_sliding_window", True),
    ("layer_types", ["full_attention", "sliding_attention", "full_attention"]),
    ("layer_types", ["linear_attention"] * 3),
    ("layer_types", "sliding_attention"),
    ("partial_rotary_factor", 0.5),
    ("rope_parameters", {"rope_type": "default", "partial_rotary_factor": 0.25}),
    ("rope_parameters", {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}),
    ("rope_parameters", {"rope_type": "yarn", "factor": 4.0}),
    ("rope_parameters", {"rope_type": "default", "mrope_section": [2, 2, 2]}),
    ("rope_scaling", {"type": "linear", "factor": 2.0}),
    ("rope_scaling", {"type": "default", "attention_factor": 2.0}),
    ("no_rope_layers", [1, 1, 0]),
    ("no_rope_layer_interval", 4),
    ("attention_bias", True),
    ("mlp_bias", True),
    ("attention_multiplier", 0.5),
    ("logits_scaling", 8.0),
    ("residual_multiplier", 0.22),
    ("final_logit_softcapping", 30.0),
    ("quantization_config", {"bits": 4}),
    ("use_qk_norm", True),
    ("num_experts", 8),
    ("head_dim", 16),
    ("auto_map", {"AutoModel": "modeling.Own"}),
]


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (kind, key, value)
        for kind in LANGUAGES
        for key, value in BAD_LANGUAGE
        if (kind, key) != ("qwen3", "head_dim")  # a size of its own
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_language_model_s_key_that_would_change_results_is_refused_by_name(
    tmp_path: Path, kind: str, key: str, value: object
) -> None:
    more = {"max_window_layers": 0, "sliding_window": 8} if key == "use_sliding_window" else {}
    config = {"model_type": kind, **LANGUAGE, key: value, **more}
    named = "sliding_window" if key == "use_sliding_window" else key
    with pytest.raises(InputError) as raised:
        llama.backbone_config(source(tmp_path / "source", config), config, kind)
    found = str(raised.value)
    assert found.startswith(f"{tmp_path / 'source' / 'config.json'}: "), found
    assert named in found or (isinstance(value, dict) and any(name in found for name in value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("head_dim", None),
        ("head_dim", 12),
        ("num_key_value_heads", None),
        ("rope_scaling", None),
        ("sliding_window", None),
        ("layer_types", None),
        ("layer_types", ["full_attention"] * 3),
        ("partial_rotary_factor", 1.0),
        ("attention_bias", None),
        ("_attn_implementation_autoset", True),
        ("no_rope_layers", []),
        ("quantization_config", None),
        ("torch_dtype", "bfloat16"),
    ],
)
def test_null_and_neutral_values_are_taken(tmp_path: Path, key: str, value: object) -> None:
    config = {**LANGUAGE, key: value}
    found = llama.backbone_config(source(tmp_path / "source", config), config, "llama")
    expected = {"kv_heads": 4 if key == "num_key_value_heads" else 2, "hidden_size": 48}
    assert {name: found[name] for name in expected} == expected


def test_qwen2_s_published_window_that_is_off_is_no_window(tmp_path: Path) -> None:
    """Qwen2.5's own config: a window, switched off; and one that begins behind the last layer."""
    for more in (
        {"use_sliding_window": False, "sliding_window": 32768, "max_window_layers": 21},
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 3},
        {"use_mrope": False, "sliding_window": 32768},
    ):
        config = LANGUAGE | more
        llama.backbone_config(source(tmp_path / "source", config), config, "qwen2")
        oracle = Qwen2Config(**config)
        assert set(oracle.layer_types) == {"full_attention"}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("hidden_act", "relu", "hidden_act is 'relu', expected one of gelu"),
        ("num_channels", 1, "num_channels is '1', which changes what the model computes"),
        ("num_register_tokens", 4, "num_register_tokens is '4', a key that this layout does not"),
        ("layer_scale_init_value", 0.1, "layer_scale_init_value is '0.1', a key that this"),
        ("intermediate_size", "4x", "intermediate_size is '4x', expected a positive whole number"),
        ("num_attention_heads", 7, "image.encoder.width, 32, must be a multiple of its heads, 7"),
    ],
)
def test_a_vision_tower_s_key_that_would_change_results_is_refused_by_name(
    tmp_path: Path, key: str, value: object, sentence: str
) -> None:
    config = {"model_type": "siglip_vision_model", **VISION, key: value}
    made = source(tmp_path / "source", config)
    with pytest.raises(InputError) as raised:
        import_model(made.path, tmp_path / "out", expected_shapes)
    assert sentence in str(raised.value)


@pytest.mark.parametrize("width", [100, 64, 129, 172])
@torch.no_grad()
def test_an_mlp_of_any_width_is_taken(tmp_path: Path, width: int) -> None:
    oracle = published(
        SiglipVisionModel(SiglipVisionConfig(**VISION | {"intermediate_size": width})), tmp_path
    )
    encoder, pixels = native(f"siglip={tmp_path}").image_encoder, torch.randn(2, 3, 24, 24)
    torch.testing.assert_close(
        encoder.transformer(encoder.rows(pixels)),
        oracle(pixels).last_hidden_state,
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("qwen2", lambda: Qwen2Model(Qwen2Config(**LANGUAGE))),
        ("llama", lambda: LlamaModel(LlamaConfig(**LANGUAGE))),
        ("llama", lambda: LlamaModel(LlamaConfig(**LANGUAGE | {"rope_theta": 3e5}))),
    ],
)
@torch.no_grad()
def test_a_base_model_has_no_prefix_and_no_head(tmp_path: Path, kind: str, make: Any) -> None:
    oracle = published(make(), tmp_path)
    model = native(f"{kind}={tmp_path}")
    tokens = torch.randint(0, 70, (1, 1), generator=torch.Generator().manual_seed(1))
    row, past = model.embed_text(tokens), model.backbone.empty_past(1)
    found, _, _ = model.backbone(
        row, torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool), past, past
    )
    torch.testing.assert_close(found, oracle(tokens).last_hidden_state, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(np.int32, "int32"), (np.uint8, "uint8"), (np.bool_, "bool"), (np.int64, "int64")],
)
def test_a_weight_of_whole_numbers_is_refused(tmp_path: Path, dtype: Any, name: str) -> None:
    published(LlamaModel(LlamaConfig(**LANGUAGE)), tmp_path / "source")
    weights = tmp_path / "source" / "model.safetensors"
    tensors = load_file(weights)
    tensors["norm.weight"] = tensors["norm.weight"].astype(dtype)
    save_file(tensors, weights)
    with pytest.raises(InputError, match=f"tensor norm.weight has dtype {name}, expected one of"):
        import_model(tmp_path / "source", tmp_path / "out", expected_shapes)


@pytest.mark.parametrize("dtype", ["BF16", "F16", "I16"])
def test_a_dtype_that_is_not_the_imported_one_is_found(
    tiny_checkpoint: Path, tmp_path: Path, dtype: str
) -> None:
    """The header of a file of the same size says another dtype than at import."""
    shutil.copytree(tiny_checkpoint, tmp_path / "source")
    weights = tmp_path / "source" / "model.safetensors"
    tensors = {name: array.astype(np.float16) for name, array in load_file(weights).items()}
    save_file(tensors, weights)
    content = weights.read_bytes()
    other = "I16" if dtype == "F16" else dtype
    import_model(tmp_path / "source", tmp_path / "model", expected_shapes, "native")
    changed = content.replace(b'"dtype":"F16"', f'"dtype":"{other}"'.encode())
    padding = len(content) - len(changed)
    if padding:  # a header may end in spaces
        length = int.from_bytes(changed[:8], "little")
        assert padding < 0
        changed = (length - padding).to_bytes(8, "little") + changed[8:]
    weights.write_bytes(changed)
    with pytest.raises(InputError, match=r"when .* was imported; import the model again"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (("image", "encoder"), "image.encoder.width, 32, must be a multiple of its heads, 7"),
        (("image", "decoder"), "image.decoder.width, 32, must be a multiple of its heads, 7"),
        (("audio", "encoder"), "audio.encoder.width, 32, must be a multiple of its heads, 7"),
        (("audio", "decoder"), "audio.decoder.width, 32, must be a multiple of its heads, 7"),
        (("audio", "head"), "audio.head.width, 16, must be a multiple of its heads, 7"),
        (("image", "head"), "image.head.width, 16, must be a multiple of its heads, 7"),
    ],
)
def test_heads_divide_their_widths(path: tuple[str, str], sentence: str) -> None:
    data = tiny_config().to_json()
    data[path[0]][path[1]]["heads"] = 7
    with pytest.raises(InputError) as raised:
        ModelConfig.from_json(json.loads(json.dumps(data)))
    assert str(raised.value) == f"model config: {sentence}"
