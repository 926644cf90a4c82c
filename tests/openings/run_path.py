"""Generates images over the third path and checks every step; run in a copy that has it."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import torch

from nextomni_edge.config import ModelConfig, PathConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.flow.path import paths_of
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import StepRecord
from tests.generate.fake import Fake
from tests.tiny import tiny_config

config = tiny_config()
third = PathConfig(kind="ordinal", steps=6)
config = dataclasses.replace(config, flow=dataclasses.replace(config.flow, image=third))
assert config.to_json()["flow"]["image"]["kind"] == "ordinal"
assert "kind" not in config.to_json()["flow"]["text"]
assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config

fake, records = Fake(Path(sys.argv[1]), whole=config), list[StepRecord]()
options = GenerationOptions.defaults(config, "image", seed=5)
assert options.stepper == "walk"
finished = generate(fake.model, fake.ask("image"), options, records.append)
(place,) = finished.generated()
states = [record.x_t[0] for record in records] + [finished.segments[place].tokens]
for record, now, then in zip(records, states, states[1:], strict=False):
    x_1 = record.x_1[0]
    assert (np.abs(x_1 - then) <= np.abs(x_1 - now)).all()  # no row walks away from its x_1
np.testing.assert_array_equal(states[-1], records[-1].x_1[0])
assert len(records) == 6 and (states[0] != states[-1]).any()

text = GenerationOptions.defaults(config, "text")
assert text.stepper == "euler"
try:
    generate(fake.model, fake.ask("image"), dataclasses.replace(options, stepper="euler"))
except UsageError as error:
    print(error)

(path,) = paths_of(third, 1, 16, lambda: 1 / 0)  # it reads no table
x_1 = torch.tensor([3, 9])
assert path.corrupt(x_1, 1.0, torch.tensor([0.1, 0.9])).tolist() == [3, 9]
