"""The Kotlin loop and its tests, compiled for a desktop's JVM. The compiler is that of the PyPI
package kotlin-jupyter-kernel, which `make test-android` puts into build/kotlin."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nextomni_edge.pack.android import SOURCES
from tests.sources import ROOT

KOTLIN = ROOT / "build/kotlin"
LOOP = SOURCES / "src/main/kotlin/nextomni/edge"
TESTS = Path(__file__).with_name("kotlin")
ANDROID = "android"  # the folder of what needs Android
COMPILER = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
HEAP = "-Xmx1200m"
# runs of seconds gain nothing from the JVM's optimising compiler
SHORT = "-XX:TieredStopAtLevel=1"


class MissingCompilerError(Exception):
    """One sentence: no Java, or no Kotlin compiler."""


def jars() -> list[Path]:
    """The compiler's jars. MissingCompilerError: they or Java are not there."""
    if shutil.which("java") is None:
        raise MissingCompilerError("no java on PATH; install a JDK 17 or newer")
    found = sorted(KOTLIN.glob("run_kotlin_kernel/jars/*.jar"))
    if not found:
        raise MissingCompilerError(
            "no Kotlin compiler in build/kotlin: `make test-android` installs it"
        )
    return found


def standard_library() -> Path:
    (found,) = KOTLIN.glob("run_kotlin_kernel/jars/kotlin-stdlib-*.jar")
    return found


@functools.cache
def compiled() -> Path:
    """The folder of classes: the loop and its tests. AssertionError and MissingCompilerError: see
    `classes_of`."""
    files = [path for path in LOOP.rglob("*.kt") if path.parent.name != ANDROID]
    return classes_of([*files, *TESTS.glob("*.kt")])


@functools.cache
def stood_in() -> Path:
    """The folder of classes of what needs Android, next to a stand-in for what it uses."""
    files = [*(LOOP / ANDROID).glob("*.kt"), *(TESTS / "standin").glob("*.kt")]
    return classes_of(files, compiled())


def classes_of(files: list[Path], *others: Path) -> Path:
    """The folder of these files' classes, which may use those of other folders. AssertionError: an
    error or a warning of the compiler. MissingCompilerError: see `jars`."""
    found, files = jars(), sorted(files)
    contents = (path.read_bytes() for path in files)
    digest = hashlib.sha256(b"".join([*(other.name.encode() for other in others), *contents]))
    out = KOTLIN / f"classes-{digest.hexdigest()[:16]}"
    if not out.exists():
        part = out.with_suffix(f".{os.getpid()}")
        done = subprocess.run(
            ["java", HEAP, SHORT, "-cp", classpath(*found), COMPILER, "-no-stdlib", "-no-reflect",
             "-jvm-target", "17", "-Werror", "-cp", classpath(standard_library(), *others),
             "-d", str(part), *map(str, files)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        try:
            part.rename(out)
        except OSError:  # another process compiled the same
            shutil.rmtree(part)
    return out


def classpath(*places: Path) -> str:
    return os.pathsep.join(map(str, places))


def command(program: str, *arguments: str, stand_in: bool = False) -> list[str]:
    """What runs a program of tests/pack/kotlin: the file that holds its `main`."""
    more = [stood_in()] if stand_in else []
    classes = classpath(*more, compiled(), standard_library())
    return ["java", HEAP, SHORT, "-cp", classes, f"nextomni.edge.tests.{program}Kt", *arguments]


def needs_compiler() -> None:
    """Skip the test, and say why, where there is no Java or no compiler."""
    try:
        jars()
    except MissingCompilerError as error:
        pytest.skip(f"{error}: the Kotlin loop was not run")
