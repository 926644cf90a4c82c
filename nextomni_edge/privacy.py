"""No telemetry: what vendors' libraries would record or send is switched off before any of them is
imported. The package's `__init__` calls `switch_off`, so every other module comes after it."""

from __future__ import annotations

import os
import sys
from typing import Final

VARIABLES: Final = {
    # since 1.32 a device identifier under the home folder, and events to a server
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
# OpenVINO uses it where it can be imported, and has a stub of its own where it cannot.
MODULES: Final = ("openvino_telemetry",)


def switch_off() -> None:
    """Set the variables, for this process and those that it starts, and hide the modules. A module
    that somebody imported before stays: it has done what it does at import."""
    os.environ.update(VARIABLES)
    for name in MODULES:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
