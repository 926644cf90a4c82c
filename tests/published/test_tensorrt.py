"""Published masked models as TensorRT engines: built for a GPU that is not here, not executed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorrt_rtx", reason="engines are built by tensorrt-rtx (extra: tensorrt)")

from nextomni_edge.bundle import Bundle
from nextomni_edge.runtimes.base import Compute
from nextomni_edge.runtimes.tensorrt.build import Asked
from nextomni_edge.runtimes.tensorrt.engines import compile_bundle
from nextomni_edge.runtimes.tensorrt.profile import Limits
from tests.published.models import MakeOnce, bundled

SMALL = Limits(batch=2, rows=64)
SLOW = [pytest.mark.slow]


@pytest.mark.parametrize("compute", ["float32", "float16"])
@pytest.mark.parametrize(
    "family",
    ["llada", *(pytest.param(name, marks=SLOW) for name in ("mmada", "lumina_dimoo", "dream"))],
)
def test_every_component_becomes_an_engine(
    family: str, compute: Compute, made_once: MakeOnce, tmp_path: Path
) -> None:
    bundle = Bundle.open(bundled(family, made_once))
    asked = Asked("sm89", compute, SMALL, tmp_path)
    engines = compile_bundle(bundle, asked, None, bundle.component_file, lambda *_: None)
    assert engines.keys() == bundle.manifest.components.keys()
    for name, engine in engines.items():
        assert engine.built and engine.bytes > 1000, name
    if compute == "float16":
        assert engines["backbone"].description.outputs_by_dtype["Half"] > 0
