"""A loaded model: prompts of any modality in, answers of any modality out."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.api.answer import Answer
from nextomni_edge.api.chat import Chat
from nextomni_edge.api.opening import DEFAULT, chosen, identity, open_model
from nextomni_edge.api.prompt import Item, Prompt, batch_of, listed, part_of, turn_of
from nextomni_edge.api.settings import Request, Settings
from nextomni_edge.api.speaking import Speaking
from nextomni_edge.api.step import Generation, Step
from nextomni_edge.bundle.digests import Hashes
from nextomni_edge.bundle.trust import Trust
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.files import StrPath
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.steps import run_through
from nextomni_edge.hub.download import located
from nextomni_edge.runtimes.base import Compute, Execution
from nextomni_edge.search.update import Progress, embed_part
from nextomni_edge.threads import MAX_THREADS
from nextomni_edge.tokens.chat import Kind

if TYPE_CHECKING:
    from typing_extensions import Unpack

Float32 = NDArray[np.float32]


def load(
    path: StrPath,
    runtime: str | None = None,
    device: str | None = None,
    compute: Compute = "float32",
    *,
    cache: StrPath | None = None,
    allow_fallback: bool = False,
    threads: int | None = None,
    verify_hashes: Hashes = "always",
    verify_key: StrPath | None = None,
) -> Model:
    """Load a bundle, as `nextomni_edge.export` writes it. No PyTorch is needed.

    runtime: onnx, openvino, coreml, llamacpp or tensorrt; None takes that of the bundle's format,
    or the one that `bench --choose` measured to be the fastest here.
    device: "cuda" or "cpu" of every runtime, or as the runtime names it, such as
    "DmlExecutionProvider" of onnx; None takes the GPU where the runtime computes on it.
    compute: the arithmetic; all but "float32" approximates.
    cache: a folder for compiled models, and for weights that processes of ONNX Runtime share.
    allow_fallback: run on the processor where the device is not available.
    threads: of the processor, 1 to 1024; None is OMP_NUM_THREADS, or one for each core.
    verify_hashes: "always" reads and hashes every byte of the bundle; "once" leaves out the files
    that did not change since they were hashed.
    verify_key: a public key; the bundle must be signed by its private one (`nextomni-edge sign`).

    A model directory (config.json and safetensors) loads too, in PyTorch. `hf:OWNER/NAME` and
    `hf:OWNER/NAME@REVISION` name a bundle on the hub, which is fetched to the hub library's cache.

    InputError: neither of the two, damaged, not signed, or not on the hub. MissingRuntimeError: the
    runtime or the device is not here. UsageError: the runtime does not read this bundle, or
    `threads` is out of range.

    >>> import nextomni_edge as ne
    >>> model = ne.load("demo/bundle")
    >>> print(model.generate("draw rocket, noto style", to="image", seed=7).modality)
    image
    """
    where = located(path)
    folder = None if cache is None else Path(cache)
    if threads is not None and not 1 <= threads <= MAX_THREADS:
        raise UsageError(f"threads is {threads}, expected 1 to {MAX_THREADS}")
    asked = Execution(runtime, device, compute, folder, allow_fallback, threads or 0)
    trust = Trust(verify_hashes, None if verify_key is None else Path(verify_key))
    return Model.open(where, chosen(where, asked).execution, trust)


class Model:
    """A model that `load` opened. Its components are loaded on their first use.

    Threads may share a model: a generation keeps all its state to itself, and gives the same
    answer next to others as by itself. A `Chat` and an iterator of `stream` belong to one thread at
    a time.

    **A prompt** is a text, a picture, a sound or a video: a string, a path (its suffix tells the
    modality), `Image`, `Audio` or `Video`, a PIL image, or a pair of samples and their rate. A
    tuple of these is one prompt of several parts, in that order. **A batch** is a list of texts or
    of tuples. A list that mixes texts and media is one prompt; a list of media only is refused,
    because it may be meant either way.

    >>> import nextomni_edge as ne
    >>> model = ne.load("demo/bundle")
    >>> one = model.generate((ne.Image("rocket.png"), "what is this?"))
    >>> two = model.generate(["draw rocket", "draw cat"], to="image")
    >>> type(one).__name__, len(two)
    ('Answer', 2)
    """

    def __init__(self, edge: EdgeModel, path: Path) -> None:
        self.edge, self.path = edge, path

    @classmethod
    def open(cls, path: StrPath, execution: Execution, trust: Trust = DEFAULT) -> Model:
        """As `load`, run exactly as `execution` says."""
        return cls(open_model(Path(path), execution, trust), Path(path))

    @property
    def config(self) -> ModelConfig:
        """Sizes, limits and constants of the model."""
        return self.edge.config

    @functools.cached_property
    def identity(self) -> str:
        """SHA-256 that names the model: of its bundle, or of its directory's files."""
        return identity(self.path)

    @property
    def providers(self) -> list[str]:
        """Where the components that were loaded so far really run."""
        return self.edge.providers()

    @overload
    def generate(  # type: ignore[overload-overlap]  # a list might be a path, too
        self,
        prompt: list[str],
        to: Kind = "text",
        *,
        trim: bool = False,
        progress: Progress | None = None,
        **settings: Unpack[Settings],
    ) -> list[Answer]: ...

    @overload
    def generate(  # type: ignore[overload-overlap]  # a list might be a path, too
        self,
        prompt: list[str | tuple[Item, ...]],
        to: Kind = "text",
        *,
        trim: bool = False,
        progress: Progress | None = None,
        **settings: Unpack[Settings],
    ) -> list[Answer]: ...

    @overload
    def generate(
        self,
        prompt: Prompt | list[Item],
        to: Kind = "text",
        *,
        trim: bool = False,
        progress: Progress | None = None,
        **settings: Unpack[Settings],
    ) -> Answer: ...

    def generate(
        self,
        prompt: Prompt | Sequence[Prompt],
        to: Kind = "text",
        *,
        trim: bool = False,
        progress: Progress | None = None,
        **settings: Unpack[Settings],
    ) -> Answer | list[Answer]:
        """Answer a prompt, or each prompt of a batch, in the modality `to`.

        settings: seed, steps, temperature, guidance and the others of `nextomni_edge.api.Settings`.
        All prompts of a batch have the same seed, and each gets its answer as if by itself.
        trim: keep the first chunk of a long sound. progress: called with (steps done,
        steps in all, "").

        UsageError: an unknown setting, or settings that do not go together. InputError: a medium
        that cannot be read. StoppedError: NaN or infinity on the way.

        >>> import nextomni_edge as ne
        >>> model = ne.load("demo/bundle")
        >>> model.generate("say rocket", to="audio", sed=7)
        Traceback (most recent call last):
        nextomni_edge.errors.UsageError: no setting 'sed'; did you mean 'seed'?
        """
        batch, request = batch_of(prompt), Request.of(to, settings)
        prompts = [prompt] if batch is None else batch
        turns = [[turn_of(self.edge, each, trim)] for each in prompts]
        generation = Generation(self.edge, turns, request)
        finished = run_through(
            generation.records(),
            progress and (lambda record: progress(record.step + 1, generation.total, "")),
        )
        answers = [generation.answer(sequence).decoded() for sequence in finished]
        return answers[0] if batch is None else answers

    def stream(
        self,
        prompt: Prompt | list[Item],
        to: Kind = "text",
        *,
        trim: bool = False,
        margins: bool = False,
        **settings: Unpack[Settings],
    ) -> Iterator[Step]:
        """Answer one prompt step by step. Each step holds the answer as it stands, decoded only
        where it is looked at; the last step holds the finished answer, which `generate` gives.

        Leaving the loop stops the computation. margins: measure how near each draw was to another
        outcome, for `step.record`. Errors as `generate`'s.

        >>> import nextomni_edge as ne
        >>> model = ne.load("demo/bundle")
        >>> for step in model.stream("draw rocket, noto style", to="image", steps=8):
        ...     if step.t >= 0.5:
        ...         break
        >>> step.number, step.total, step.answer.image.mode
        (4, 8, 'RGB')
        """
        if batch_of(prompt) is not None:
            raise UsageError("stream answers one prompt; `generate` takes a batch")
        request = Request.of(to, settings)
        turns = [turn_of(self.edge, prompt, trim)]
        return Generation(self.edge, [turns], request, margins).watched()

    def speak(
        self, text: Prompt, *, trim: bool = False, **settings: Unpack[Settings]
    ) -> Iterator[Float32]:
        """Say a text, sentence by sentence: samples (n,) float32 in [-1,1] at
        `config.audio.sample_rate`, each sentence as soon as it is made. Of models that say a text
        in a voice only; the settings and errors are `generate`'s.

        Leaving the loop stops the computation. Together the parts are one sound. Each sentence is
        spoken as a text of its own, so the tokens differ from those of `generate`.
        """
        if not self.config.speaks_only:
            raise UsageError("speak: this model does not say texts; `generate` makes its sounds")
        turns = [turn_of(self.edge, text, trim)]
        speaking = Speaking(self.edge, [turns], Request.of("audio", settings), by_sentence=True)
        return speaking.heard(Meter())

    def chat(self, to: Kind = "text", **settings: Unpack[Settings]) -> Chat:
        """A conversation, of which the model sees every turn. `to` and the settings are those of
        all its answers, where `say` does not name others.

        >>> import nextomni_edge as ne
        >>> chat = ne.load("demo/bundle").chat()
        >>> drawn = chat.say("draw rocket, noto style", to="image", seed=7)
        >>> chat.say("what is this?").modality
        'text'
        """
        return Chat(self.edge, Request.of(to, settings))

    def embed(
        self, items: Sequence[Item], *, trim: bool = False, progress: Progress | None = None
    ) -> Float32:
        """Embeddings (N,H) float32, one row for each item, L2-normalised: the product of two rows
        is their cosine, across modalities too.

        progress: called with (items done, items in all, the text or path in hand).

        >>> import nextomni_edge as ne
        >>> model = ne.load("demo/bundle")
        >>> picture, text = model.embed([ne.Image("rocket.png"), "a rocket"])
        >>> cosine = picture @ text
        """
        rows = []
        for done, item in enumerate(listed(items)):
            if progress:
                progress(done, len(items), str(item) if isinstance(item, str | PathLike) else "")
            rows.append(embed_part(self.edge, part_of(self.edge, item, trim)))
        if progress:
            progress(len(items), len(items), "")
        width = self.config.backbone.hidden_size
        return np.stack(rows) if rows else np.zeros((0, width), np.float32)

    def __repr__(self) -> str:
        return f"<Model {self.path}: {', '.join(self.config.modalities)}>"
