"""What benchmarks/autoregressive.py runs: a network of Qwen2.5-0.5B's sizes with random weights, as
a flow and as its causal twin.

Weights are written tensor by tensor. The flow and the twin share them: bundles for our runtimes,
GGUF files for llama.cpp.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import export_memory

from nextomni_edge.files import atomic_write

PARTS: Final = ("embed_text", "backbone", "text_head")
GGUF_TYPES: Final = {"q8_0": 7, "q4_0": 2}  # llama.cpp's numbers of file types
LAYER: Final = {
    "self_attn.q_proj.weight": "attn_q.weight", "self_attn.q_proj.bias": "attn_q.bias",
    "self_attn.k_proj.weight": "attn_k.weight", "self_attn.k_proj.bias": "attn_k.bias",
    "self_attn.v_proj.weight": "attn_v.weight", "self_attn.v_proj.bias": "attn_v.bias",
    "self_attn.o_proj.weight": "attn_output.weight", "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight", "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight", "mlp.down_proj.weight": "ffn_down.weight",
}  # fmt: skip


def settings(small: bool) -> dict[str, Any]:
    """Qwen2.5-0.5B: 24 layers, 896 wide, 14 query and 2 key heads, MLP 4,864, a tied vocabulary of
    151,936."""
    stack = {"width": 64, "layers": 1, "heads": 2}
    head = {"width": 64, "layers": 1, "heads": 2}
    backbone = {
        "hidden_size": 896,
        "layers": 24,
        "query_heads": 14,
        "kv_heads": 2,
        "mlp_size": 4864,
        "max_positions": 4096,
    }
    text = {"vocabulary_size": 151936, "block_size": 8, "tied_head": True}
    if small:
        backbone |= {"layers": 2}
        text |= {"vocabulary_size": 4096}
    return {
        "backbone": backbone, "text": text,
        "image": {"encoder": stack, "decoder": stack, "head": head},
        "audio": {"encoder": stack, "decoder": stack, "head": head},
    }  # fmt: skip


def prepare(folder: Path, small: bool) -> None:
    """Make what is not there yet: `flow` and `causal` in full precision, both in INT8, `q8_0.gguf`
    and `q4_0.gguf`."""
    from nextomni_edge.calibration import quantize
    from nextomni_edge.calibration.recipes.config import recipe
    from nextomni_edge.checkpoints.directory import Checkpoint
    from nextomni_edge.export import export_bundle

    models = {"flow": folder / "flow-model", "causal": folder / "causal-model"}
    if not models["flow"].is_dir():
        part = models["flow"].with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        export_memory.make_model(part, settings(small))
        part.rename(models["flow"])
    if not models["causal"].is_dir():
        _twin(models["flow"], models["causal"])
    for name, model in models.items():
        if not (folder / name).is_dir():
            export_bundle(model, folder / name, PARTS, verify="none")
        if not (folder / f"{name}-int8").is_dir():
            quantize(folder / name, folder / f"{name}-int8", recipe("int8-dynamic"))
    if not (folder / "f16.gguf").exists():
        write_gguf(
            Checkpoint.open(models["causal"]), folder / "f16.gguf", "qwen2",
            lambda writer: writer.add_tokenizer_model("no_vocab"),
        )  # fmt: skip
    for name, kind in GGUF_TYPES.items():
        if not (folder / f"{name}.gguf").exists():
            script = (
                f"import autoregressive_models as m; m.quantise_gguf({str(folder)!r}, {name!r},"
                f" {kind})"
            )
            subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parent)


def _twin(flow: Path, causal: Path) -> None:
    """The same weights under a causal mask."""
    causal.mkdir()
    data = json.loads((flow / "config.json").read_text())
    data["backbone"]["attention"], data["logit_shift"] = "causal", 1
    (causal / "config.json").write_text(json.dumps(data))
    shutil.copyfile(flow / "tokenizer.json", causal / "tokenizer.json")
    os.link(flow / "model.safetensors", causal / "model.safetensors")


def write_gguf(
    checkpoint: Any, out: Path, architecture: str, describe: Callable[[Any], object]
) -> None:
    """The backbone and its tied table as an architecture of llama.cpp: matrices in float16, vectors
    in float32. `describe` adds the vocabulary to the writer."""
    import gguf
    import numpy as np

    shape = checkpoint.config.backbone
    names = {"embed_text.weight": "token_embd.weight", "backbone.norm.weight": "output_norm.weight"}
    for layer in range(shape.layers):
        names |= {
            f"backbone.layers.{layer}.{ours}": f"blk.{layer}.{theirs}"
            for ours, theirs in LAYER.items()
        }
    with atomic_write(out) as file:
        writer = gguf.GGUFWriter(file.name, architecture, use_temp_file=True)
        writer.add_block_count(shape.layers)
        writer.add_context_length(shape.max_positions)
        writer.add_embedding_length(shape.hidden_size)
        writer.add_feed_forward_length(shape.mlp_size)
        writer.add_head_count(shape.query_heads)
        writer.add_head_count_kv(shape.kv_heads)
        writer.add_layer_norm_rms_eps(shape.rms_norm_eps)
        writer.add_rope_freq_base(shape.rope_base)
        writer.add_vocab_size(checkpoint.config.text.vocabulary_size)
        describe(writer)
        for ours, theirs in names.items():
            tensor = checkpoint.tensor(ours)
            writer.add_tensor(theirs, tensor.astype(np.float16 if tensor.ndim == 2 else np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def quantise_gguf(folder: str, name: str, kind: int) -> None:
    """By llama.cpp's own tool, in a process of its own."""
    import llama_cpp

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype, out, part = (
        kind,
        Path(folder) / f"{name}.gguf",
        Path(folder) / f".{name}.gguf.part",
    )
    if llama_cpp.llama_model_quantize(
        str(Path(folder) / "f16.gguf").encode(), str(part).encode(), parameters
    ):
        raise SystemExit(f"{out}: llama.cpp did not quantise it")
    part.rename(out)
