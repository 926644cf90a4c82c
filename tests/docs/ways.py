"""How a test runs each block that needs something first: what stands for it, and what is shortened.

Published weights are stood for by small checkpoints of the same layout, and training by its first
steps. A line that needs a GPU must say so where there is none.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.docs.pages import ROOT

PUBLISHED: Final = ROOT / "tests" / "published" / "golden"


def nothing(workspace: Path) -> Path:
    """The workspace as it is."""
    return workspace


@contextlib.contextmanager
def alone(workspace: Path) -> Iterator[dict[str, str]]:
    """Nothing runs next to the block."""
    yield {}


@dataclass(frozen=True)
class Way:
    """How one block runs.

    `prepare` puts what stands for the missing part into the workspace and returns the folder to run
    in. `instead` maps words of the block to what is run for them. `before` and `after` are lines of
    the shell that run first and last. `programs` and `modules` must be installed, or the test is
    skipped and says so. `during` runs next to the block, and gives it variables. `refused` is what
    the block says, with exit code 5, on a machine without the device it needs.
    """

    prepare: Callable[[Path], Path] = nothing
    instead: Mapping[str, str] = field(default_factory=dict)
    before: str = ""
    after: str = ""
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    refused: str = ""
    during: Callable[[Path], AbstractContextManager[dict[str, str]]] = alone
    slow: bool = False


def checkout(workspace: Path) -> Path:
    """A copy of every file that git tracks or would track, in which nothing is installed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    folder = workspace / "checkout"
    for name in filter(None, listed.stdout.split("\0")):
        copy = folder / name
        if not copy.exists() and (ROOT / name).exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy, follow_symlinks=False)
    shutil.rmtree(folder / "demo" / "bundle", ignore_errors=True)
    return folder


# without this test run's own programs and variables
FRESH: Final = 'unset PYTHONPATH XDG_CACHE_HOME; export PATH="${PATH#*:}"\n'
FRESH_ENVIRONMENT: Final = FRESH + "python3 -m venv fresh; source fresh/bin/activate\n"


def masked_models(workspace: Path) -> Path:
    """Small checkpoints under the names of the released ones."""
    from tests.published.models import image_tokenizer, omnidiffusion

    names = {
        "llada": "LLaDA-8B-Instruct",
        "dream": "Dream-v0-Instruct-7B",
        "mmada": "MMaDA-8B-MixCoT",
        "lumina_dimoo": "Lumina-DiMOO",
        "vq_amused/vqvae": "Lumina-DiMOO/vqvae",
    }
    for folder, name in names.items():
        shutil.copytree(PUBLISHED / folder, workspace / name, dirs_exist_ok=True)
    magvit = image_tokenizer("mmada")
    assert magvit is not None
    shutil.copytree(magvit, workspace / "magvitv2", dirs_exist_ok=True)
    shutil.copytree(omnidiffusion(), workspace / "Omni-Diffusion", dirs_exist_ok=True)
    return workspace


def sounds(workspace: Path) -> Path:
    """A second of two tones, next to the small checkpoints."""
    import numpy as np
    import soundfile

    for name, hertz in (("spoken", 220), ("question", 330)):
        wave = 0.3 * np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000)
        soundfile.write(workspace / f"{name}.wav", wave, 16_000)
    return masked_models(workspace)


def recordings(workspace: Path) -> Path:
    """A second of two tones, in a folder."""
    (workspace / "RECORDINGS").mkdir()
    for name in ("spoken", "question"):
        shutil.copyfile(sounds(workspace) / f"{name}.wav", workspace / "RECORDINGS" / f"{name}.wav")
    return workspace


def shards(workspace: Path) -> Path:
    """A tiny model, and shards of every source of the recipe."""
    from tests.examples.media_shards import write_shards
    from tests.tiny import tiny_model

    if not (workspace / "DATA").exists():
        tiny_model(workspace / "MODEL")
        write_shards(workspace / "DATA")
    return workspace


def voice(workspace: Path) -> Path:
    """A small OmniVoice under its own name, and a clip."""
    import soundfile

    from tests.published import omnivoice_checkpoint as checkpoint

    checkpoint.write(workspace / "OmniVoice", "few")
    soundfile.write(workspace / "voice.wav", checkpoint.clip(), 44_100)
    return workspace


def room(workspace: Path) -> Path:
    """A picture to be painted in, next to the small checkpoints."""
    from PIL import Image

    Image.new("RGB", (128, 96), (180, 160, 120)).save(workspace / "room.png")
    return masked_models(workspace)


LUMINA: Final = (
    "test -d lumina.bundle || { nextomni-edge import Lumina-DiMOO -o lumina &&"
    " nextomni-edge export lumina -o lumina.bundle --verify none; }\n"
)


