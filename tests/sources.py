"""The package's modules and what each imports, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "nextomni_edge"


def modules() -> dict[str, Path]:
    """Every module by its name below the package; links are followed as the import system does."""
    found: dict[str, Path] = {}
    for folder in (
        ROOT / PACKAGE,
        *(ROOT / name for name in ("export", "runtimes", "calibration")),
    ):
        prefix = "" if folder.name == PACKAGE else f"{folder.name}."
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[prefix + ".".join(part for part in parts if part != "__init__")] = path
    return {name.rstrip("."): path for name, path in found.items() if name}


MODULES = modules()


def imports(path: Path, top: bool) -> Iterator[tuple[str, int]]:
    """(module, line) of each import: all of them, or those alone that run when the module is
    imported."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module or "", node.lineno
            yield from (
                (f"{node.module}.{alias.name}", node.lineno)
                for alias in node.names
                if f"{node.module}.{alias.name}" in OURS
            )
        skipped = top and (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            or is_for_types(node)
        )
        pending += [] if skipped else list(ast.iter_child_nodes(node))


def is_for_types(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


OURS = {PACKAGE} | {f"{PACKAGE}.{name}" for name in MODULES}
