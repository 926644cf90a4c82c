"""Static INT8 of convolutions and encoders: what it costs decoded pictures, speech and codes, and
what it saves.

    python benchmarks/convolutions.py demo/bundle --calibration demo/calibration \\
        --heldout demo/report/trajectories -o benchmarks/convolutions.json

Bundles of one parent, by what of its encoders and decoders is rounded: weights alone, the inputs of
the decoders' products too (`convolutions: weights`), their convolutions' inputs and outputs too
(int8-static's default), the encoders' as well (`encoders: static`). On held-out generations: each
picture's PSNR against the parent's decoder (dB, range [-1,1]), each sound's mean absolute log-mel
difference, and of given media the share of codes that stay. 95 % intervals over trajectories
(normal). `--shapes`: times of single convolutions in the forms that ONNX Runtime has, one thread;
`--repeats`: of whole components, interleaved medians.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration import quantize
from nextomni_edge.calibration.data.samples import CalibrationSet, Trajectory
from nextomni_edge.calibration.recipes.config import Int8Dynamic, Int8Static, QuantConfig
from nextomni_edge.calibration.report.agreement import Mean
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.spec import ComponentName
from nextomni_edge.tokens.audio import log_mel

Float = NDArray[np.float32]

MEDIA: Final = (
    ComponentName.IMAGE_DECODER, ComponentName.AUDIO_DECODER, ComponentName.IMAGE_ENCODER,
    ComponentName.AUDIO_ENCODER,
)  # fmt: skip
SKIPPED: Final = tuple(name for name in ComponentName.ALL if name not in MEDIA)
CONFIGS: Final[dict[str, QuantConfig]] = {
    "int8-dynamic": Int8Dynamic(skip=SKIPPED),
    "convolutions: weights": Int8Static(convolutions="weights", skip=SKIPPED),
    "int8-static": Int8Static(skip=SKIPPED),
    "int8-static, range minmax": Int8Static("minmax", skip=SKIPPED),
    "encoders: static": Int8Static(encoders="static", skip=SKIPPED),
}
# (in, out, kernel, side, axes): the demo's decoders, and three of a VQ-16 decoder of 384 x 384
# pixels
SHAPES: Final = (
    (32, 32, 3, 32, 2),
    (128, 128, 5, 200, 1),
    (128, 128, 3, 96, 2),
    (256, 256, 3, 48, 2),
    (512, 512, 3, 24, 2),
)
X_SCALE, Y_SCALE, MIDDLE = np.float32(8 / 255), np.float32(12 / 255), np.uint8(128)


def generated(trajectory: Trajectory, modality: str) -> list[NDArray[Any]]:
    """Codes (n,K) of what a trajectory generated of one modality."""
    segments = trajectory.sequence.segments
    places = zip(trajectory.sequence.generated(), trajectory.finished, strict=True)
    return [tokens for index, tokens in places if segments[index].modality == modality]


def psnr(ours: Float, theirs: Float) -> float:
    """dB, of pictures in [-1,1]; those that are the same count as 100 dB."""
    return float(min(100.0, 10 * np.log10(4 / max(float(np.square(ours - theirs).mean()), 4e-10))))


def measures(model: EdgeModel, parent: EdgeModel, trajectory: Trajectory) -> dict[str, list[float]]:
    """Each measure's values on one trajectory; those that it says nothing of are empty."""
    audio = parent.config.audio
    drawn, said = generated(trajectory, "image"), generated(trajectory, "audio")
    waves = [(parent.decode_audio(codes), model.decode_audio(codes)) for codes in said]
    return {
        "psnr": [psnr(parent.decode_image(codes), model.decode_image(codes)) for codes in drawn],
        "log_mel": [
            float(np.abs(log_mel(ours, audio) - log_mel(theirs, audio)).mean())
            for ours, theirs in waves
        ],
        "same_image_codes": [
            float((parent.encode_image(x) == model.encode_image(x)).mean())
            for x in trajectory.pixels
        ],
        "same_audio_codes": [
            float((parent.encode_audio(x) == model.encode_audio(x)).mean())
            for x in trajectory.log_mel
        ],
    }


def quality(model: EdgeModel, parent: EdgeModel, heldout: CalibrationSet) -> dict[str, Any]:
    """Means over trajectories, with the least."""
    found: dict[str, list[float]] = {}
    for _, trajectory in heldout.trajectories():
        for name, values in measures(model, parent, trajectory).items():
            found.setdefault(name, []).extend([float(np.mean(values))] if values else [])
    return {
        name: {**Mean.of(np.array(values)).to_json(), "least": min(values)}
        for name, values in found.items()
    }


