"""A model of plain numpy functions behind real sessions: tests of the loop see and spoil every
call, without PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nextomni_edge.config import ModelConfig
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes.base import Array, Session
from nextomni_edge.spec import GraphSpec, Wire
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, respond
from nextomni_edge.tokens.sequence import Sequence
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.tokens.train import train_tokenizer
from tests.tiny import CORPUS, tiny_config

BLOCK = 4  # rows of text in a block of tiny_config
Function = Callable[[Mapping[str, Array]], Array]


class FakeSession(Session):
    """Runs a function; `calls` counts, `spoil` may change an output (call number, output) in
    place."""

    def __init__(self, spec: GraphSpec, function: Function) -> None:
        super().__init__(spec, "numpy")
        self.function, self.calls = function, 0
        self.spoil: Callable[[int, Array], None] = lambda call, output: None

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        (name,) = outputs
        output = self.function(inputs).astype(np.float32)
        self.spoil(self.calls, output)
        self.calls += 1
        return {name: output}


class FakeNetwork:
    """Functions of the right shapes. `coupling` is how much a row's hidden state depends on the
    other rows' tokens.

    einsum without BLAS: a row's numbers do not depend on how many rows are computed with it.
    """

    def __init__(self, config: ModelConfig, coupling: float = 1.0) -> None:
        self.config, self.coupling = config, coupling
        self.hidden_size = config.backbone.hidden_size
        self.sizes = {
            "text": (1, config.text.vocabulary_size),
            "image": (config.image.codebook.codebooks, config.image.codebook.entries),
            "audio": (config.audio.codebook.codebooks, config.audio.codebook.entries),
            **{
                coded.name: (coded.codebook.codebooks, coded.codebook.entries)
                for coded in config.more
            },
        }

    def table(self, name: str, *shape: int) -> Array:
        return np.random.default_rng(list(name.encode())).standard_normal(shape)

    def embed(self, modality: str, tokens: Array) -> Array:
        codebooks, entries = self.sizes[modality]
        table = self.table(f"embed {modality}", codebooks, entries, self.hidden_size)
        codes = tokens.reshape(*tokens.shape[:2], codebooks)
        return sum(table[k][codes[:, :, k]] for k in range(codebooks))  # type: ignore[return-value]

    def backbone(self, embeddings: Array, positions: Array, attended: Array | None = None) -> Array:
        weights = np.ones(positions.shape) if attended is None else attended.astype(np.float64)
        mean = np.stack(
            [own[real > 0].mean(axis=0) for own, real in zip(embeddings, weights, strict=True)]
        )[:, None]
        mixed = self.coupling * mean + 0.1 * self.coupling * embeddings
        return np.tanh(
            mixed
            + self.table("positions", self.config.backbone.max_positions, self.hidden_size)[
                positions
            ]
        )

    def head(self, modality: str, hidden: Array, codes: Array | None) -> Array:
        codebooks, entries = self.sizes[modality]
        logits = (
            np.einsum(
                "brh,hkc->brkc",
                hidden,
                self.table(f"head {modality}", self.hidden_size, codebooks, entries),
            )
            / 2
        )
        if codes is not None:
            earlier = self.table(f"earlier {modality}", codebooks, entries, entries)
            for k in range(1, codebooks):
                logits[:, :, k] += earlier[k][codes[:, :, k - 1]]
        return logits[:, :, 0] if modality == "text" else logits

    def functions(self) -> dict[str, Function]:
        def embed(modality: str) -> Function:
            return lambda inputs: self.embed(
                modality, inputs[Wire.TOKENS if modality == "text" else Wire.CODES]
            )

        def head(modality: str) -> Function:
            return lambda inputs: self.head(modality, inputs[Wire.HIDDEN], inputs.get(Wire.CODES))

        found: dict[str, Function] = {
            f"embed_{modality}": embed(modality) for modality in self.sizes
        }
        found |= {f"{modality}_head": head(modality) for modality in self.sizes}
        found["backbone"] = lambda inputs: self.backbone(
            inputs[Wire.EMBEDDINGS], inputs[Wire.POSITIONS], inputs[Wire.ATTENTION_MASK]
        )
        return found


class Fake:
    """An EdgeModel over a FakeNetwork, and what a test asks of it."""

    def __init__(
        self, folder: Path, coupling: float = 1.0, whole: ModelConfig | None = None, **config: Any
    ) -> None:
        """`config`: what tiny_config is made of; or the `whole` config."""
        self.config = whole or tiny_config(**config)
        train_tokenizer(CORPUS, self.config.text.vocabulary_size, folder / "tokenizer.json")
        self.network = FakeNetwork(self.config, coupling)
        specs, functions = graph_specs(self.config), self.network.functions()
        self.sessions = {
            name: FakeSession(specs[name], function) for name, function in functions.items()
        }
        self.tables = {
            name: self.network.table(f"metric {name}", *size, 16)
            for name, size in self.network.sizes.items()
        }
        self.tables["text"] = self.tables["text"][0]
        self.model = EdgeModel(
            self.config,
            TextTokenizer(folder / "tokenizer.json"),
            self.sessions.__getitem__,
            self.tables.__getitem__,
        )

    def ask(
        self, kind: Kind, count: int | None = None, prompt: str = "draw a red rocket"
    ) -> Sequence:
        turns = [Turn("user", (Part("text", prompt),))]
        return respond(
            conversation(self.model.tokenizer, turns),
            kind,
            self.config,
            self.model.tokenizer,
            count,
        )


def end_at(fake: Fake, row: int) -> None:
    """Let <EOS> be all but certain `row` rows into a response, by marking that position in the
    hidden state."""
    start = fake.ask("text").spans()[-1][0]
    fake.sessions["backbone"].function = lambda inputs: np.repeat(
        (inputs[Wire.POSITIONS] == start + row)[:, :, None], fake.network.hidden_size, axis=2
    )
    eos = fake.model.tokenizer.special.eos
    fake.sessions["text_head"].function = lambda inputs: (
        20.0
        * (inputs[Wire.HIDDEN][:, :, :1] * (np.arange(fake.config.text.vocabulary_size) == eos))
    )
