"""Results and the code that they measure: each has its script and its revision, and those that are
older than the code are told as a warning."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from types import ModuleType

import pytest

from tests.sources import ROOT


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ages", ROOT / "benchmarks" / "ages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ages"] = module
    spec.loader.exec_module(module)
    return module


def test_a_script_is_measured_by_what_it_imports(tool: ModuleType) -> None:
    code = {path.relative_to(ROOT).as_posix() for path in tool.code_of(tool.script_of(
        "benchmarks/frontier.json"))}  # fmt: skip
    assert {"benchmarks/frontier.py", "calibration/report/agreement.py"} <= code
    assert "nextomni_edge/bundle/__init__.py" in code


def test_what_measures_the_demo_is_as_old_as_its_weights(tool: ModuleType) -> None:
    for results, measured in (
        ("benchmarks/latency.json", True),
        ("benchmarks/caches.json", True),
        ("demo/eval.json", True),
        ("benchmarks/smollm2.json", False),
    ):
        assert (tool.CHECKPOINT in tool.code_of(tool.script_of(results))) is measured, results


def test_every_result_has_its_script_and_revision(tool: ModuleType) -> None:
    if not tool.whole_history():
        pytest.skip("no git, or not all of its history: the results' revisions are not known here")
    found = tool.ages()
    assert len(found) > 20
    assert all(tool.script_of(age.results).exists() for age in found)
    assert {age.results: age.pages for age in found if not age.pages} == {}
    if older := [str(age) for age in found if age.later]:
        warnings.warn("older than the code they measure:\n" + "\n".join(older), stacklevel=1)


def test_results_without_a_script_are_seen(tool: ModuleType) -> None:
    assert not tool.script_of("benchmarks/nobody.json").exists()
    assert tool.script_of("demo/eval.json") == ROOT / "examples" / "emoji" / "exam.py"
