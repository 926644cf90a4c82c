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


def test_a_format_is_one_file_and_one_line(
    tmp_path: Path, tiny_bundle: Path, tiny_checkpoint: Path
) -> None:
    """Its runtime is a line of its own table, as every runtime is."""
    opened = Opened(tmp_path / "copy")
    opened.add(
        HERE / "rows.py", "runtimes/rows.py", "bundle/component_format.py", "_RECORDS = (",
        '    Format("rows", "table", ("rows",), "nextomni_edge.runtimes.rows:check_stored"),',
    )  # fmt: skip
    opened.line(
        "runtimes/base.py", "RUNTIMES: Final = {",
        '    "rows": ("nextomni_edge.runtimes.rows", "RowsRuntime", "cpu"),',
    )  # fmt: skip
    said = opened.run("run_format.py", str(tiny_bundle), str(tiny_checkpoint), str(tmp_path))
    ran, refused = said.splitlines()
    provider, *runtimes, tasks = ran.split(" ")
    assert (provider, runtimes) == ("numpy", ["onnx,", "rows"]) and int(tasks) >= 8
    assert refused.startswith("rows of shape (3, 2), expected (")
