"""The sections of what hears and speaks: SenseVoice's encoder, GLM-4-Voice's tokenizer, and its
decoder with a vocoder."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nextomni_edge.decoding import OPTIONAL

GROUPS = 8  # of the flow's GroupNorm
HEARD_RATE = 16_000  # Hz, for which the filter bank of tokens/fbank.py is


@dataclass(frozen=True)
class ListenerConfig:
    """SenseVoice's encoder (arXiv 2407.04051) with a projector: stacked filter-bank rows to rows
    that the backbone reads. `blocks`, the first of which narrows the input to `width`, then
    `more_blocks` behind a norm.

    A row is `stack` frames of `mels`, one for `every` frames, shifted by `shift` and scaled by
    `scale`. `queries`: rows of the query table that stand before the sound. `rounded`: rows are
    rounded to bfloat16, as the published code does in every precision.
    """

    width: int = 512
    heads: int = 4
    mlp_width: int = 2048
    blocks: int = 50
    more_blocks: int = 20
    kernel: int = 11
    mels: int = 80
    stack: int = 7
    every: int = 6
    queries: tuple[int, ...] = (0, 1, 2, 15)
    query_rows: int = 16
    rounded: bool = field(default=False, metadata=OPTIONAL)
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def row_size(self) -> int:
        return self.stack * self.mels


@dataclass(frozen=True)
class SpeechTokenizerConfig:
    """GLM-4-Voice's tokenizer (arXiv 2412.02612): Whisper's encoder up to `layers`, averaged over
    `pool` rows, then the nearest of the codebook's entries. A row sees those before it and the
    `block` rows that it stands in; positions start again every `positions` rows."""

    width: int = 1280
    heads: int = 20
    mlp_width: int = 5120
    layers: int = 16
    mels: int = 128
    positions: int = 1500
    block: int = 200
    pool: int = 4


@dataclass(frozen=True)
class SpeechFlowConfig:
    """CosyVoice's decoder of speech codes (arXiv 2407.05407), a continuous flow: a conformer of
    `layers` over the codes, whose rows see those before them and the `block` they stand in; then a
    U-Net that gives the velocity of a mel spectrogram.

    `steps` of Euler's rule at t = 1 − cos(π/2·i/steps), with `guidance` w in (1+w)·v − w·v_without.
    `code_rate`: codes of a second.
    """

    width: int = 512
    heads: int = 8
    mlp_width: int = 2048
    layers: int = 6
    block: int = 10
    mels: int = 80
    speaker_width: int = 192
    channels: tuple[int, ...] = (256, 256)
    unit_blocks: int = 4
    middle_units: int = 12
    unit_heads: int = 8
    unit_head_width: int = 64
    steps: int = 10
    guidance: float = 0.7
    code_rate: float = 12.5


@dataclass(frozen=True)
class VocoderConfig:
    """HiFT (arXiv 2309.09493): a mel spectrogram to samples, from sines of its pitch. `rates` and
    `rate_kernels` of the transposed convolutions, then an inverse short-time Fourier transform of
    `n_fft` and `hop`. `harmonics` above the pitch; under `voiced` Hz it is noise."""

    width: int = 512
    pitch_width: int = 512
    rates: tuple[int, ...] = (8, 8)
    rate_kernels: tuple[int, ...] = (16, 16)
    n_fft: int = 16
    hop: int = 4
    kernels: tuple[int, ...] = (3, 7, 11)
    source_kernels: tuple[int, ...] = (7, 11)
    dilations: tuple[int, ...] = (1, 3, 5)
    harmonics: int = 8
    sine_size: float = 0.1
    noise_size: float = 0.003
    voiced: float = 10.0
    slope: float = 0.1
    limit: float = 0.99

    @property
    def frame(self) -> int:
        """Samples of one mel frame."""
        return math.prod(self.rates) * self.hop


@dataclass(frozen=True)
class SpeechConfig:
    """All of what hears and speaks; samples that are heard have `heard_rate` Hz."""

    listener: ListenerConfig = field(default_factory=ListenerConfig)
    tokenizer: SpeechTokenizerConfig = field(default_factory=SpeechTokenizerConfig)
    flow: SpeechFlowConfig = field(default_factory=SpeechFlowConfig)
    vocoder: VocoderConfig = field(default_factory=VocoderConfig)
    heard_rate: int = HEARD_RATE


Checks = list[tuple[bool, str]]  # (whether it holds, sentence)


def _small(sizes: tuple[int, ...]) -> bool:
    return 0 < len(sizes) <= 32 and 0 < min(sizes) <= max(sizes) < 2**14


def speech_checks(speech: SpeechConfig, rate: int) -> Checks:
    """Sizes that must fit together; `rate` is that of what is said."""
    flow, vocoder = speech.flow, speech.vocoder
    return [
        (_small(flow.channels), "speech.flow.channels must be a short list of small sizes"),
        (speech.heard_rate == HEARD_RATE, f"speech.heard_rate must be {HEARD_RATE}"),
        *_heard_checks(speech.listener, speech.tokenizer),
        (
            flow.width % flow.heads == 0 and flow.width % 2 == 0,
            "speech.flow.width must be even, and a multiple of its heads",
        ),
        (
            all(width % GROUPS == 0 for width in flow.channels) and 0 < len(flow.channels) <= 8,
            f"speech.flow.channels must be multiples of {GROUPS}",
        ),
        *_vocoder_checks(vocoder, rate),
    ]


def _heard_checks(listener: ListenerConfig, tokenizer: SpeechTokenizerConfig) -> Checks:
    rows = {len(listener.shift), len(listener.scale), listener.row_size}
    return [
        (
            len(rows) == 1 and listener.row_size % 2 == 0,
            (
                f"speech.listener must have {listener.row_size} numbers to shift and scale, an even"
                " number"
            ),
        ),
        (
            0 < len(listener.queries) <= 64
            and all(0 <= row < listener.query_rows for row in listener.queries),
            "speech.listener.queries must lie under query_rows",
        ),
        (listener.kernel % 2 == 1, "speech.listener.kernel must be odd"),
        (
            listener.width % listener.heads == tokenizer.width % tokenizer.heads == 0,
            "speech: the widths of listener and tokenizer must be multiples of their heads",
        ),
        (
            tokenizer.positions % tokenizer.pool == 0,
            "speech.tokenizer.positions must be a multiple of pool",
        ),
    ]


def own_vocoder_checks(vocoder: VocoderConfig | None, network: str, hop: int, rate: int) -> Checks:
    """Of a vocoder that takes Griffin-Lim's place."""
    if vocoder is None:
        return []
    return [
        (network == "native", "audio.vocoder is for network native"),
        (
            vocoder.frame == hop,
            f"audio.vocoder makes {vocoder.frame} samples a frame, not audio.hop, {hop}",
        ),
        *_vocoder_checks(vocoder, rate),
    ]


def _vocoder_checks(vocoder: VocoderConfig, rate: int) -> Checks:
    """Sizes of a vocoder that must fit together."""
    stacks, levels = (
        zip(vocoder.rates, vocoder.rate_kernels, strict=False), len(vocoder.rates)
    )  # fmt: skip
    lists = (
        vocoder.rates, vocoder.rate_kernels, vocoder.kernels, vocoder.source_kernels,
        vocoder.dilations,
    )  # fmt: skip
    return [
        (
            all(map(_small, lists)),
            "vocoder: rates, kernels and dilations must be short lists of small sizes",
        ),
        (
            levels == len(vocoder.rate_kernels) == len(vocoder.source_kernels)
            and 0 < levels <= 8
            and vocoder.width % 2**levels == 0
            and all(kernel >= rate and (kernel - rate) % 2 == 0 for rate, kernel in stacks),
            "vocoder must have a kernel and a source's kernel for each rate",
        ),
        (
            vocoder.n_fft % 2 == 0 and vocoder.hop <= vocoder.n_fft,
            "vocoder.n_fft must be even, and at least its hop",
        ),
        (vocoder.frame <= rate, "vocoder: a frame is longer than a second"),
    ]
