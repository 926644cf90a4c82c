"""A model as the device runs it: sessions by component, a tokenizer, paths. No PyTorch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection
from collections.abc import Sequence as Many
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.flow.path import Path as FlowPath
from nextomni_edge.flow.path import paths_of
from nextomni_edge.generate.batch import Batch
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.rows import Layout
from nextomni_edge.generate.speech import Speaker
from nextomni_edge.graphs import graph_specs
from nextomni_edge.modalities.modality import TEXT, Codec
from nextomni_edge.modalities.modality import Modality as ModalityRecord
from nextomni_edge.modalities.table import MODALITIES
from nextomni_edge.runtimes.base import Execution, Session
from nextomni_edge.runtimes.base import runtime as named_runtime
from nextomni_edge.runtimes.state import State, kept_arrays
from nextomni_edge.spec import ComponentName, Modality, Wire
from nextomni_edge.tokens import audio, masked, omnidiffusion, omnivoice
from nextomni_edge.tokens.chat import Part
from nextomni_edge.tokens.sequence import Ids, Sequence, unconditional
from nextomni_edge.tokens.text import MASKED, TextTokenizer

if TYPE_CHECKING:
    from nextomni_edge.bundle import Bundle

Float32 = NDArray[np.float32]

# of a modality's metric rows: 110 of V = 152,064, or all of four codebooks of 2,048
KEPT_ROWS_BYTES = 1 << 26
SIDES = ("inputs", "outputs")


class EdgeModel:
    """Components are loaded on first use, so that a run only pays for what it needs.

    Threads may share a model: it only keeps the metric rows of a run, which have a lock, and its
    sessions keep nothing.

    load: component name → Session. table: modality → metric table, text (V,D), image and audio
    (K,C,D) float32.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: TextTokenizer,
        load: Callable[[str], Session],
        table: Callable[[str], NDArray[Any]],
    ) -> None:
        self.config, self.tokenizer = config, tokenizer
        self._load = load
        self.sessions: dict[str, Session] = {}  # of the components loaded so far
        self._table = table
        self.paths = functools.cache(self._paths)

    @classmethod
    def from_bundle(
        cls, bundle: Bundle, execution: Execution | None = None, components: Collection[str] = ()
    ) -> EdgeModel:
        """A model of a bundle's components. Each runs on the requested runtime where that reads its
        format, else on its format's own. `components` are loaded at once. UsageError: the runtime
        reads none of them."""
        asked = execution or Execution()
        asked.check_reads({component.format for component in bundle.manifest.components.values()})
        runtimes = functools.cache(named_runtime)

        def load(name: str) -> Session:
            file, spec = bundle.component_file(name), bundle.spec(name)
            how = asked.of_format(bundle.manifest.components[name].format)
            return runtimes(how.runtime, how).load(name, file, spec, how.provider)

        model = cls(
            bundle.config,
            TextTokenizer(bundle.tokenizer_path, bundle.config.text),
            load,
            bundle.metric_table,
        )
        for name in components:
            model.session(name)
        return model

    @classmethod
    def from_checkpoint(cls, model_dir: Path, execution: Execution | None = None) -> EdgeModel:
        """A model of a model directory, in torch: the reference, where `execution` says nothing
        else than the processor in float32."""
        checkpoint, how = Checkpoint.open(model_dir), execution or Execution(provider="cpu")
        specs, reference = graph_specs(checkpoint.config), named_runtime("torch", how)
        return cls(
            checkpoint.config,
            TextTokenizer(checkpoint.tokenizer_path, checkpoint.config.text),
            lambda name: reference.load(name, model_dir, specs[name], how.provider),
            lambda modality: checkpoint.tensor(f"metric_tables.{modality}"),
        )

    def session(self, component: str) -> Session:
        """A component's session, loaded now if it was not before."""
        if component not in self.sessions:
            self.sessions[component] = self._load(component)
        return self.sessions[component]

    def providers(self) -> list[str]:
        """The providers on which the loaded components actually run."""
        return sorted({session.provider for session in self.sessions.values()})

    def _paths(self, modality: Modality) -> tuple[FlowPath, ...]:
        """One path for each of the K sub-codes of a modality's token."""
        codebooks, entries = self.symbols(modality)

        def tables() -> NDArray[Any]:
            return self._table(modality).reshape(codebooks, entries, -1)

        settings = self.config.path(modality)
        return paths_of(settings, codebooks, entries, tables, KEPT_ROWS_BYTES)

    def symbols(self, modality: Modality) -> tuple[int, int]:
        """(K, C): sub-codes of a token and the number of values of each."""
        if self.served(modality) == TEXT:
            return 1, self.config.text.vocabulary_size
        codebook = self.config.coded(modality).codebook
        return codebook.codebooks, codebook.entries

    def served(self, modality: Modality) -> Modality:
        """The modality whose table and head serve another one: text's, where all share them."""
        return TEXT if self.config.mixes else modality

    def autoregressive(self, modality: Modality) -> bool:
        """Whether the head predicts a position's sub-codes one after another."""
        modality = self.served(modality)
        return modality != TEXT and self.config.coded(modality).head.kind == "autoregressive"

    def without(self, batch: Batch, options: GenerationOptions) -> list[list[Sequence]]:
        """The batch's sequences without their condition, a list for each branch that guidance
        needs; none where there is no guidance."""
        if not options.guided:
            return []
        pairs = zip(batch.sequences, batch.seeds, strict=True)
        found = [self.unconditional(sequence, seed) for sequence, seed in pairs]
        return [list(branch) for branch in zip(*found, strict=True)]

    def unconditional(self, sequence: Sequence, seed: int = 0) -> list[Sequence]:
        """A sequence without its condition, one for each scale of guidance. Some have random ids,
        which the seed decides."""
        if self.config.speaks_only:
            return omnivoice.unconditional(sequence)
        if self.tokenizer.template not in MASKED:
            return [unconditional(sequence, self.tokenizer.special)]
        modality, entries = Layout.of(sequence).modality, self.config.image.codebook.entries
        if self.config.mixes:
            return omnidiffusion.unconditional(
                sequence, modality, self.tokenizer, self.config, seed
            )
        return masked.unconditional(sequence, modality, self.tokenizer, entries)

    def embeddings(self, modality: Modality, tokens: Ids) -> Float32:
        """The backbone's input rows (B,R,H) for tokens (B,R) or (B,R,K). Continuous features
        (B,R,H) float32 are such rows already."""
        if tokens.dtype == np.float32:
            return tokens.view(np.float32)
        if modality != TEXT and self.served(modality) == TEXT:
            modality, tokens = TEXT, tokens[..., 0]
        name = Wire.TOKENS if modality == TEXT else Wire.CODES
        return self.session(f"embed_{modality}").run({name: tokens})[Wire.EMBEDDINGS]

    def sequence_embeddings(self, sequences: Many[Sequence]) -> Float32:
        """Rows of whole sequences of one layout, (B,S,H)."""
        columns = zip(*(sequence.segments for sequence in sequences), strict=True)
        filled = [column for column in columns if len(column[0])]
        return np.concatenate(
            [
                self.embeddings(
                    column[0].modality, np.stack([segment.tokens for segment in column])
                )
                for column in filled
            ],
            axis=1,
        )

    def backbone(self, embeddings: Float32, attended: NDArray[np.bool_] | None = None) -> Float32:
        """Hidden states (B,S,H) of whole sequences (B,S,H), without a cache. `attended` (B,S) is
        False at padding."""
        return self.attend(embeddings, attended=attended)

    def most_rows(self, component: str) -> int:
        """The number of rows that one call of a component takes."""
        return self.session(component).spec.dims()["rows"].max

    def state(self, batch: int, columns: int) -> State:
        """Room for the keys and values of this many sequences and positions."""
        return self.session(ComponentName.BACKBONE).state(batch, columns)

    def attend(
        self,
        embeddings: Float32,
        positions: Ids | None = None,
        attended: NDArray[np.bool_] | None = None,
        state: State | None = None,
        sequences: Ids | None = None,
    ) -> Float32:
        """Hidden states (B,R,H) of one forward of rows (B,R,H). Without `positions` (B,R) they are
        whole sequences.

        `attended` (B,R) is False at padding. With a `state`, rows also see the kept rows of their
        `sequences` (B,), and are kept too.
        """
        batch, rows, _ = embeddings.shape
        session, limit = (
            self.session(ComponentName.BACKBONE),
            self.most_rows(ComponentName.BACKBONE),
        )
        if rows > limit:
            raise UsageError(
                f"sequence of {rows} positions: the model takes at most {limit}; give it less or"
                " ask for less"
            )
        inputs: dict[str, NDArray[Any]] = {
            Wire.EMBEDDINGS: embeddings,
            Wire.POSITIONS: (
                np.tile(np.arange(rows), (batch, 1)) if positions is None else positions
            ),
            Wire.ATTENTION_MASK: np.ones((batch, rows), np.bool_) if attended is None else attended,
        }
        if state is not None:
            return session.step(inputs, state, sequences)[Wire.HIDDEN]
        return session.run(inputs | kept_arrays(session.spec, batch, 0), {Wire.HIDDEN})[Wire.HIDDEN]

    def head(self, modality: Modality, hidden: Float32, codes: Ids) -> Float32:
        """Logits (B,R,K,C) from hidden (B,R,H); an autoregressive head reads the sub-codes (B,R,K)
        before each."""
        inputs: dict[str, NDArray[Any]] = {Wire.HIDDEN: hidden}
        if self.autoregressive(modality):
            inputs[Wire.CODES] = codes
        logits = self.session(f"{self.served(modality)}_head").run(inputs)[Wire.LOGITS]
        per_code: Float32 = logits.reshape(*logits.shape[:2], *self.symbols(modality))
        return per_code

    def hidden(self, sequences: Many[Sequence]) -> Float32:
        """Hidden states (B,S,H) of sequences of one layout."""
        embeddings, prompt = self.sequence_embeddings(sequences), sequences[0].prompt_length
        batch, length, _ = embeddings.shape
        if self.config.backbone.attention != "prefix" or not 0 < prompt < length:
            return self.backbone(embeddings)
        state = self.state(batch, length)
        positions = np.tile(np.arange(length), (batch, 1))
        parts = (slice(0, prompt), slice(prompt, length))
        return np.concatenate(
            [self.attend(embeddings[:, part], positions[:, part], state=state) for part in parts],
            axis=1,
        )

    def embed_batch(self, sequences: Many[Sequence]) -> Float32:
        """Retrieval embeddings (B,H) of sequences of one layout that end with <EOS>, L2-normalised
        (METHOD 4)."""
        last = self.hidden(sequences)[:, -1]
        normalised: Float32 = last / np.linalg.norm(last, axis=-1, keepdims=True)
        return normalised

    def embed(self, sequence: Sequence) -> Float32:
        """Retrieval embedding (H,) of `chat.embedding_sequence`'s sequence."""
        embedding: Float32 = self.embed_batch([sequence])[0]
        return embedding

    def encode(self, modality: str, media: Float32) -> NDArray[Any]:
        """Media as their reader gives them (pixels (3,size,size), log-mel
        (n,frames_per_token,mels), or a listener's rows (n,row_size)) → sub-codes (n,K), or features
        (n,H) float32 where the model sees those of a given medium; several at once with one more
        axis in front."""
        record, sound = MODALITIES[modality], self.config.audio
        _codec(record)
        if modality == "audio" and sound.hears_log_mel:
            most = sound.max_positions
            if (length := media.shape[-3]) > most:  # one chunk after another
                chunks = (media[..., i : i + most, :, :] for i in range(0, length, most))
                return np.concatenate([self.encode(modality, chunk) for chunk in chunks], axis=-2)
        component = f"{record.segments}_encoder"
        (given,), (seen,) = (getattr(self.session(component).spec, side) for side in SIDES)
        return self._media(component, given.name, media, len(given.dims) - 1, seen.name)

    def decode(self, modality: str, codes: Ids) -> Float32:
        """Sub-codes (n,K), or (h,w,1) of a masked model's picture, → pixels (3,height,width) or a
        waveform (samples,) in [-1,1]; several at once with one more axis in front."""
        record = MODALITIES[modality]
        if modality == "audio" and self.config.audio.speech is not None:
            return Speaker(self.session, self.config.audio).waveform(codes.reshape(-1))
        if modality == "audio" and (own := self.config.audio.codec) is not None:
            codes = np.where(codes < own.entries, codes, 0)  # what is still masked
        component, codec = f"{record.segments}_decoder", _codec(record)
        rank = len(self.session(component).spec.inputs[0].dims) - 1
        media: Float32 = self._media(component, Wire.CODES, codes, rank, codec.decoded)
        return media.reshape(*media.shape[:-2], -1) if codec.waveform else media

    def encode_image(self, pixels: Float32) -> NDArray[Any]:
        """`encode` of pixels (3,size,size) in [-1,1]."""
        return self.encode("image", pixels)

    def quantise_image(self, pixels: Float32) -> Ids:
        """Pixels (3,size,size) in [-1,1] → the sub-codes (n,K) that `decode_image` turns back;
        several with one more axis."""
        component = (
            ComponentName.IMAGE_QUANTISER if self.config.quantises else ComponentName.IMAGE_ENCODER
        )
        return self._media(component, Wire.PIXELS, pixels, 3, Wire.CODES)

    def decode_image(self, codes: Ids) -> Float32:
        """`decode` to pixels (3,height,width) in [-1,1]. A code that is still masked is shown as
        0."""
        if self.config.shares_vocabulary:
            codes = np.where(codes < self.config.image.codebook.entries, codes, 0)
        return self.decode("image", codes)

    def image_grid(self, segments: Many[Ids]) -> Ids:
        """The codes of a generated image as `decode_image` takes them, from those of its segments:
        (h,w,1) of a masked model, by rows or of a square, else (n,K)."""
        if not self.config.shares_vocabulary:
            return segments[0]
        if len(segments) > 1:
            return np.stack(segments)
        side = math.isqrt(len(segments[0]))
        return segments[0].reshape(side, side, 1)

    def encode_audio(self, log_mel: Float32) -> Ids:
        """`encode` of what is heard, log-mel (n,frames_per_token,mels) or a listener's rows
        (n,row_size), or of a waveform (samples,) at the rate that the model hears."""
        one = log_mel.ndim == 1
        return self.encode("audio", audio.heard(log_mel, self.config.audio) if one else log_mel)

    def quantise_audio(self, waveform: Float32) -> Ids:
        """A waveform (samples,) at the rate that the model hears → the codes (n,1) of a speech
        tokenizer, which `decode_audio` turns back. UsageError: the model has none."""
        if self.config.audio.speech is None:
            raise UsageError("audio_quantiser: this model has no such component")
        quantise = self.session(ComponentName.AUDIO_QUANTISER)
        pieces = audio.tokenizer_pieces(waveform, self.config.audio, self.config.audio.speech)
        found = [
            quantise.run({Wire.LOG_MEL: mel[None], Wire.ATTENTION_MASK: mask[None]})[Wire.CODES][0]
            for mel, mask in pieces
        ]
        return np.concatenate(found)

    def decode_audio(self, codes: Ids) -> Float32:
        """`decode` to a waveform (samples,) in [-1,1] at the config's rate."""
        return self.decode("audio", codes)

    def _media(
        self, component: str, wire_in: str, array: NDArray[Any], rank: int, wire_out: str
    ) -> NDArray[Any]:
        single = array.ndim == rank
        out = self.session(component).run({wire_in: array[None] if single else array})[wire_out]
        return out[0] if single else out

    def response(self, sequence: Sequence) -> Part:
        """The generated content of a finished sequence: text up to <EOS>, sub-codes (n,K), or
        (frames,n,K) of a video."""
        special, first = self.tokenizer.special, sequence.generated()[0]
        segments = [sequence.segments[index] for index in sequence.generated()]
        modality = segments[0].modality
        if modality == TEXT:
            ids = segments[0].tokens
            if self.config.mixes:
                ids = ids[ids < omnidiffusion.first_code(self.config)]
            return Part(TEXT, self.tokenizer.decode(ids))
        if self.config.mixes:
            return omnidiffusion.content(modality, segments[0].tokens, self.config)
        if self.config.network == "unified":
            return Part(modality, self.image_grid([segment.tokens for segment in segments]))
        markers = [
            segment.tokens.tolist() for segment in sequence.segments[max(0, first - 2) : first]
        ]
        for name, record in MODALITIES.items():
            if record.frames_of != modality:
                continue
            if markers == [[special.around(kind)[0]] for kind in (name, modality)]:
                return Part(name, np.stack([segment.tokens for segment in segments]))
        return Part(modality, np.concatenate([segment.tokens for segment in segments]))


def _codec(record: ModalityRecord) -> Codec:
    if record.codec is None:
        raise UsageError(f"{record.name}: the tokenizer reads and writes it, no encoder or decoder")
    return record.codec
