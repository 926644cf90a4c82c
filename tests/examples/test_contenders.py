"""benchmarks/contenders.py: processes that answer in turn, one that cannot run, and one without
which nothing is compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPT = """
import json
from contenders import answer_all, parser, started

given = parser(__file__, None, "models", 3).parse_args()
if given.worker:
    def load():
        if given.worker == "broken":
            raise ValueError("no such library\\nand more lines")
        return lambda asked: asked["n"] * given.threads
    answer_all(load, lambda: "1.0")
else:
    with started(__file__, ["whole", "broken"], given, given.folder.name) as (here, absent):
        timed = [
            (one.name, sorted(one.started), one.started["load_s"] > 0, one.seconds(n=3),
             one.memory())
            for one in here
        ]
        print(json.dumps([timed, absent, given.out.name, given.rounds]))
"""


def compare(folder: Path, reference: str) -> subprocess.CompletedProcess[str]:
    script = folder / "compared.py"
    script.write_text(SCRIPT)
    given = [sys.executable, str(script), "--threads", "2", "--folder", reference]
    return subprocess.run(
        given, env={"PYTHONPATH": str(BENCHMARKS)}, capture_output=True, text=True, check=False
    )


def test_those_that_run_answer_and_the_others_say_why_not(tmp_path: Path) -> None:
    found = json.loads(compare(tmp_path, "whole").stdout)
    memory = found[0][0].pop()
    assert not memory or 0 < memory["private"] < memory["resident"] <= memory["peak"]
    assert found == [
        [["whole", ["load_s", "version"], True, 6.0]],
        {"broken": "no such library"},
        "compared.json",
        3,
    ]


def test_without_what_all_is_compared_with_there_is_no_measurement(tmp_path: Path) -> None:
    ended = compare(tmp_path, "broken")
    assert ended.returncode == 1 and ended.stdout == ""
    assert ended.stderr.endswith(
        "broken, which all is compared with, does not run: no such library\n"
    )