def fudoki(workspace: Path) -> Path:
    from tests.models.fudoki_oracle import fudoki_source

    fudoki_source(workspace / "FUDOKI_FOLDER")
    return workspace


def qwen2(workspace: Path) -> Path:
    """A Qwen2 of the sizes of examples/own_model, with random weights."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from tests.models.published import published

    sizes = Qwen2Config(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=128, vocab_size=320, max_position_embeddings=512,
        tie_word_embeddings=False,
    )  # fmt: skip
    if hasattr(sizes, "rope_parameters"):  # transformers 5
        sizes.rope_parameters = {"rope_theta": 1e6, "rope_type": "default"}
    else:
        sizes.rope_theta = 1e6
    published(Qwen2ForCausalLM(sizes), workspace / "QWEN2_FOLDER")
    return workspace


def emoji_data(workspace: Path) -> Path:
    """Two concepts in noise, for the data of the demo."""
    from tests.examples.two_concepts import two_concepts

    (workspace / "data").mkdir()
    two_concepts(workspace / "data")
    return workspace


def picture(workspace: Path) -> Path:
    """What README's first commands draw."""
    from PIL import Image

    Image.new("RGB", (32, 32), (200, 60, 40)).save(workspace / "demo" / "rocket.png")
    return workspace


def photos(workspace: Path) -> Path:
    """A folder of two pictures and a sound, and what is asked for."""
    import numpy as np
    import soundfile
    from PIL import Image

    summer = workspace / "photos" / "2024" / "summer"
    summer.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (96, 64), (230, 200, 120)).save(workspace / "beach.jpg")
    Image.new("RGB", (96, 64), (220, 190, 110)).save(workspace / "photos" / "coast.jpg")
    Image.new("RGB", (96, 64), (40, 60, 160)).save(summer / "night.jpg")
    wave = 0.3 * np.sin(2 * np.pi * 900 * np.arange(16_000) / 16_000)
    for path in (workspace / "gull.wav", summer / "gull.wav"):
        soundfile.write(path, wave, 16_000)
    return workspace


OPTIMUM: Final = ("optimum.onnxruntime",)
INSTALLED: Final = "unset PYTHONPATH\n"  # our commands once, from the wheel
PHOTOS: Final = (
    "export NEXTOMNI_EDGE_BUNDLE=demo/bundle; nextomni-edge search index photos --quiet\n"
)
OWN_BUNDLE: Final = (
    "test -d demo/own/bundle || { python examples/own_model/train.py --out demo/own &&"
    " nextomni-edge export demo/own/model -o demo/own/bundle; }\n"
)
INT4: Final = (
    "test -d demo/int4 || nextomni-edge quantize demo/bundle -o demo/int4 --recipe int4-rtn\n"
)


@contextlib.contextmanager
def hub(workspace: Path) -> Iterator[dict[str, str]]:
    """A server that answers as the hub does, with LLaDA's small checkpoint under its own name."""
    from tests.hub.server import TOKEN, Repository, serving

    with serving() as started:
        files = {path.name: path.read_bytes() for path in (PUBLISHED / "llada").iterdir()}
        started.repositories["GSAI-ML/LLaDA-8B-Instruct"] = Repository()
        started.repositories["GSAI-ML/LLaDA-8B-Instruct"].commit(files)
        yield {"HF_ENDPOINT": started.address, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}


