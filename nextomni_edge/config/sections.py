"""The sections of a model's configuration, one for each part of a model, as frozen dataclasses."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Literal

from nextomni_edge.config.codec import SpeechCodecConfig
from nextomni_edge.config.speech import SpeechConfig, VocoderConfig
from nextomni_edge.decoding import OPTIONAL, CommitConfig

Template = Literal[
    "chatml", "deepseek", "llada", "mmada", "lumina", "dream", "omnidiffusion", "omnivoice"
]
Fitting = Literal["white", "janus", "crop", "buckets"]


@dataclass(frozen=True)
class BackboneConfig:
    """A Qwen2-type transformer without the causal mask (METHOD 2). Defaults are Qwen2.5-7B's.

    `attention` "prefix": the prompt sees nothing of the response, in training and in use, so that
    its keys and values hold for a whole run. "causal" keeps the mask. Such a model is an
    autoregressive model of text, the baseline of the flow. `head_size`: of a head, where it is not
    the width shared out over the query heads. `qk_norm`: queries and keys are normalised by head,
    as in Qwen3.
    """

    hidden_size: int = 3584
    layers: int = 28
    query_heads: int = 28
    kv_heads: int = 4
    mlp_size: int = 18944
    rms_norm_eps: float = 1e-6
    rope_base: float = 1e6
    qkv_bias: bool = True
    max_positions: int = 16384
    attention: Literal["full", "prefix", "causal"] = field(default="full", metadata=OPTIONAL)
    head_size: int | None = field(default=None, metadata=OPTIONAL)
    qk_norm: bool = field(default=False, metadata=OPTIONAL)

    @property
    def head_dim(self) -> int:
        return self.head_size or self.hidden_size // self.query_heads


@dataclass(frozen=True)
class TextConfig:
    """The text vocabulary. The tokenizer's own file names the special tokens (see tokens/text.py).

    `canvas`: the positions of a whole sequence; a text response fills what the prompt leaves of
    them. None: whole blocks. `null_token`: the id of a dropped condition where the tokenizer names
    none.
    """

    vocabulary_size: int = 152064
    block_size: int = 64
    max_blocks: int = 16
    tied_head: bool = False
    metric_dim: int = 64
    template: Template = field(default="chatml", metadata=OPTIONAL)
    system_prompt: str = field(default="", metadata=OPTIONAL)
    canvas: int | None = field(default=None, metadata=OPTIONAL)
    null_token: int | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class HeadConfig:
    """A head over sub-codes: `parallel` sub-heads, or `autoregressive` over a position's sub-codes
    (METHOD 2)."""

    kind: Literal["parallel", "autoregressive"] = "autoregressive"
    width: int = 1024
    layers: int = 2
    heads: int = 8


@dataclass(frozen=True)
class CodebookConfig:
    """Multi-codebook quantisation (UniTok, arXiv 2502.20321): `codebooks` K tables of `entries` C
    vectors of `code_dim`."""

    codebooks: int = 4
    entries: int = 4096
    code_dim: int = 16

    @property
    def latent_dim(self) -> int:
        return self.codebooks * self.code_dim


@dataclass(frozen=True)
class TransformerConfig:
    """A plain pre-norm transformer inside encoders and decoders (CLIP's, SigLIP's and Whisper's
    block).

    CLIP's has a `class_token` before the patches and a `first_norm` before the blocks; nothing is
    read from the class token's row. `mlp_width` None is four times the width.
    """

    width: int = 1024
    layers: int = 24
    heads: int = 16
    norm_eps: float = field(default=1e-5, metadata=OPTIONAL)
    activation: Literal["gelu", "gelu_tanh", "quick_gelu"] = field(
        default="gelu", metadata=OPTIONAL
    )
    class_token: bool = field(default=False, metadata=OPTIONAL)
    first_norm: bool = field(default=False, metadata=OPTIONAL)
    mlp_width: int | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class VqConfig:
    """The convolutional encoder or decoder of a VQ-GAN (LlamaGen's VQ-16, arXiv 2406.06525):
    channels of level i are channels·multipliers[i], the resolution doubles from each level to the
    one before it.

    Of network "unified" only: `blocks` of each level in place of residual_blocks, `groups` of
    GroupNorm, `attends` in the middle, `lookup` of a code (by the signs of its latent, MAGVIT-v2's
    LFQ, arXiv 2310.05737; or the nearest row of a codebook), `pixels` as the network sees them.
    """

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    residual_blocks: int = 2
    latent_channels: int = 256
    blocks: tuple[int, ...] = field(default=(), metadata=OPTIONAL)
    groups: int = field(default=32, metadata=OPTIONAL)
    attends: bool = field(default=True, metadata=OPTIONAL)
    lookup: Literal["cosine", "sign", "nearest"] = field(default="cosine", metadata=OPTIONAL)
    pixels: Literal["signed", "unit"] = field(default="signed", metadata=OPTIONAL)

    def fits(self, image: ImageConfig) -> bool:
        """Whether the levels bring a grid of patches back to pixels, and GroupNorm's groups are
        whole."""
        whole = all(
            1 <= multiplier < 2**20 and self.channels * multiplier % self.groups == 0
            for multiplier in self.multipliers
        ) and (not self.blocks or len(self.blocks) == len(self.multipliers))
        return (
            whole
            and 0 < len(self.multipliers) <= 20
            and 2 ** (len(self.multipliers) - 1) == image.patch
        )


@dataclass(frozen=True)
class ImageConfig:
    """Square images of `size` pixels in patches of `patch`; (size/patch)² tokens. Video is up to
    `max_frames` of them.

    Networks of one vocabulary take other sizes too. `offset` is the id of code 0 in the vocabulary
    that text shares. `truncated`: pixels become bytes by cutting, not by rounding. `drawn`: the
    side of a generated picture where it is another than that of a given one. Of Omni-Diffusion it
    has more tokens then; a native decoder draws a multiple of `size` from the same tokens.

    `given`: the backbone's form of a given image: its codes, or continuous features of the encoder.
    `fitting`: how a picture comes into the square (see media/image.py). `vq` replaces `decoder`
    where it is set. `vq_encoder` turns pixels into the codes that it reads.
    """

    size: int = 256
    patch: int = 16
    max_frames: int = 8
    codebook: CodebookConfig = field(default_factory=CodebookConfig)
    encoder: TransformerConfig = field(default_factory=TransformerConfig)
    decoder: TransformerConfig = field(default_factory=TransformerConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    given: Literal["codes", "features"] = field(default="codes", metadata=OPTIONAL)
    fitting: Fitting = field(default="white", metadata=OPTIONAL)
    vq: VqConfig | None = field(default=None, metadata=OPTIONAL)
    vq_encoder: VqConfig | None = field(default=None, metadata=OPTIONAL)
    offset: int | None = field(default=None, metadata=OPTIONAL)
    truncated: bool = field(default=False, metadata=OPTIONAL)
    drawn: int | None = field(default=None, metadata=OPTIONAL)

    @property
    def side(self) -> int:
        """Of a generated picture, in pixels."""
        return self.drawn or self.size

    @property
    def finer(self) -> int:
        """A side of a generated picture, in sides of a given one."""
        return self.side // self.size

    @property
    def grid(self) -> int:
        return self.size // self.patch

    @property
    def positions(self) -> int:
        return self.grid**2


@dataclass(frozen=True)
class AudioConfig:
    """Mono audio as Whisper's log-mel (n_fft, hop, mels); `frames_per_token` hops make one token of
    K sub-codes. `offset`: the id of code 0 where text shares its vocabulary. `vocoder`: a trained
    one in place of Griffin-Lim's iterations.

    `speech`: Omni-Diffusion's networks that hear and speak, in place of an encoder and a decoder.
    Then sample_rate is that of what is said, and hop and frames_per_token only tell its length.
    `codec`: Higgs Audio's codec in their place, which reads samples; hop and frames_per_token tell
    the samples of a token. `codebook.entries` then has one value more than the codec, the mask.
    """

    sample_rate: int = 16000
    n_fft: int = 400
    hop: int = 160
    mels: int = 80
    frames_per_token: int = 8
    max_seconds: float = 15.0
    codebook: CodebookConfig = field(
        default_factory=lambda: CodebookConfig(codebooks=2, entries=2048)
    )
    encoder: TransformerConfig = field(default_factory=TransformerConfig)
    decoder: TransformerConfig = field(default_factory=TransformerConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    vocoder_iterations: int = 32
    offset: int | None = field(default=None, metadata=OPTIONAL)
    vocoder: VocoderConfig | None = field(default=None, metadata=OPTIONAL)
    speech: SpeechConfig | None = field(default=None, metadata=OPTIONAL)
    codec: SpeechCodecConfig | None = field(default=None, metadata=OPTIONAL)

    @property
    def heard(self) -> AudioConfig:
        """The config for a given sound: that of what is said, at the rate and with the log-mel of
        the speech tokenizer, where the two differ."""
        if self.speech is None:
            return self
        tokenizer, rate = self.speech.tokenizer, self.speech.heard_rate
        return dataclasses.replace(
            self, sample_rate=rate, hop=rate // 100, n_fft=rate // 40, mels=tokenizer.mels,
            frames_per_token=2 * tokenizer.pool, speech=None,
        )  # fmt: skip

    @property
    def hears_log_mel(self) -> bool:
        """Whether the encoder reads log-mel, of which it hears one chunk after another."""
        return self.speech is None and self.codec is None

    @property
    def max_positions(self) -> int:
        """Tokens of the longest clip."""
        return math.ceil(self.max_seconds * self.sample_rate / (self.hop * self.frames_per_token))


@dataclass(frozen=True)
class PathConfig:
    """The path of one modality and its published sampling defaults (METHOD 3 and 9).

    `kind` is a name of `flow.path.PATHS`. `c` and `a` belong to the metric path: beta_t =
    c·(t/(1−t))^a. The mixture path has a `source`, κ_t of the form `kappa` with its `shift`, and
    `commit`. The source is uniform, or the id `mask` (None: the id after the symbols). `commit`
    says how rows are written where the model is decoded that way.

    Of training with a mask source: `rate`: whether a sample or every position draws its own time.
    `weighted`: whether a masked row's loss is weighted by κ'_t / (1 − κ_t), for κ_t = t LLaDA's
    1/t with time counted down; otherwise all masked rows count alike.

    Of Omni-Diffusion only: `tokens` of an answer; `opens`: the share of the answer at which the
    token stands that begins a sound; `compared`: which of the rows without a condition guidance
    reads, those of the answer, or those at the same `positions`, as its code does though the two
    prompts differ in length; `filled`: a picture's text is replaced by ids drawn from the `words`,
    or from `all` ids below the codes, the mask and other controls included.
    """

    kind: str = field(default="metric", metadata=OPTIONAL, kw_only=True)
    source: Literal["mask", "uniform"] = field(default="mask", metadata=OPTIONAL, kw_only=True)
    mask: int | None = field(default=None, metadata=OPTIONAL, kw_only=True)
    kappa: Literal["linear", "cosine", "shifted"] = field(
        default="linear", metadata=OPTIONAL, kw_only=True
    )
    shift: float = field(default=1.0, metadata=OPTIONAL, kw_only=True)
    commit: CommitConfig | None = field(default=None, metadata=OPTIONAL, kw_only=True)
    rate: Literal["sample", "position"] = field(default="sample", metadata=OPTIONAL, kw_only=True)
    weighted: bool = field(default=True, metadata=OPTIONAL, kw_only=True)
    tokens: int | None = field(default=None, metadata=OPTIONAL, kw_only=True)
    opens: float | None = field(default=None, metadata=OPTIONAL, kw_only=True)
    compared: Literal["rows", "positions"] = field(default="rows", metadata=OPTIONAL, kw_only=True)
    filled: Literal["words", "all"] = field(default="words", metadata=OPTIONAL, kw_only=True)
    c: float = 3.0
    a: float = 0.9
    steps: int = 32
    temperature: float = 1.0
    guidance: float = 0.0

    @property
    def masked(self) -> bool:
        """Whether x_0 is a mask everywhere."""
        return self.kind == "mixture" and self.source == "mask"


@dataclass(frozen=True)
class FlowConfig:
    """One path per modality; a temperature of 0 means that x_1 is the argmax."""

    text: PathConfig = field(default_factory=lambda: PathConfig(temperature=0.0))
    image: PathConfig = field(default_factory=PathConfig)
    audio: PathConfig = field(default_factory=PathConfig)

    def of(self, modality: str) -> PathConfig:
        """The path of a modality; a video's frames are images."""
        return {"text": self.text, "image": self.image, "video": self.image, "audio": self.audio}[
            modality
        ]


@dataclass(frozen=True)
class CodedConfig:
    """A coded modality that has no config of its own here (see modalities/): `positions` tokens of
    K sub-codes at most."""

    name: str
    positions: int
    codebook: CodebookConfig = field(default_factory=CodebookConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    path: PathConfig = field(default_factory=PathConfig)