def medians(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of each call, taken in turn; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return {name: float(np.median(found[1:])) for name, found in seconds.items()}


def component_times(
    models: dict[str, EdgeModel], heldout: CalibrationSet, repeats: int
) -> dict[str, dict[str, float]]:
    """Times faster than the parent, by component and bundle, on the first generated picture and
    sound."""
    trajectories = [trajectory for _, trajectory in heldout.trajectories()]
    picture = next(codes for one in trajectories for codes in generated(one, "image"))
    sound = next(codes for one in trajectories for codes in generated(one, "audio"))
    found = {}
    for component, codes in (
        (ComponentName.IMAGE_DECODER, picture),
        (ComponentName.AUDIO_DECODER, sound),
    ):
        method = "decode_image" if component == ComponentName.IMAGE_DECODER else "decode_audio"
        seconds = medians(
            {name: functools.partial(getattr(one, method), codes) for name, one in models.items()},
            repeats,
        )
        found[component] = {name: seconds["float32"] / own for name, own in seconds.items()} | {
            "seconds": seconds["float32"]
        }
    return found


def forms(
    features: int, outputs: int, kernel: int, side: int, axes: int
) -> dict[str, Callable[[], object]]:
    """One convolution in float32 and in the forms of INT8, with one thread."""
    generator = np.random.default_rng(0)
    w = (generator.standard_normal((outputs, features, *[kernel] * axes)) * 0.05).astype(np.float32)
    x = generator.standard_normal((1, features, *[side] * axes)).astype(np.float32)
    scale = (np.abs(w).reshape(outputs, -1).max(axis=1) / 127).astype(np.float32)
    column = scale.reshape(-1, *[1] * axes)
    q = np.rint(w / column[..., None]).astype(np.int8)
    arrays = {
        "w": w, "q": q, "scale": scale, "b": generator.standard_normal(outputs).astype(np.float32),
        "xs": X_SCALE, "ys": Y_SCALE, "zero": MIDDLE,
        "shifted": (q.astype(np.int16) + 128).astype(np.uint8), "both": column * X_SCALE,
    }  # fmt: skip
    node, pads = helper.make_node, [kernel // 2] * (2 * axes)
    rounded = node("QuantizeLinear", ["x", "xs", "zero"], ["x8"])
    read = [
        rounded,
        node("DequantizeLinear", ["x8", "xs", "zero"], ["xr"]),
        node("DequantizeLinear", ["q", "scale"], ["wr"], axis=0),
    ]
    graphs = {
        "float32": [node("Conv", ["x", "w", "b"], ["y"], pads=pads)],
        "ConvInteger": [
            rounded, node("ConvInteger", ["x8", "shifted", "zero", "zero"], ["i"], pads=pads),
            node("Cast", ["i"], ["f"], to=1), node("Mul", ["f", "both"], ["y"]),
        ],
        "input rounded": [*read, node("Conv", ["xr", "wr", "b"], ["y"], pads=pads)],
        "input and output rounded": [
            *read, node("Conv", ["xr", "wr", "b"], ["c"], pads=pads),
            node("QuantizeLinear", ["c", "ys", "zero"], ["c8"]),
            node("DequantizeLinear", ["c8", "ys", "zero"], ["y"]),
        ],
    }  # fmt: skip
    return {
        name: functools.partial(_session(nodes, arrays, x.shape).run, None, {"x": x})
        for name, nodes in graphs.items()
    }


def _session(
    nodes: list[Any], arrays: dict[str, Any], shape: tuple[int, ...]
) -> onnxruntime.InferenceSession:
    used = {name for one in nodes for name in one.input} & arrays.keys()
    inits = [numpy_helper.from_array(np.asarray(arrays[name]), name) for name in sorted(used)]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, size)
        for name, size in (("x", shape), ("y", None))
    )
    graph = helper.make_graph(nodes, "convolution", [x], [y], inits)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def shape_times(repeats: int) -> dict[str, dict[str, float]]:
    """Times faster than float32, by shape and form."""
    found = {}
    for features, outputs, kernel, side, axes in SHAPES:
        seconds = medians(forms(features, outputs, kernel, side, axes), repeats)
        name = (
            f"{features} to {outputs}, {' x '.join([str(kernel)] * axes)}, over"
            f" {' x '.join([str(side)] * axes)}"
        )
        found[name] = {form: seconds["float32"] / own for form, own in seconds.items()} | {
            "seconds": seconds["float32"]
        }
        print(f"{name}: {found[name]}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("demo/bundle"))
    parser.add_argument("--calibration", type=Path, default=Path("demo/calibration"))
    parser.add_argument(
        "--heldout",
        type=Path,
        default=Path("demo/report/trajectories"),
        help="a set over held-out prompts",
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("build/convolutions"), help="for the bundles; kept"
    )
    parser.add_argument("--repeats", type=int, default=0, help="of each time; 0 takes none")
    parser.add_argument("--shapes", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    models, results = {"float32": EdgeModel.from_bundle(bundle)}, dict[str, Any]()
    heldout = CalibrationSet.open(options.heldout).require(bundle, bins=1)
    for name, config in CONFIGS.items():
        out = options.folder / name.replace(": ", "-").replace(", ", "-").replace(" ", "-")
        if not out.exists():
            options.folder.mkdir(parents=True, exist_ok=True)
            quantize(options.bundle, out, config, options.calibration)
        models[name] = EdgeModel.from_bundle(Bundle.open(out))
        results[name] = quality(models[name], models["float32"], heldout)
        print(name, json.dumps(results[name]), flush=True)
    data: dict[str, Any] = {"heldout_trajectories": len(heldout), "quality": results}
    if options.repeats:
        data["times_faster"] = component_times(models, heldout, options.repeats)
        print(data["times_faster"], flush=True)
    if options.shapes:
        data["convolutions_times_faster"] = shape_times(options.repeats or 9)
    versions = {name: metadata.version(name) for name in ("numpy", "onnx-ir", "onnxruntime")}
    data |= {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": versions,
    }
    options.output.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
