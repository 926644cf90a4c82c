"""The interface of every component, derived from the model's config: the only place that knows
shapes and wire names."""

from __future__ import annotations

import math

from nextomni_edge.config import ModelConfig, SpeechConfig
from nextomni_edge.modalities.table import MODALITIES
from nextomni_edge.spec import MAX_BATCH as MAX_BATCH
from nextomni_edge.spec import ComponentName, Dim, GraphSpec, TensorSpec, Wire

FRAMES_A_SECOND = 100  # of the filter bank that a listener reads
MAX_SIDE = 256  # rows and columns of a grid of image codes of any size


def graph_specs(config: ModelConfig) -> dict[str, GraphSpec]:
    """GraphSpec of every component of the model's modalities (METHOD 2), by component name."""
    coded = [
        (name, record.codec)
        for name, record in MODALITIES.items()
        if record.codec and name in config.modalities
    ]
    own = [] if config.mixes else coded  # with a table and a head of their own
    words = [_text_head(config)] if "text" in config.answers else []
    specs = [
        _embed_text(config), *(_embed_codes(config, name) for name, _ in own),
        _backbone(config), *words, *(_code_head(config, name) for name, _ in own),
        *(spec for _, codec in coded for spec in codec.specs(config)),
    ]  # fmt: skip
    if config.quantises and "image" in config.modalities:
        specs.append(_image_quantiser(config))
    return {spec.name: spec for spec in specs}


def decoders(config: ModelConfig, modality: str) -> tuple[str, ...]:
    """The components that turn a modality's codes into media."""
    speaks = modality == "audio" and config.audio.speech is not None
    return ComponentName.SPEECH if speaks else (f"{modality}_decoder",)


def without_states(spec: GraphSpec) -> GraphSpec:
    """The interface of a component whose runtime keeps its states inside: no past is passed, and
    padding comes after the rows."""
    if not spec.states:
        return spec
    taken, given = ({pair[side] for pair in spec.states} for side in (0, 1))
    rows = next(dim for dim in spec.inputs[0].dims if isinstance(dim, Dim) and dim.name == "rows")
    inputs = [
        (
            TensorSpec(tensor.name, tensor.dtype, (tensor.dims[0], rows))
            if tensor.name == Wire.ATTENTION_MASK
            else tensor
        )
        for tensor in spec.inputs
        if tensor.name not in taken
    ]
    return GraphSpec(
        spec.name,
        tuple(inputs),
        tuple(tensor for tensor in spec.outputs if tensor.name not in given),
    )


def _batch() -> Dim:
    return Dim("batch", 1, MAX_BATCH)


def _rows(config: ModelConfig) -> Dim:
    return Dim("rows", 1, config.backbone.max_positions)


def _embed_text(config: ModelConfig) -> GraphSpec:
    batch, rows = _batch(), _rows(config)
    return GraphSpec(
        ComponentName.EMBED_TEXT,
        (TensorSpec(Wire.TOKENS, "int64", (batch, rows)),),
        (TensorSpec(Wire.EMBEDDINGS, "float32", (batch, rows, config.backbone.hidden_size)),),
    )


def _embed_codes(config: ModelConfig, modality: str) -> GraphSpec:
    batch, rows, codebook = _batch(), _rows(config), config.coded(modality).codebook
    return GraphSpec(
        f"embed_{modality}",
        (TensorSpec(Wire.CODES, "int64", (batch, rows, codebook.codebooks)),),
        (TensorSpec(Wire.EMBEDDINGS, "float32", (batch, rows, config.backbone.hidden_size)),),
    )


def _backbone(config: ModelConfig) -> GraphSpec:
    """Rows attend to every attended column of (past, rows): `attention_mask` covers past + rows
    columns. past may be 0."""
    backbone = config.backbone
    batch, rows = _batch(), _rows(config)
    past = Dim("past", 0, backbone.max_positions)
    attended = Dim("attended", 1, 2 * backbone.max_positions)

    def cache(name: str, length: Dim) -> TensorSpec:
        return TensorSpec(
            name, "float32", (backbone.layers, batch, backbone.kv_heads, length, backbone.head_dim)
        )

    return GraphSpec(
        ComponentName.BACKBONE,
        (
            TensorSpec(Wire.EMBEDDINGS, "float32", (batch, rows, backbone.hidden_size)),
            TensorSpec(Wire.POSITIONS, "int64", (batch, rows)),
            TensorSpec(Wire.ATTENTION_MASK, "bool", (batch, attended)),
            cache(Wire.PAST_KEYS, past),
            cache(Wire.PAST_VALUES, past),
        ),
        (
            TensorSpec(Wire.HIDDEN, "float32", (batch, rows, backbone.hidden_size)),
            cache(Wire.KEYS, rows),
            cache(Wire.VALUES, rows),
        ),
        states=((Wire.PAST_KEYS, Wire.KEYS), (Wire.PAST_VALUES, Wire.VALUES)),
    )


