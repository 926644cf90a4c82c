"""Configs whose sizes hang or flood a device, one by one or together. Nothing is built of them."""

from __future__ import annotations

from tests.bundle.damage import Case, Damage, manifest


def config(**parts: dict[str, object]) -> Damage:
    """Other values in sections of the config; `flow_text` is flow.text."""

    def edit(data: dict[str, dict[str, dict[str, object]]]) -> None:
        for section, values in parts.items():
            place = data["config"]
            for name in section.split("_"):
                place = place[name]  # type: ignore[assignment]
            place.update(values)  # type: ignore[arg-type]

    return manifest(edit)


def one(name: str, value: object, expected: str) -> Case:
    section, _, key = name.rpartition(".")
    return (
        f"{name} of {value}",
        config(**{section.replace(".", "_"): {key: value}}),
        f"model config: {name} is {value}, expected {expected}",
    )


def together(name: str, size: int, **parts: dict[str, object]) -> Case:
    return (
        f"{name} together",
        config(**parts),
        f"model config: {name} asks for {size} bytes, expected at most 1073741824",
    )


CASES: list[Case] = [
    one("backbone.layers", 10**9, "1 to 1024"),
    one("backbone.max_positions", 2**30, "1 to 4194304"),
    one("backbone.mlp_size", 2**30, "1 to 1048576"),
    one("text.block_size", 2**24, "1 to 65536"),
    one("text.max_blocks", 2**30, "1 to 65536"),
    one("text.metric_dim", 2**30, "1 to 65536"),
    one("image.size", 2**20, "1 to 8192"),
    one("image.max_frames", 2**30, "1 to 4096"),
    one("image.encoder.layers", 10**9, "1 to 1024"),
    one("image.head.layers", 2**20, "1 to 1024"),
    one("image.codebook.entries", 2**30, "1 to 1048576"),
    one("audio.n_fft", 2**26, "1 to 65536"),
    one("audio.mels", 2**30, "1 to 4096"),
    one("audio.hop", 2**30, "1 to 65536"),
    one("audio.sample_rate", 2**30, "1 to 1048576"),
    one("audio.frames_per_token", 2**30, "1 to 4096"),
    one("flow.text.steps", 2**30, "1 to 65536"),
    one("flow.image.a", 1e30, "1e-30 to 50"),
    one("flow.audio.c", 1e30, "1e-30 to 1000000.0"),
    together(
        "text.block_size × backbone.hidden_size", 34359738368,
        text={"block_size": 2**16}, backbone={"hidden_size": 2**17},
    ),
    together(
        "text.vocabulary_size × text.metric_dim", 1099511627776,
        text={"vocabulary_size": 2**22, "metric_dim": 2**16},
    ),
    together(
        "image.size² × image.max_frames", 3298534883328, image={"size": 2**13, "max_frames": 2**12}
    ),
    together(
        "image.drawn² × image.max_frames", 3298534883328,
        image={"drawn": 2**13, "max_frames": 2**12},
    ),
    together(
        "(image.drawn / image.size)² of 36,864 bytes", 9663676416,
        image={"drawn": 2**13, "max_frames": 1},
    ),
    together("audio.n_fft × audio.mels", 2147483648, audio={"n_fft": 2**16, "mels": 2**12}),
    together("audio.max_seconds × audio.sample_rate", 5529600000, audio={"max_seconds": 86400.0}),
    together(
        "audio.max_seconds × spectra of audio.n_fft", 15099494400,
        audio={"max_seconds": 3600.0, "n_fft": 2**16, "hop": 1000},
    ),
    together(
        "image.codebook's tables", 17592186044416,
        image_codebook={"codebooks": 2**8, "entries": 2**20, "code_dim": 2**14},
    ),
    (
        "steps of 2^30",
        config(flow={"steps": 2**30}),
        "{b}/manifest.json.config.flow: unknown key 'steps'",
    ),
    (
        "layers that are true",
        config(backbone={"layers": True}),
        "{b}/manifest.json.config.backbone.layers: found True, expected int",
    ),
    one("backbone.layers", -1, "1 to 1024"),
    one("audio.hop", 0, "1 to 65536"),
    one("audio.sample_rate", 2**31, "1 to 1048576"),
    one("audio.max_seconds", 1e308, "0.001 to 86400"),
    one("audio.max_seconds", -1.0, "0.001 to 86400"),
    one("text.vocabulary_size", 2**31, "1 to 4194304"),
    (
        "heads of 2^31",
        config(backbone={"heads": 2**31}),
        ("{b}/manifest.json.config.backbone: unknown key 'heads' (did you mean 'kv_heads'?)"),
    ),
    one("backbone.hidden_size", 0, "1 to 131072"),
    (
        "a patch of none",
        config(image_encoder={"patch": 0}),
        "{b}/manifest.json.config.image.encoder: unknown key 'patch'",
    ),
    one("text.null_token", 2**40, "0 to 1073741824"),
]  # fmt: skip
