"""The kinds of faults that outsiders found, and where each is held.

What they reported is mended, and most of it is a case. Each kind also has at least three inputs
that nobody reported: the sweep for siblings. The table quotes three of each from their tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent
# Kind → a file of tests, and inputs in it that were not reported.
KINDS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "an output over an input": {
        "cli/test_outputs.py": ('"twin", "model/weights"', "B/edge.tar", "B/trace.safetensors"),
    },
    "telemetry": {"cli/test_privacy.py": ('"train R', '"serve B', '"huggingface_hub"')},
    "a tokenizer's switches": {
        "tokens/test_switches.py": (
            'truncation(0, strategy="OnlyFirst")', '"model_dropout": 0.01', '"BatchLongest", "Left"'
        ),
    },
    "configs of others": {
        "checkpoints/test_published_config.py": (
            '"final_logit_softcapping"', '"residual_multiplier"', '"mrope_section"'
        ),
    },
    "media half read": {
        "media/test_half_read.py": (
            "test_bytes_behind_the_sound_are_no_sound", "test_all_eight_ways_to_show_a_film",
            "test_a_sound_of_any_kind_that_was_cut_off_is_refused",
        ),
    },
    "ends of version ranges": {
        "floors.py": ('"serve"', '"heif"', '"setuptools"'),
    },
    "another kind of processor": {
        "verify/test_processor.py": ('("arm64", "",', '("riscv64",', '["avx2"] * 33'),
    },
    "FUDOKI's layout": {
        "checkpoints/test_fudoki_layout.py": (".quant_conv.", 'heads("4")', "width=1024"),
    },
    "graphs": {
        "bundle/hostile_operators.py": (
            "a remainder of 0", "a picture enlarged NaN times", "a stride of 0"
        ),
    },
    "tokenizers": {
        "bundle/hostile_tokenizers.py": ("a pattern that calls itself", "a template without end"),
        "tokens/test_text_doors.py": ('{"merges": [1, 2]}',),
    },
    "sizes in configs": {
        "bundle/hostile_configs.py": (
            "text.metric_dim", "image.codebook's tables", "audio.frames_per_token"
        ),
    },
    "what is no file": {
        "bundle/hostile_siblings.py": (
            "a tokenizer that is a socket", "a graph that is a link to itself"
        ),
        "media/test_opened_once.py": ("os.mkfifo",),
    },
    "pickled tables": {
        "checkpoints/test_layouts.py": (
            "hashing by dup", "a list in itself", "a call after the real table"
        ),
    },
    "a trace that proves nothing": {
        "verify/test_golden_schema.py": (
            '["a", "a"]', "steps=2**30", "of 'backbone' are no list of names"
        ),
    },
    "terminal escapes": {"cli/test_console.py": (r"\x07", r"\u202e", r"\udce9")},
    "numbers": {"cli/test_numbers.py": ('"zwölf"', '"1e999"', "2**20")},
    "streams": {"cli/test_streams.py": ("<&- >&- 2>&-", "2>/dev/full", r"\xed\xa0\x80")},
    "one line": {
        "cli/test_strangers.py": ('"3e38": 3e38', '"minus infinity"', '"doctor"'),
    },
    "file systems": {
        "bundle/test_beside.py": ("weights/.DS_Store", "../../other", "errno.EINVAL"),
    },
    "determinism": {"export/test_bundle.py": ("(1, 2, 3, 7)",)},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_fault_has_inputs_that_nobody_reported(kind: str) -> None:
    for file, quoted in KINDS[kind].items():
        text = (TESTS / file).read_text(encoding="utf-8")
        assert not [words for words in quoted if words not in text]
    assert kind == "determinism" or sum(map(len, KINDS[kind].values())) >= 3