def _text_head(config: ModelConfig) -> GraphSpec:
    batch, rows = _batch(), _rows(config)
    return GraphSpec(
        ComponentName.TEXT_HEAD,
        (TensorSpec(Wire.HIDDEN, "float32", (batch, rows, config.backbone.hidden_size)),),
        (TensorSpec(Wire.LOGITS, "float32", (batch, rows, config.text.vocabulary_size)),),
    )


def _code_head(config: ModelConfig, modality: str) -> GraphSpec:
    """An autoregressive head also reads the sub-codes: logits of sub-code k depend only on the
    sub-codes before k."""
    batch, rows = _batch(), _rows(config)
    codebook, head = config.coded(modality).codebook, config.coded(modality).head
    inputs = [TensorSpec(Wire.HIDDEN, "float32", (batch, rows, config.backbone.hidden_size))]
    if head.kind == "autoregressive":
        inputs.append(TensorSpec(Wire.CODES, "int64", (batch, rows, codebook.codebooks)))
    logits = TensorSpec(Wire.LOGITS, "float32", (batch, rows, codebook.codebooks, codebook.entries))
    return GraphSpec(f"{modality}_head", tuple(inputs), (logits,))


def _pixels(config: ModelConfig, side: int) -> TensorSpec:
    """RGB in [-1, 1], of one size, or of `patch` pixels for each code of a grid of any size."""
    image = config.image
    if not config.shares_vocabulary:
        return TensorSpec(Wire.PIXELS, "float32", (_batch(), 3, side, side))
    sides = (
        Dim(f"pixel_{side}", image.patch, MAX_SIDE * image.patch) for side in ("height", "width")
    )
    return TensorSpec(Wire.PIXELS, "float32", (_batch(), 3, *sides))


def _image_codes(config: ModelConfig) -> TensorSpec:
    codebooks = config.image.codebook.codebooks
    if not config.shares_vocabulary:
        return TensorSpec(Wire.CODES, "int64", (_batch(), config.image.positions, codebooks))
    sides = (Dim(side, 1, MAX_SIDE) for side in ("height", "width"))
    return TensorSpec(Wire.CODES, "int64", (_batch(), *sides, codebooks))


def image_codec(config: ModelConfig) -> list[GraphSpec]:
    """Encoder and decoder of images."""
    return [_image_encoder(config), _image_decoder(config)]


def _image_encoder(config: ModelConfig) -> GraphSpec:
    """Pixels to codes, or to the rows that the backbone reads for a given image."""
    features = TensorSpec(
        Wire.EMBEDDINGS, "float32", (_batch(), config.image.positions, config.backbone.hidden_size)
    )
    seen = features if config.image.given == "features" else _image_codes(config)
    given = _pixels(config, config.image.size)
    return GraphSpec(ComponentName.IMAGE_ENCODER, (given,), (seen,))


def _image_quantiser(config: ModelConfig) -> GraphSpec:
    """Pixels to codes where the backbone reads features of a given image: the codes that the
    decoder turns back."""
    given = _pixels(config, config.image.size)
    return GraphSpec(ComponentName.IMAGE_QUANTISER, (given,), (_image_codes(config),))


def _image_decoder(config: ModelConfig) -> GraphSpec:
    drawn = _pixels(config, config.image.side)
    return GraphSpec(ComponentName.IMAGE_DECODER, (_image_codes(config),), (drawn,))


def _audio_codes(config: ModelConfig) -> TensorSpec:
    return TensorSpec(
        Wire.CODES, "int64", (_batch(), _audio_length(config), config.audio.codebook.codebooks)
    )


def _audio_length(config: ModelConfig) -> Dim:
    return Dim("length", 1, config.audio.max_positions)


def audio_codec(config: ModelConfig) -> list[GraphSpec]:
    """Encoder and decoder of sounds."""
    if config.audio.speech is not None:
        return speech_specs(config, config.audio.speech)
    return [_audio_encoder(config), _audio_decoder(config)]


