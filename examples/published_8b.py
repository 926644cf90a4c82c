"""`make demo-published`: LLaDA-8B's shape, eight billion random weights, exported, quantised to
INT4 and run in 8 GB of memory; and in 10 GB, a picture of 256 positions on Lumina-DiMOO's shape.

    python examples/published_8b.py --folder build/published-8b -o benchmarks/published_8b.json

Weights are made as they are read, so the checkpoint takes no disk. The two models have the same
backbone, so it is exported once: of Lumina-DiMOO only the table, the head and the decoder of
pictures are added. Each stage is a process of its own whose peak memory is measured. A stage that
is done stays done: the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any, Final

import staged
from staged import Result, Tell

from nextomni_edge.config import ModelConfig
from nextomni_edge.runtimes.machine import free_memory

ROOT = Path(__file__).parents[1]
# stages and their share of the time
STAGES: Final = {
    "export": 0.25, "int4": 0.2, "text-8": 0.05, "picture-export": 0.03, "picture-int4": 0.02,
    "image": 0.25, "text-32": 0.2,
}  # fmt: skip
REMOVED: Final = {"int4": "float16", "picture-int4": "picture-float16"}
PICTURE: Final = ("embed_text", "embed_image", "image_head", "image_decoder")
LIMITS: Final = {
    "export": 10**9, "int4": 10**9, "picture-export": 2 * 10**9, "picture-int4": 2 * 10**9,
    "text-32": 8 * 10**9, "text-8": 8 * 10**9, "image": 10**10,
}  # fmt: skip
DISK: Final = 24 * 10**9
MEMORY: Final = 95 * 10**8
TOKENS: Final = 64
PROMPTS: Final = {"text": "what is a tide?", "image": "a red house near the river"}
# tokenizers of the recorded checkpoints: LLaDA's and Lumina-DiMOO's special tokens, a few words
TOKENIZERS: Final = {"text": "llada", "image": "lumina_dimoo"}
MASK: Final = 316  # of both
BACKBONE: Final = {
    "hidden_size": 4096, "layers": 32, "query_heads": 32, "kv_heads": 32, "mlp_size": 12288,
    "rms_norm_eps": 1e-5, "rope_base": 5e5, "qkv_bias": False, "max_positions": 4096,
}  # fmt: skip
TEXT_PATH: Final = {
    "kind": "mixture", "mask": MASK, "temperature": 0.0, "steps": 128,
    "commit": {"count": "even", "score": "probability", "block": 32},
}  # fmt: skip
VQ: Final = {
    "channels": 128, "multipliers": [1, 2, 2, 4, 6], "latent_channels": 64, "attends": False,
    "lookup": "nearest", "pixels": "unit",
}  # fmt: skip


def config_of(modality: str, small: bool) -> ModelConfig:
    """LLaDA-8B's config, or Lumina-DiMOO's with pictures of 16 x 16 codes. `small` keeps the form
    and shrinks the sizes, to try the script."""
    backbone = BACKBONE | ({"hidden_size": 64, "layers": 2, "query_heads": 4, "kv_heads": 4,
                            "mlp_size": 176} if small else {})  # fmt: skip
    words, codes = (384, 64) if small else (126464, 8192)
    data: dict[str, Any] = {
        "network": "unified", "modalities": ["text"], "logit_shift": 0, "backbone": backbone,
        "text": {"vocabulary_size": words, "tied_head": False, "template": "llada",
                 "block_size": 128, "max_blocks": 64},
        "flow": {"text": TEXT_PATH},
    }  # fmt: skip
    if modality == "text":
        return ModelConfig.from_json(data)
    offset, vq = (336, VQ | {"channels": 8, "groups": 4}) if small else (126356, VQ)
    data["modalities"], data["text"]["template"] = ["text", "image"], "lumina"
    data["text"]["vocabulary_size"] = offset + codes
    data["image"] = {
        "size": 64 if small else 256, "patch": 16, "max_frames": 1, "offset": offset,
        "codebook": {"codebooks": 1, "entries": codes, "code_dim": 64}, "fitting": "buckets",
        "head": {"kind": "parallel"}, "vq": vq | {"blocks": [3] * 5},
        "vq_encoder": vq | {"blocks": [2] * 5},
    }  # fmt: skip
    data["flow"]["image"] = {
        "kind": "mixture", "steps": 64, "guidance": 4.0, "temperature": 1.0,
        "commit": {
            "count": "cosine", "score": "log_probability", "score_noise": "constant", "early": True,
        },
    }  # fmt: skip
    return ModelConfig.from_json(data)


def export(folder: Path, modality: str, out: str, small: bool, tell: Tell) -> Result:
    """A float16 bundle; not verified, which would hold the whole model in PyTorch."""
    from nextomni_edge.export import export_bundle
    from nextomni_edge.models.generated import GeneratedCheckpoint

    tokenizer = folder / f"{modality}-tokenizer" / "tokenizer.json"
    tokenizer.parent.mkdir(exist_ok=True)
    golden = ROOT / "tests" / "published" / "golden" / TOKENIZERS[modality]
    shutil.copyfile(golden / "tokenizer.json", tokenizer)
    report = export_bundle(
        GeneratedCheckpoint(config_of(modality, small), tokenizer),
        folder / out,
        None if modality == "text" else PICTURE,
        precision="float16",
        overwrite=True,
        progress=tell,
        verify="none",
    )
    return staged.accounted(folder / out) | {"parameters": report.parameters}


def generate(folder: Path, modality: str, steps: int, tell: Tell) -> Result:
    """One answer with the INT4 bundles, guided as the model is published."""
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.generate.model import EdgeModel
    from nextomni_edge.generate.options import GenerationOptions
    from nextomni_edge.tokens.chat import Part, Turn, conversation, respond

    began = time.perf_counter()
    whole = EdgeModel.from_bundle(Bundle.open(folder / "int4", verify_hashes=False))
    model = whole
    if modality == "image":
        bundle = Bundle.open(folder / "picture-int4", verify_hashes=False)
        own = EdgeModel.from_bundle(bundle)
        # the same backbone, of the same random weights
        model = EdgeModel(
            own.config,
            own.tokenizer,
            lambda name: (whole if name == "backbone" else own).session(name),
            bundle.metric_table,
        )
    for name in ("embed_text", f"embed_{modality}", "backbone", f"{modality}_head"):
        model.session(name)
    loaded = staged.loaded_since(began)
    turn = Turn("user", (Part("text", PROMPTS[modality]),))
    asked = conversation(model.tokenizer, [turn], modality)
    length = TOKENS if modality == "text" else None
    sequence = respond(asked, modality, model.config, model.tokenizer, length=length)
    options = GenerationOptions.defaults(model.config, modality, steps=steps)

    def stepped(done: int) -> None:
        tell(f"step {done} of {steps}", done / steps)

    found = loaded | staged.generated(model, sequence, options, stepped)
    if modality == "image":
        found["guidance"] = options.guidance
    return found


def run_stage(given: argparse.Namespace, stage: str, tell: Tell) -> Result:
    """The measured process's work."""
    folder, small = given.folder, given.small
    if stage == "export":
        return export(folder, "text", "float16", small, tell)
    if stage == "picture-export":
        return export(folder, "image", "picture-float16", small, tell)
    if stage in ("int4", "picture-int4"):
        source = folder / stage.replace("int4", "float16")
        return staged.quantise(source, folder / stage, "int4-rtn", tell)
    if stage == "image":
        return generate(folder, "image", given.image_steps, tell)
    return generate(folder, "text", int(stage.removeprefix("text-")), tell)


