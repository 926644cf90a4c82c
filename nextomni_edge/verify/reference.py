"""The checkpoint in PyTorch, as the reference of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.manifest import INLINE
from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.errors import InputError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.models import networks
from nextomni_edge.models.audio import AudioEncoder
from nextomni_edge.models.grid_codec import GridEncoder
from nextomni_edge.models.networks import Model
from nextomni_edge.models.vision import ImageEncoder
from nextomni_edge.runtimes.base import Execution, Session, runtime
from nextomni_edge.runtimes.torch import sessions
from nextomni_edge.spec import Wire
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.verify.comparison import Array, arithmetic_of, rounds_itself
from nextomni_edge.verify.components import MARGINS
from nextomni_edge.verify.fake_quantised import (
    FakeQuantisedSession,
    LockstepSession,
    fake_quantised_sessions,
)
from nextomni_edge.verify.gguf_reference import RuntimeInLockstep, gguf_sessions, run_reference


class Reference:
    """`model` runs in PyTorch in float32.

    A bundle may narrow a weight, as the manifest says, but must not compute anything else with it.
    So weights that the bundle stores as float16 are rounded here too, and a quantised bundle's
    layers compute with its own integers (see fake_quantised.py). InputError, GateError: the
    integers are not this model's.
    """

    def __init__(self, bundle: Bundle, model_dir: Path, execution: Execution | None = None) -> None:
        checkpoint = Checkpoint.open(model_dir)
        if checkpoint.config != bundle.config:
            raise InputError(
                f"{bundle.path}: its config is not that of {model_dir}; compare it with the model"
                " that it was made from"
            )
        self.name = "PyTorch"
        self._omni = networks.load(model_dir)
        # before rounding: the file's numbers are held against the model's own
        blocks = gguf_sessions(self._omni, bundle)
        if any(
            component.precision == "float16" for component in bundle.manifest.components.values()
        ):
            round_to_float16(self._omni)
        quantised = fake_quantised_sessions(self._omni, bundle, execution)
        self._modules = {name: session.module for name, session in quantised.items()}
        self._sessions = (
            sessions(self._omni) | quantised | {name: alone for name, (alone, _) in blocks.items()}
        )
        whole_runs = self._sessions | {
            name: _in_lockstep(session, bundle, execution) for name, session in quantised.items()
        }
        whole_runs |= {name: together for name, (_, together) in blocks.items()}
        self.model = EdgeModel(
            checkpoint.config,
            TextTokenizer(checkpoint.tokenizer_path, checkpoint.config.text),
            whole_runs.__getitem__,
            lambda modality: checkpoint.tensor(f"metric_tables.{modality}"),
        )

    def run(self, component: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs of a component, and the margins of an encoder's codes. NonFiniteError: a float
        output is not finite."""
        found = run_reference(self._sessions[component], inputs)
        module = self._modules.get(component) or self._omni.get_submodule(component)
        if isinstance(module, ImageEncoder | AudioEncoder):
            found[MARGINS] = _margins(module, *inputs.values())
        if isinstance(module, GridEncoder):
            with torch.inference_mode():
                found[MARGINS] = module.margins(torch.tensor(inputs[Wire.PIXELS])).numpy()
        return found


def _in_lockstep(
    session: FakeQuantisedSession, bundle: Bundle, execution: Execution | None
) -> Session:
    """For whole generations: a quantised component in PyTorch and in the bundle's runtime at
    once."""
    name, record = session.spec.name, bundle.manifest.components[session.spec.name]
    if not rounds_itself(record, execution):
        return LockstepSession(session)
    asked = (execution or Execution()).of_format(record.format)
    loaded = runtime(str(asked.runtime), asked).load(
        name, bundle.component_file(name), session.spec, asked.provider
    )
    return RuntimeInLockstep(session, loaded, arithmetic_of(record, execution))


def _margins(encoder: ImageEncoder | AudioEncoder, media: Array) -> Array:
    """The cosine of the chosen entry minus that of the next one, (B,N,K) float32."""
    with torch.inference_mode():
        similarity = encoder.codebook.similarity(encoder.latents(torch.tensor(media)))
        best: Array = similarity.topk(2, dim=-1).values.numpy()
    return best[..., 0] - best[..., 1]


def round_to_float16(model: Model) -> None:
    """Round every weight that a bundle of precision "float16" stores so, in place."""
    with torch.no_grad():
        for name, tensor in networks.state_names(model).items():
            if not name.startswith("metric_tables.") and tensor.numel() * 4 >= INLINE:
                tensor.copy_(tensor.half().float())
