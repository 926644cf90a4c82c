"""What devices offer, with the source of every figure.

Operations are dense. Makers advertise twice as many, for sparse weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

GB: Final = 10**9
TERA: Final = 10**12


@dataclass(frozen=True)
class Device:
    """memory: all bytes. reserved: the bytes of these that the system keeps (our estimate where no
    source says it). bandwidth: bytes/s. operations: additions and multiplications per second, by
    the precision of the weights. loaded: bytes in memory per byte stored, where the runtime stores
    weights differently in memory."""

    name: str
    memory: int
    reserved: int
    bandwidth: float
    operations: Mapping[str, float]
    source: str
    loaded: Mapping[str, float] = field(default_factory=dict)


def _rates(float32: float, float16: float, int8: float) -> dict[str, float]:
    """INT4 weights multiply in float16: no runtime here multiplies two 4-bit integers on these
    devices."""
    return {
        "float32": float32 * TERA,
        "float16": float16 * TERA,
        "int8": int8 * TERA,
        "int4": float16 * TERA,
    }


DEVICES: Final = {
    "orin-nano-8gb": Device(
        "Jetson Orin Nano 8GB, MAXN SUPER",
        8 * GB,
        2 * GB,
        102 * GB,
        _rates(2.1, 17, 33),
        "NVIDIA's Orin Nano Super announcement (2024): 102 GB/s, 67 TOPS sparse INT8, "
        "1024 cores at 1.02 GHz"
        "; reserve: estimate",
    ),
    "orin-agx": Device(
        "Jetson AGX Orin 64GB",
        64 * GB,
        4 * GB,
        204.8 * GB,
        _rates(5.3, 42.5, 85),
        "NVIDIA's AGX Orin technical brief v1.2: 204.8 GB/s, GPU 170 TOPS sparse INT8, "
        "5.3 TFLOPS float32"
        "; reserve: estimate",
    ),
    "rtx-4060": Device(
        "GeForce RTX 4060 8GB",
        8 * GB,
        GB,
        272 * GB,
        _rates(15.1, 60.5, 121),
        "NVIDIA's Ada architecture figures: 272 GB/s, 15.1 TFLOPS float32, 242 TOPS sparse INT8"
        "; reserve: estimate",
    ),
    "h100": Device(
        "H100 SXM 80GB",
        80 * GB,
        GB,
        3350 * GB,
        _rates(67, 989, 1979),
        "NVIDIA's H100 data sheet (2023): 3,350 GB/s, 67 TFLOPS float32, 3,958 TOPS sparse INT8"
        "; reserve: estimate",
    ),
    "iphone": Device(
        "iPhone 15 Pro (A17 Pro)",
        8 * GB,
        2 * GB,
        51.2 * GB,
        _rates(2.1, 17.5, 35),
        "Apple: Neural Engine 35 trillion operations a second; not published, derived: "
        "64 bits of LPDDR5-6400, float16 at half"
        " that, GPU float32"
        "; reserve: estimate",
    ),
}
