"""What the three openings make short: a path, a modality and a format are one file and one line."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.openings.opened import Opened

HERE = Path(__file__).parent


def test_a_third_path_is_one_file_and_one_line(tmp_path: Path) -> None:
    opened = Opened(tmp_path / "copy")
    opened.add(
        HERE / "ordinal.py", "flow/ordinal.py", "flow/path.py",
        '    "metric": "nextomni_edge.flow.metric:MetricPath",',
        '    "ordinal": "nextomni_edge.flow.ordinal:OrdinalPath",',
    )  # fmt: skip
    said = opened.run("run_path.py", str(tmp_path))
    assert said == "stepper is 'euler': the path of image has walk\n"


def test_a_modality_is_one_file_and_one_line(tmp_path: Path) -> None:
    opened = Opened(tmp_path / "copy")
    opened.add(
        HERE / "gesture.py", "modalities/gesture.py", "modalities/table.py",
        '    "nextomni_edge.modalities.video:VIDEO",',
        '    "nextomni_edge.modalities.gesture:GESTURE",',
    )  # fmt: skip
    tokens = ast.literal_eval(opened.run("run_modality.py", str(tmp_path)))
    assert len(tokens) == 4 and all(0 <= code < 16 for point in tokens for code in point)
