"""`optimum-cli export nextomni` and `optimum-cli onnxruntime-nextomni quantize`: this package's own
commands, by the names that users of Hugging Face's optimum look for.

optimum imports this file where both are installed. The folders above it hold no `__init__.py`: they
are a namespace, which optimum and optimum-onnx share (PEP 420).
"""

from __future__ import annotations

import argparse
import sys

from optimum.commands.base import BaseOptimumCLICommand, CommandInfo
from optimum.commands.export.base import ExportCommand


def run(*arguments: str) -> None:
    """Our own command line, which ends the process with its own exit code."""
    from nextomni_edge.cli import main

    sys.argv = ["nextomni-edge", *arguments]
    main()


class ExportNextOmni(BaseOptimumCLICommand):
    """`nextomni-edge export MODEL -o OUT …`."""

    COMMAND = CommandInfo("nextomni", help="Export an any-to-any discrete-flow model to a bundle.")

    @staticmethod
    def parse_args(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "-m", "--model", required=True, help="a model directory, or hf:OWNER/NAME"
        )
        parser.add_argument("output", help="the bundle to write")
        parser.add_argument(
            "options", nargs=argparse.REMAINDER, help="options of `nextomni-edge export`"
        )

    def run(self) -> None:
        run("export", self.args.model, "-o", self.args.output, *self.args.options)


class QuantizeNextOmni(BaseOptimumCLICommand):
    """`nextomni-edge quantize BUNDLE -o OUT …`."""

    @staticmethod
    def parse_args(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--onnx_model", required=True, help="the bundle")
        parser.add_argument("-o", "--output", required=True, help="the bundle to write")
        parser.add_argument("--recipe", default="int8-dynamic", help="int8-dynamic, int4, …")
        parser.add_argument(
            "options", nargs="*", help="after --: more options of `nextomni-edge quantize`"
        )

    def run(self) -> None:
        given = self.args
        run(
            "quantize", given.onnx_model, "-o", given.output, "--recipe", given.recipe,
            *given.options,
        )  # fmt: skip


class OnnxRuntimeNextOmni(BaseOptimumCLICommand):
    """What ONNX Runtime's bundles can be made to be."""

    COMMAND = CommandInfo("onnxruntime-nextomni", help="Quantise a bundle for ONNX Runtime.")
    SUBCOMMANDS = (
        CommandInfo("quantize", help="Write a smaller bundle.", subcommand_class=QuantizeNextOmni),
    )


REGISTER_COMMANDS = [(ExportNextOmni, ExportCommand), OnnxRuntimeNextOmni]
