"""The bundles that are served, by name, and what each has to say about itself."""

from __future__ import annotations

import dataclasses
import functools
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nextomni_edge.api.model import Model
from nextomni_edge.api.opening import is_bundle
from nextomni_edge.api.settings import MODALITIES
from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.parity import parity_lines
from nextomni_edge.errors import UsageError
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.hub.download import located
from nextomni_edge.hub.reference import reference
from nextomni_edge.serve.failures import Refusal

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Served:
    """A model with its name in the interface. loaded: seconds since 1970."""

    name: str
    model: Model
    loaded: int = field(default_factory=lambda: int(time.time()))

    @functools.cached_property
    def together(self) -> bool:
        """Whether requests may share a forward: not where a layer rounds all rows of a call by one
        scale, so that an answer would depend on who else asks."""
        if not is_bundle(self.model.path):
            return True
        components = Bundle.open(self.model.path, verify_hashes=False).manifest.components
        return not any(
            decision.mixes_rows
            for component in components.values()
            for decision in component.quantisation.values()
        )

    @property
    def kinds(self) -> list[str]:
        """The modalities that it answers in."""
        special = self.model.edge.tokenizer.special
        if self.model.config.causal:
            return ["text"]
        return [kind for kind in MODALITIES if special.has(kind)]

    def card(self) -> dict[str, Any]:
        """What the page shows: parity, quantisation, size, modalities and defaults."""
        config = self.model.config
        card: dict[str, Any] = {
            "identity": self.model.identity,
            "answers": self.kinds,
            "takes": list(config.modalities),
            "causal": config.causal,
            "defaults": {kind: self._defaults(kind) for kind in self.kinds},
            "providers": self.model.providers,
            "licence": None,  # a bundle does not record it
        }
        return card | (self._stored() if is_bundle(self.model.path) else {})

    def _defaults(self, kind: str) -> dict[str, Any]:
        if self.model.config.causal:
            return {}
        options = GenerationOptions.defaults(self.model.config, kind)
        return {
            "steps": options.steps,
            "guidance": options.guidance,
            "temperature": options.temperature,
        }

    def _stored(self) -> dict[str, Any]:
        manifest = Bundle.open(self.model.path, verify_hashes=False).manifest
        made = manifest.quantisation
        return {
            "bytes": sum(record.size for record in manifest.files.values()),
            "parity": list(parity_lines(manifest.parity)),
            "precision": sorted({part.precision for part in manifest.components.values()}),
            "quantisation": None if made is None else dataclasses.asdict(made),
        }


class Models:
    """The served models. The first one answers where a request names none."""

    def __init__(self, served: list[Served]) -> None:
        self.by_name = {each.name: each for each in served}
        self.first = served[0]
        if len(self.by_name) < len(served):
            raise UsageError("two bundles have one name; give names of your own: NAME=BUNDLE")

    def named(self, name: str | None) -> Served:
        """Refusal: 404, no model of this name."""
        if name is None:
            return self.first
        if name not in self.by_name:
            known = ", ".join(self.by_name)
            raise Refusal(404, f"no model of this name; expected one of {known}", "model_not_found")
        return self.by_name[name]


def name_and_path(word: str) -> tuple[str, Path]:
    """`NAME=BUNDLE`, or a bundle whose folder or repository has a name of its own. UsageError: a
    name that cannot stand in an address."""
    given, equals, place = word.partition("=")
    named = place if equals else word
    path, asked = located(named), reference(named)
    own = asked.repository.rpartition("/")[2] if asked else path.resolve().name
    name = given if equals else own
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name[:80]!a}: expected a name of letters, digits, '.', '_' and '-'; write"
            " NAME=BUNDLE"
        )
    return name, path
