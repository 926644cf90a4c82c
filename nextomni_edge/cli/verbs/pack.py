"""`pack`: a bundle wrapped for a device."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from nextomni_edge.cli.bundle_path import BUNDLE
from nextomni_edge.cli.console import OUTPUT, Console, common_options
from nextomni_edge.files import check_output
from nextomni_edge.pack import TARGETS
from nextomni_edge.pack.wheels import PYTHONS


@click.command()
@click.argument("bundle", type=BUNDLE)
@click.option(
    "--for", "target", type=click.Choice(list(TARGETS)), required=True, help="The kind of device."
)
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    required=True,
    help="The archive or folder to write.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace an existing one. It stays whole until the new one is complete.",
)
@click.option(
    "--onnxruntime-web",
    type=click.Path(path_type=Path, file_okay=False),
    help="For web: the folder of this npm package. By default that of node_modules here or above.",
)
@click.option(
    "--wheels",
    is_flag=True,
    help="Download every library's wheel into a Jetson's archive, which then needs no network.",
)
@click.option(
    "--python",
    type=click.Choice(list(PYTHONS)),
    default="3.10",
    show_default=True,
    help="The Jetson's Python, with --wheels: 3.10 is JetPack 6's, 3.12 is JetPack 7's.",
)
@common_options
def pack(
    console: Console,
    bundle: Path,
    target: str,
    output: Path,
    overwrite: bool,
    onnxruntime_web: Path | None,
    wheels: bool,
    python: str,
) -> None:
    """Pack BUNDLE with everything that a device needs to run it.

    An archive with an installer for a Jetson, a Swift package for iOS, a Gradle module for Android,
    a folder with a page for browsers.
    """
    check_output(output, overwrite)
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.pack import pack as run_pack

    report = run_pack(
        Bundle.open(bundle), output, target, overwrite, onnxruntime_web, python if wheels else None
    )
    text = (
        f"{report.files} files, {report.bytes:,} bytes written to {report.out}; next: {report.next}"
    )
    console.result(asdict(report) | {"out": str(report.out)}, text)