def _audio_encoder(config: ModelConfig) -> GraphSpec:
    """Log-mel arrives cut into tokens, (batch, length, frames_per_token, mels), so that any length
    is a whole number of tokens; a codec reads samples in its place."""
    audio = config.audio
    if audio.codec is not None:
        return GraphSpec(ComponentName.AUDIO_ENCODER, (_samples(config),), (_audio_codes(config),))
    log_mel = TensorSpec(
        Wire.LOG_MEL,
        "float32",
        (_batch(), _audio_length(config), audio.frames_per_token, audio.mels),
    )
    return GraphSpec(ComponentName.AUDIO_ENCODER, (log_mel,), (_audio_codes(config),))


def _audio_decoder(config: ModelConfig) -> GraphSpec:
    """Waveform in [-1, 1]; the vocoder is inside the graph."""
    return GraphSpec(ComponentName.AUDIO_DECODER, (_audio_codes(config),), (_samples(config),))


def _samples(config: ModelConfig) -> TensorSpec:
    """A waveform cut into tokens, (batch, length, samples of one token)."""
    samples = config.audio.frames_per_token * config.audio.hop
    return TensorSpec(Wire.WAVEFORM, "float32", (_batch(), _audio_length(config), samples))


def speech_specs(config: ModelConfig, speech: SpeechConfig) -> list[GraphSpec]:
    """What hears and speaks: the listener's rows of the backbone, codes of a given sound, and the
    four parts from codes to samples."""
    return [_listener(config, speech), _audio_quantiser(config, speech), *_speaker(config, speech)]


def _listener(config: ModelConfig, speech: SpeechConfig) -> GraphSpec:
    """The query rows stand before those of the sound."""
    listener, audio = speech.listener, config.audio
    queries = len(listener.queries)
    most = math.ceil(audio.max_seconds * FRAMES_A_SECOND / listener.every)
    given, out = Dim("heard", 1, most), Dim("heard_rows", 1 + queries, most + queries)
    return GraphSpec(
        ComponentName.AUDIO_ENCODER,
        (TensorSpec(Wire.FEATURES, "float32", (_batch(), given, listener.row_size)),),
        (TensorSpec(Wire.EMBEDDINGS, "float32", (_batch(), out, config.backbone.hidden_size)),),
    )


def _audio_quantiser(config: ModelConfig, speech: SpeechConfig) -> GraphSpec:
    """Log-mel of whole codes, and which rows of it are sound; one piece of a longer sound."""
    tokenizer = speech.tokenizer
    length = Dim("length", 1, tokenizer.positions // tokenizer.pool)
    return GraphSpec(
        ComponentName.AUDIO_QUANTISER,
        (
            TensorSpec(
                Wire.LOG_MEL,
                "float32",
                (_batch(), length, 2 * tokenizer.pool, tokenizer.mels),
            ),
            TensorSpec(Wire.ATTENTION_MASK, "bool", (_batch(), length, tokenizer.pool)),
        ),
        (TensorSpec(Wire.CODES, "int64", (_batch(), length, 1)),),
    )


def _speaker(config: ModelConfig, speech: SpeechConfig) -> list[GraphSpec]:
    """Codes to the flow's condition, its velocity, the pitch of a spectrogram, and its samples."""
    mels, frame, audio = speech.flow.mels, speech.vocoder.frame, config.audio
    batch, length = _batch(), _audio_length(config)
    frames = Dim("frames", 1, math.ceil(audio.max_seconds * audio.sample_rate / frame) + 1)
    condition = TensorSpec(Wire.CONDITION, "float32", (batch, 2 * mels, frames))
    mel = TensorSpec(Wire.MEL, "float32", (batch, mels, frames))
    waves = speech.vocoder.harmonics + 1
    return [
        GraphSpec(
            ComponentName.SPEECH_CONDITION,
            (
                TensorSpec(Wire.CODES, "int64", (batch, length)),
                TensorSpec(Wire.PLACES, "int64", (batch, frames)),
            ),
            (condition,),
        ),
        GraphSpec(
            ComponentName.SPEECH_VELOCITY,
            (
                TensorSpec(Wire.X_T, "float32", (batch, mels, frames)),
                condition,
                TensorSpec(Wire.TIME, "float32", (batch,)),
            ),
            (TensorSpec(Wire.VELOCITY, "float32", (batch, mels, frames)),),
        ),
        GraphSpec(
            ComponentName.SPEECH_PITCH,
            (mel,),
            (TensorSpec(Wire.PITCH, "float32", (batch, frames)),),
        ),
        GraphSpec(
            ComponentName.VOCODER,
            (mel, TensorSpec(Wire.SINES, "float32", (batch, frames, frame, waves))),
            (TensorSpec(Wire.WAVEFORM, "float32", (batch, frames, frame)),),
        ),
    ]
