"""Record what OmniVoice's own package makes of the checkpoints of omnivoice_checkpoint.py, for
golden/omnivoice. Run it where `omnivoice` 0.2.1 is installed, from the root of the repository:

    python -m tests.published.record_omnivoice
"""

from __future__ import annotations

import json
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchaudio  # type: ignore[import-not-found]
from omnivoice.models import omnivoice as package  # type: ignore[import-not-found]
from omnivoice.utils.audio import remove_silence  # type: ignore[import-not-found]
from omnivoice.utils.duration import RuleDurationEstimator  # type: ignore[import-not-found]
from omnivoice.utils.text import (  # type: ignore[import-not-found]
    add_punctuation,
    chunk_text_punctuation,
)
from safetensors.numpy import load_file, save_file

from tests.published import omnivoice_checkpoint as checkpoint
from tests.published.omnivoice_cases import (
    CASES,
    DESIGNS,
    FOLDER,
    LONG,
    RATES,
    TEXTS,
    Uniform,
    patchy,
    signal,
    voiced,
)

STEPS = 8


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in checkpoint.SHAPES:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / name
            checkpoint.write(folder, name)
            check_files(folder, Path(scratch) / "saved")
            arrays = recorded(folder, name)
        whole = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        save_file(whole, FOLDER / f"{name}.safetensors")
        print(name, sum(array.nbytes for array in arrays.values()), "bytes")
    save_file(resampled(), FOLDER / "resampled.safetensors")
    found = {"texts": texts(), "designs": designs(), "silences": silences()}
    (FOLDER / "texts.json").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n")


def texts() -> list[dict[str, Any]]:
    estimator = RuleDurationEstimator()
    return [
        {
            "pieces": chunk_text_punctuation(text, most, 3), "ended": add_punctuation(text),
            "joined": package._combine_text(text, "Well, "),
            "weight": estimator.calculate_total_weight(text),
            "tokens": max(1, int(estimator.estimate_duration(text, "Nice to meet you.", 25))),
        }
        for text, most in TEXTS
    ]  # fmt: skip


def designs() -> list[str | bool | None]:
    """The package's words, or False where it refuses them."""
    found: list[str | bool | None] = []
    for words, text in DESIGNS:
        try:
            found.append(package._resolve_instruct(words, use_zh="你" in text))
        except ValueError:
            found.append(False)
    return found


def silences() -> list[tuple[int, int]]:
    """Samples and CRC-32 of 16-bit sounds, without their silences."""
    found = []
    for seed in range(12):
        sound = remove_silence(patchy(seed, 24_000)[None], 24_000, 500 - 300 * (seed % 2), 100, 200)
        found.append((sound.shape[1], zlib.crc32((sound * 32768).astype("<i2").tobytes())))
    return found


def resampled() -> dict[str, Any]:
    return {
        f"{source}.{target}": torchaudio.functional.resample(
            torch.from_numpy(signal(source, 700)), source, target
        ).numpy()
        for source, target in RATES
    }


def check_files(folder: Path, out: Path) -> None:
    """The package reads every tensor, and writes the same names and every key of ours."""
    model = package.OmniVoice.from_pretrained(str(folder))
    model.audio_tokenizer.save_pretrained(out / "audio_tokenizer")
    del model.audio_tokenizer  # its tensors would stand in the model's file too
    model.save_pretrained(out)
    for part in ("", "audio_tokenizer"):
        ours, theirs = (load_file(each / part / "model.safetensors") for each in (folder, out))
        assert ours.keys() == theirs.keys(), sorted(ours.keys() ^ theirs.keys())[:9]
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
        given, wrote = (json.loads((each / part / "config.json").read_text())
                        for each in (folder, out))  # fmt: skip
        assert contains(wrote, given), part


def contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return all(name in whole and contains(whole[name], part[name]) for name in part)
    return bool(whole == part)


def recorded(folder: Path, name: str) -> dict[str, Any]:
    model = package.OmniVoice.from_pretrained(str(folder)).eval()
    found: dict[str, Any] = {}
    clip = torch.from_numpy(checkpoint.clip().T), 44_100
    voice = model.create_voice_clone_prompt(clip, "Nice to meet you")
    found["voice.codes"] = voice.ref_audio_tokens.numpy().T.astype(np.int16)
    found["voice.loudness"] = np.array([voice.ref_rms])
    kept: list[Any] = []
    whole = model._generate_iterative

    def generate_iterative(task: Any, settings: Any) -> Any:
        tokens = whole(task, settings)
        kept.extend(
            (each.numpy().T.astype(np.int16), prompt(model, task, settings, index))
            for index, each in enumerate(tokens)
        )
        return tokens

    model._generate_iterative = generate_iterative
    for case, settings in CASES.items():
        if case in LONG and name != "narrow":
            continue
        kept.clear()
        given = dict(settings)
        if voiced(case):
            given["voice_clone_prompt"] = voice
        uniform = Uniform(case)
        torch.rand_like = uniform.like  # type: ignore[assignment]
        sounds = model.generate(num_step=STEPS, **given)
        for index, (codes, ids) in enumerate(kept):
            found[f"{case}.{index}.codes"] = codes
            found[f"{case}.{index}.prompt"] = ids
        if case in ("short", "short_voice"):
            codes = torch.from_numpy(kept[0][0].T.astype(np.int64))[None]
            with torch.inference_mode():
                found[f"{case}.decoded"] = (
                    model.audio_tokenizer.decode(codes).audio_values[0, 0].numpy()
                )
            found[f"{case}.sound"] = sounds[0]
        else:
            found[f"{case}.lengths"] = np.array([len(sound) for sound in sounds])
    return found


def prompt(model: Any, task: Any, settings: Any, index: int) -> Any:
    """The ids of the text before a sound."""
    made = model._prepare_inference_inputs(
        task.texts[index], 1, task.ref_texts[index], None, task.langs[index], task.instructs[index],
        settings.denoise,
    )  # fmt: skip
    ids = made["input_ids"][0, 0, :-1].numpy()
    if settings.denoise and task.ref_audio_tokens[index] is not None:
        denoise = model.text_tokenizer("<|denoise|>").input_ids
        ids = np.concatenate([denoise, ids])
    return ids.astype(np.int32)


if __name__ == "__main__":
    main()
