"""Any-to-any discrete-flow models on devices: text, pictures, sounds and videos, in and out.

Load a bundle and ask it for anything. PyTorch is not needed, and is not imported:

    import nextomni_edge as ne

    model = ne.load("demo/bundle")
    answer = model.generate("draw rocket, noto style", to="image", seed=7)
    answer.save("rocket.png", scale=8)
    print(model.generate(ne.Image("rocket.png")).text)
    model.generate("say rocket", to="audio").save("rocket.wav")

Watch an answer form, and leave when you have seen enough:

    for step in model.stream("draw rocket, noto style", to="image"):
        step.answer.image.show()

Talk, in turns of any modality:

    chat = model.chat()
    chat.say("draw rocket, noto style", to="image")
    print(chat.say("what is this?").text)

Search a folder of mixed media:

    ne.search.index("photos", model)
    for hit in ne.search.find("photos", "a rocket", model):
        print(hit.cosine, hit.path)

Make a bundle of a model (PyTorch is needed for the first line only), prove it, make it small:

    ne.export("my-model", "my-bundle")
    ne.verify("my-bundle")
    ne.quantize("my-bundle", "my-int8", "int8-dynamic")

What can go wrong is one of `nextomni_edge.errors`: a sentence that says what was found, what was
expected and what to do. The command `nextomni-edge` does the same from a shell.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nextomni_edge import privacy

if TYPE_CHECKING:
    from nextomni_edge import search as search
    from nextomni_edge.api import Answer as Answer
    from nextomni_edge.api import Audio as Audio
    from nextomni_edge.api import Chat as Chat
    from nextomni_edge.api import Image as Image
    from nextomni_edge.api import Model as Model
    from nextomni_edge.api import Video as Video
    from nextomni_edge.api import load as load
    from nextomni_edge.calibration.recipes.config import QuantConfig
    from nextomni_edge.export import ExportPackage
    from nextomni_edge.files import StrPath
    from nextomni_edge.verify import VerifyPackage

    __version__: str
    export: ExportPackage
    verify: VerifyPackage
    from nextomni_edge.calibration import QuantReport

privacy.switch_off()

__all__ = [
    "Answer", "Audio", "Chat", "Image", "Model", "Video", "__version__", "export", "load",
    "quantize", "search", "verify",
]  # fmt: skip


def quantize(
    bundle: StrPath,
    out: StrPath,
    recipe: str | QuantConfig = "int8-dynamic",
    *,
    calibration: StrPath | None = None,
    max_kl: float | None = None,
    max_flips: float | None = None,
    keep: bool = False,
    overwrite: bool = False,
    resume: bool = True,
    progress: Any = None,
) -> QuantReport:
    """Write a bundle with its weights as integers, and measure what that costs. Needs no PyTorch.

    recipe: a recipe's name, such as "int8-dynamic" or "int4", or one of the configurations of
    `nextomni_edge.calibration.recipes.config`. calibration: a set that `nextomni-edge calibrate`
    collected, for the recipes that need one. max_kl: the most that the bundle may diverge from its
    parent, in nats per draw. max_flips: the largest share of draws whose likeliest symbol may
    change. progress: called with (what is being done, the share done).

    GateError: `max_kl` or `max_flips` is not met; nothing is kept, unless `keep`. UsageError: `out`
    exists without `overwrite`, or an unknown recipe. MissingRuntimeError: the extra `quantize` is
    not installed.
    """
    from pathlib import Path

    from nextomni_edge.extras import needs_extra

    with needs_extra("quantize", "onnx_ir", "onnxruntime"):
        from nextomni_edge import calibration as package
        from nextomni_edge.calibration.recipes.config import recipe as named
    return package.quantize(
        Path(bundle),
        Path(out),
        named(recipe) if isinstance(recipe, str) else recipe,
        None if calibration is None else Path(calibration),
        max_kl,
        keep,
        overwrite,
        resume,
        progress,
        max_flips,
    )


if not TYPE_CHECKING:  # or a checker would take every name for one of the package

    def __getattr__(name: str) -> object:
        if name == "__version__":
            return _version()
        if name in ("export", "search", "verify"):
            return importlib.import_module(f"{__name__}.{name}")
        if name in __all__:
            return getattr(importlib.import_module(f"{__name__}.api"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("nextomni-edge")
    except metadata.PackageNotFoundError:  # imported from a checkout that is not installed
        return "0+unknown"
