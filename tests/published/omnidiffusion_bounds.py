"""The largest error of each of Omni-Diffusion's recorded arrays, as docs/published.md lists them:
`python -m tests.published.bounds`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
import torch

from nextomni_edge.decoding import CommitConfig
from nextomni_edge.flow.commit import Proposal, propose
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.speech import Speaker
from nextomni_edge.tokens import fbank
from nextomni_edge.tokens.audio import tokenizer_pieces
from tests.published.goldens import Array, arrays
from tests.published.models import omnidiffusion_model as model
from tests.published.models import omnidiffusion_network as network
from tests.published.omnidiffusion_runs import OmniRun, heard, noise_of, runs
from tests.published.runs import of_run


def omnidiffusion_rows() -> Iterator[tuple[str, float, float]]:
    """(array, largest error, allowed)."""
    for run in runs():
        allowed = 1e-3 if run.settings["cfg"] else 1e-4
        yield f"omnidiffusion traj.{run.name}.logits", logits_error(run), allowed
    yield from speech_rows()
    yield from picture_rows()


@torch.inference_mode()
def speech_rows() -> Iterator[tuple[str, float, float]]:
    """What hears and speaks; the spectrogram and the samples go through the whole decoder."""
    net, golden, own = network(), arrays("omnidiffusion"), model()
    config, speech = own.config.audio, own.config.audio.speech
    assert speech is not None
    for name in "ABC":
        found = fbank.features(heard("sv", name), speech.listener)
        yield (
            f"omnidiffusion sv.{name}.fbank_nodither",
            *within(found, golden[f"sv.{name}.fbank_nodither"], 2e-3),
        )
        rows = fbank.bfloat16(golden[f"sv.{name}.fbank"])
        found = net.audio_encoder.heard(torch.from_numpy(rows)[None])[0].numpy()
        yield f"omnidiffusion sv.{name}.encoder", *within(found, golden[f"sv.{name}.encoder"], 1e-4)
        rows = own.encode("audio", rows)
        yield f"omnidiffusion sv.{name}.rows", *within(rows, golden[f"sv.{name}.rows"], 1e-4)
    for name in ("S1", "S2", "S4"):
        ((mel, mask),) = tokenizer_pieces(heard("st", name), config, speech)
        features = golden[f"st.{name}.features"][0].T
        yield (
            f"omnidiffusion st.{name}.features",
            *within(mel.reshape(-1, mel.shape[2]), features, 1e-3),
        )
        given = (torch.from_numpy(each)[None] for each in (mel, mask))
        found = net.audio_quantiser.latents(*given).numpy()
        yield (
            f"omnidiffusion st.{name}.prequant",
            *within(found, golden[f"st.{name}.prequant"], 1e-4),
        )
    speaker = Speaker(own.session, config)
    for name in "01":
        recorded = of_run("omnidiffusion", f"dec.{name}")
        noise, codes = noise_of(recorded), recorded["codes"]
        for key, found in (
            ("mel", speaker.spectrum(codes, noise)),
            ("speech, of the recorded mel", speaker.sound(recorded["mel"], noise)),
            ("speech", speaker.waveform(codes, noise)),
        ):
            yield (
                f"omnidiffusion dec.{name}.{key}",
                *within(found, recorded[key.split(",")[0]], 1e-3),
            )


@torch.inference_mode()
def picture_rows() -> Iterator[tuple[str, float, float]]:
    net, golden = network(), arrays("omnidiffusion")
    for name in ("I1", "I1.small", "I2", "I2.small"):
        found = net.image_encoder.latents(torch.from_numpy(golden[f"mv.{name}.pixels"])).numpy()
        key = f"mv.{name}.latents"
        yield f"omnidiffusion {key}", *within(found, golden[key], 1e-4)
    for name, grid in (("dec", (2, 4, 4, 1)), ("dec_rect", (1, 2, 3, 1))):
        codes = torch.from_numpy(golden[f"mv.{name}.codes"].reshape(grid))
        key = f"mv.{name}.pixels"
        found = net.image_decoder.decoded(codes).numpy()
        yield f"omnidiffusion {key}", *within(found, golden[key], 1e-4)


def within(found: Array, expected: Array, allowed: float) -> tuple[float, float]:
    """(largest error, allowed)."""
    return float(np.abs(found - expected).max()), allowed


def logits_error(run: OmniRun) -> float:
    """Of the rows that are masked, which are all that a step reads, in the recorded steps."""
    golden = of_run("omnidiffusion", f"traj.{run.name}")
    steps = decided_by(run, model())
    worst = 0.0
    for step, expected in zip(golden["logits_steps"], golden["logits"], strict=True):
        masked = golden["x0"][step] >= 0
        worst = max(worst, float(np.abs(steps[step] - expected[masked]).max()))
    return worst


def decided_by(run: OmniRun, of: EdgeModel) -> list[Array]:
    """The guided logits (masked rows, V) of every step of a run."""
    seen: list[Array] = []

    def watched(
        logits: Array,
        rule: CommitConfig,
        temperature: float,
        noise: Callable[[slice], Array] | None,
        penalty: Callable[[slice, Array], Array] | None,
    ) -> Proposal:
        seen.append(logits.copy())
        return propose(logits, rule, temperature, noise, penalty)

    with mock.patch("nextomni_edge.generate.unmask.propose", watched):
        run.replay(of)
    return seen