def table(done: dict[str, Result]) -> str:
    """What was measured, a row for each stage."""
    lines = [
        "| stage | peak memory, GB | time, s | disk, GB | positions | a step, s | an answer, s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for stage, each in done.items():
        size = f"{each['bytes'] / 1e9:.2f}" if "bytes" in each else ""
        answer, step, seconds = "", "", sum(each.get("step_seconds", []))
        if seconds:
            step, answer = (
                f"{seconds / each['steps']:.2f}",
                f"{seconds:.0f} ({each['steps']} steps)",
            )
        lines.append(
            f"| {stage} | {each['peak_bytes'] / 1e9:.2f} | {each['seconds']:.0f} | {size} |"
            f" {each.get('positions', '')} | {step} | {answer} |"
        )
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("build/published-8b"), help="for the bundles: 24 GB"
    )
    parser.add_argument("-o", "--output", type=Path, help="write all numbers as JSON")
    parser.add_argument(
        "--image-steps", type=int, default=4, help="of the picture, two branches each"
    )
    parser.add_argument("--small", action="store_true", help="a small shape: no measurement")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    given = parsed()
    if given.stage:
        staged.child(lambda tell: run_stage(given, given.stage, tell))
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    left = STAGES.keys() - staged.load(given.folder).keys()
    if not given.small:
        needed = DISK if "int4" in left else 0
        staged.check_free(given.folder, needed, free_memory(), MEMORY)
    again = [__file__, "--folder", str(given.folder), "--image-steps", str(given.image_steps)]
    again += ["--small"] if given.small else []
    done = staged.run_stages(
        "published-8b",
        STAGES,
        given.folder,
        lambda stage, tell: staged.supervised([*again, "--stage", stage], stage, tell),
        REMOVED,
    )
    print(table(done))
    if given.output:
        staged.write(given.output, done)
    staged.check_limits(done, LIMITS)


if __name__ == "__main__":
    staged.ended(main)
