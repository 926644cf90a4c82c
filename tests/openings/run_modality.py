"""Takes a gesture from a file to tokens, into a conversation, out of a generation and back to a
file; run in a copy that has the modality."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

from nextomni_edge.config import CodebookConfig, CodedConfig, HeadConfig, ModelConfig, PathConfig
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.graphs import graph_specs
from nextomni_edge.media.kinds import kind_of
from nextomni_edge.media.parts import Lengths, file_part
from nextomni_edge.modalities.table import MODALITIES
from nextomni_edge.spec import Wire
from nextomni_edge.tokens.chat import Part, Turn, conversation, respond
from tests.generate.fake import Fake, FakeSession
from tests.tiny import tiny_config

STEP = 16  # a point's coordinates are two sub-codes, in sixteenths

folder = Path(sys.argv[1])
gesture = CodedConfig(
    "gesture", 5, CodebookConfig(2, 16, 4), HeadConfig("parallel", 16, 1, 2), PathConfig(steps=4)
)
config = dataclasses.replace(
    tiny_config(), modalities=("text", "image", "audio", "gesture"), more=(gesture,)
)
assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
assert list(graph_specs(config))[-2:] == ["gesture_encoder", "gesture_decoder"]

fake = Fake(folder, whole=config)
codec = {
    "gesture_encoder": lambda inputs: np.rint(inputs["points"] * STEP),
    "gesture_decoder": lambda inputs: inputs[Wire.CODES] / STEP,
}
for name, function in codec.items():
    fake.sessions[name] = FakeSession(graph_specs(config)[name], function)
encoder = fake.sessions["gesture_encoder"]
encoder._run = lambda inputs, outputs: {  # type: ignore[method-assign]  # codes are integers
    outputs[0]: codec["gesture_encoder"](inputs).astype(np.int64)
}

drawn = np.array([[0.0, 0.25], [0.5, 0.75], [0.1875, 0.9375]], np.float32)
np.savetxt(folder / "wave.csv", drawn, delimiter=",")
assert kind_of(folder / "wave.csv") == "gesture"
part = file_part(fake.model, "gesture", folder / "wave.csv")
assert part.kind == "gesture" and part.value.shape == (3, 2)
assert file_part(Lengths(config), "gesture", folder / "wave.csv").value.shape == (3, 2)
np.testing.assert_array_equal(fake.model.decode("gesture", part.value), drawn)

special, tokenizer = fake.model.tokenizer.special, fake.model.tokenizer
turns = [Turn("user", (part, Part("text", "what is this?")))]
asked = respond(conversation(tokenizer, turns), "gesture", config, tokenizer, 4)
start, end = special.around("gesture")
assert start >= 0 and {start, end} <= set(special.markers)
seen = [segment.tokens.tolist() for segment in asked.segments]
assert [start] in seen and [end] in seen and part.value.tolist() in seen

finished = generate(fake.model, asked, GenerationOptions.defaults(config, "gesture", seed=3))
answer = fake.model.response(finished)
assert answer.kind == "gesture" and answer.value.shape == (4, 2)
points = fake.model.decode("gesture", answer.value)
MODALITIES["gesture"].write(folder / "answer.csv", points, config, 8.0)
np.testing.assert_allclose(np.loadtxt(folder / "answer.csv", delimiter=","), points)
print(answer.value.tolist())
