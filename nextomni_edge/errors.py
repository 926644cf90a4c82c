"""The package's exceptions. Each carries the exit code of the command line (DESIGN, exit codes)."""


class NextOmniError(Exception):
    """Base of every error that is meant for a person: one line saying what was found, what was
    expected, what to do."""

    exit_code = 1


class UsageError(NextOmniError):
    """An option, or a combination of options, that cannot be meant."""

    exit_code = 2


class InputError(NextOmniError):
    """A file, manifest, checkpoint or tensor that is not what it must be."""

    exit_code = 3


class GateError(NextOmniError):
    """A parity check or a quality gate that was not met, NaN included."""

    exit_code = 4


class MissingRuntimeError(NextOmniError):
    """A runtime library or an execution provider that is not here."""

    exit_code = 5