CONTAINER: Final = """\
export NAME=nextomni-edge-docs NEXTOMNI_EDGE_API_KEY=a-key-of-32-characters-or-longer
trap 'podman rm --force $NAME' EXIT
"""
# the image's own health check, a client outside, and a stop that is no kill
ASK_CONTAINER: Final = """\
for _ in $(seq 120); do podman healthcheck run $NAME && break || sleep 1; done
models=http://127.0.0.1:8000/v1/models
curl --fail --silent --oauth2-bearer $NEXTOMNI_EDGE_API_KEY $models
test $(curl --silent --output /dev/null --write-out '%{http_code}' $models) = 401
podman stop --time 60 $NAME
test $(podman inspect --format '{{.State.ExitCode}}' $NAME) = 0
"""
TRAIN: Final = "--out runs/emoji"
WAYS: Final[dict[tuple[str, str], Way]] = {
    ("README", "Needs a package registry, and minutes"): Way(checkout, before=FRESH, slow=True),
    ("README", "Needs a package registry"): Way(checkout, before=FRESH_ENVIRONMENT, slow=True),
    ("README", "Needs llama.cpp, and minutes"): Way(
        picture, modules=("llama_cpp", "gguf", "coremltools", "tensorrt_rtx"), slow=True
    ),
    ("start", "Needs a package registry"): Way(checkout, before=FRESH_ENVIRONMENT, slow=True),
    ("start", "Needs the Hugging Face hub, and a token of yours in HF_TOKEN"): Way(during=hub),
    ("start", "Needs openssl"): Way(programs=("openssl",)),
    ("search", "Needs pictures of your own"): Way(photos, before=PHOTOS, slow=True),
    ("search", "Needs pictures of your own, from a program"): Way(photos, slow=True),
    ("search", "Needs a terminal of its own: it runs until Ctrl-C"): Way(
        photos,
        instead={
            "nextomni-edge": "timeout --preserve-status -s INT 30 nextomni-edge",
            "demo/bundle": "demo/bundle || test $? -eq 130",  # as after Ctrl-C
        },
        slow=True,
    ),
    ("search", "Needs the package distributed"): Way(photos, modules=("distributed",), slow=True),
    ("your-model", "Needs half a minute"): Way(slow=True),
    ("your-model", "Needs shards of your data, and a model to begin from"): Way(
        shards, modules=("webdataset",), slow=True
    ),
    ("your-model", "Needs shards of your data, from a program"): Way(
        shards, modules=("webdataset",)
    ),
    ("devices", "Needs a minute of measuring"): Way(slow=True),
    ("devices", "Needs llama.cpp, which the extra gguf compiles in about six minutes"): Way(
        modules=("llama_cpp", "gguf"), instead={"demo/gguf": "demo/gguf-q8"}, slow=True
    ),
    ("devices", "Needs minutes, to convert a bundle to Core ML packages"): Way(
        modules=("coremltools",), instead={"demo/coreml": "demo/for-ios"}, slow=True
    ),
    ("browser", "Needs npm, and a package registry"): Way(programs=("npm",), slow=True),
    ("devices", "Needs tensorrt-rtx, and minutes for each engine"): Way(
        modules=("tensorrt_rtx",), slow=True
    ),
    ("devices", "Needs a package registry, and the package uv"): Way(modules=("uv",), slow=True),
    ("devices", "Needs an NVIDIA GPU"): Way(picture, refused="no NVIDIA driver here"),
    ("performance", "Needs the variant of the page Quantise, and minutes"): Way(
        before=INT4, slow=True
    ),
    ("published", "Needs the published weights"): Way(
        masked_models, instead={"768x512": "128x96"}, slow=True
    ),
    ("published", "Needs the published weights, and a picture of a room"): Way(
        room, before=LUMINA, slow=True
    ),
    ("published", "Needs Omni-Diffusion's weights, and two sounds"): Way(
        sounds,
        before="test -d omni || nextomni-edge import Omni-Diffusion -o omni\n",
        slow=True,
    ),
    ("published", "Needs OmniVoice's weights, and a clip of a voice"): Way(voice, slow=True),
    ("quality", "Needs qemu-user, and minutes"): Way(
        before=OWN_BUNDLE,
        instead={".venv/bin/python": sys.executable},
        programs=("qemu-x86_64",),
        slow=True,
    ),
    ("quality", "Needs espeak-ng, flite and npm"): Way(
        instead={"pip install": "python -m pip install"},
        programs=("espeak-ng", "flite", "npm"),
        slow=True,
    ),
    ("quality", "Needs the data, and about seven hours of one core"): Way(
        emoji_data, instead={TRAIN: f"{TRAIN} --batch-size 2 --steps 2"}, slow=True
    ),
    ("quantise", "Needs minutes of calibration"): Way(
        instead={"demo/int4": "demo/int4-gptq"}, slow=True
    ),
    ("your-model", "Needs a Qwen2 of the recipe's sizes"): Way(qwen2, slow=True),
    ("your-model", "Needs FUDOKI's released weights"): Way(fudoki, slow=True),
    ("your-model", "Needs recordings of yours"): Way(
        recordings,
        before=OWN_BUNDLE,
        instead={"--steps 20000": "--steps 2 --width 16"},
        slow=True,
    ),
    ("your-model", "Needs the package optimum-onnx"): Way(
        before=INSTALLED,
        programs=("optimum-cli",),
        modules=OPTIMUM,
        instead={"demo/bundle": "demo/optimum", "demo/int8": "demo/optimum-int8"},
        slow=True,
    ),
    ("your-model", "Needs the package optimum-onnx, from a program"): Way(
        before=INSTALLED, modules=OPTIMUM, slow=True
    ),
    ("serve", "Needs podman"): Way(
        checkout,
        before=CONTAINER,
        instead={"podman run --rm": "podman run --detach --name $NAME", "./demo": "../demo"},
        after=ASK_CONTAINER,
        programs=("podman",),
        slow=True,
    ),
}
