"""What OmniVoice's package was asked for, in its own words, and the draws that it was given."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

FOLDER = Path(__file__).with_name("golden") / "omnivoice"
GREEDY = {"class_temperature": 0.0, "position_temperature": 0.0}
STORY = (
    "The train to Gdańsk left at 9:15, Dr. Ito said. Nobody (not even Mr. Li) had seen it! Was it"
    " late? It was; the signal at the bridge had failed, and so we waited in the rain, with two"
    " dogs and a bag of pears, until a woman in a red coat came and told us to walk along the"
    " river. We walked. The river was high and brown, and it carried whole trees. At noon we came"
    " to a house with a green door, where a man gave us soup and asked about the war."
    " Nobody knew of one. He laughed, and his wife, who had come in from the garden with a basket,"
    " said that he asked everyone the same."
)
CASES: dict[str, dict[str, Any]] = {
    "plain": {"text": "Hello, how are you today?", "language": "English", **GREEDY},
    "unguided": {"text": "Ça va [laughter] bien?\n", "guidance_scale": 0.0, **GREEDY},
    "design": {"text": "今天 天气（很）好。", "language": "zh", "instruct": "Female, low pitch",
               **GREEDY},
    "accent": {"text": "你好 it is [sigh] me", "instruct": "british accent,male", "speed": 1.4,
               "t_shift": 0.5, "layer_penalty_factor": 1.0, **GREEDY},
    "voice": {"text": "What a  lovely day", "language": "fr", **GREEDY},
    "noisy_voice": {"text": "Привет!", "denoise": False, "duration": 1.2, **GREEDY},
    "batch": {"text": ["One.", "Two and three, and four.", "五六七"],
              "language": ["en", None, "zh"], **GREEDY},
    "short": {"text": "Short.", "duration": 0.36, **GREEDY},
    "short_voice": {"text": "Short.", "duration": 0.36, **GREEDY},
    "position_noise": {"text": "Where to begin?", "class_temperature": 0.0,
                       "position_temperature": 5.0},
    "all_noise": {"text": "Where to begin?", "class_temperature": 1.5, "position_temperature": 3.0},
    "long": {"text": STORY, "language": "en", **GREEDY},
    "long_voice": {"text": STORY, "language": "en", "duration": 31.0, **GREEDY},
}  # fmt: skip
LONG = ("long", "long_voice")


def voiced(case: str) -> bool:
    """Whether it speaks in the recorded voice."""
    return "voice" in case


class Uniform:
    """The draws of one case, in the order in which the package asks for them."""

    def __init__(self, case: str) -> None:
        self.generator = np.random.Generator(np.random.Philox(key=zlib.crc32(case.encode())))

    def draw(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return self.generator.random(shape, dtype=np.float32)

    def like(self, tensor: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.from_numpy(self.draw(tuple(tensor.shape)))


# texts, and the most characters of a piece
TEXTS = (
    (STORY, 100), (STORY, 40), ("Hello.  World (“so”)! e.g. this,\nor that", 12),
    ("你好 ， 世界。再见", 4),
    ("No. 5, Mr. Li", 5), ("a", 3), (". . .", 2),
    ("Привет, мир! नमस्ते दुनिया। 안녕하세요 こんにちは", 9),
    ("مَرْحَبًا 🌍 ๒๕ ሰላም", 30), ("1,234.5 km/h → 99%", 6), ("“Yes,” she said. “No.” He left", 14),
)  # fmt: skip
DESIGNS = (
    ("male, elderly", "hi"), ("Male，ELDERLY,", "你好"), ("四川话, female", "hi"), ("耳语", "hi"),
    ("british accent, 男", "你好"), ("male, female", "hi"), ("四川话, korean accent", "hi"),
    ("femal", "hi"), (" ", "hi"),
)  # fmt: skip
RATES = ((44_100, 24_000), (24_000, 16_000), (8_000, 24_000), (48_000, 24_000), (22_050, 24_000))


def signal(seed: int, samples: int) -> NDArray[np.float32]:
    """Noise, (samples,) float32."""
    drawn = np.random.Generator(np.random.Philox(key=seed)).random(samples, np.float32)
    return drawn - np.float32(0.5)


def patchy(seed: int, rate: int) -> NDArray[np.float32]:
    """Noise of changing loudness, with silences, (samples,) float32."""
    generator = np.random.Generator(np.random.Philox(key=100 + seed))
    loudness = (0.0, 0.002, 0.0062, 0.0066, 0.2, 1.9)
    parts = [
        signal(1000 * seed + index, int(generator.integers(1, rate)))
        * np.float32(loudness[int(generator.integers(len(loudness)))])
        for index in range(int(generator.integers(2, 9)))
    ]
    return np.concatenate(parts)
