"""The few calls of NVIDIA's driver that an engine's session needs: memory, copies, a stream,
captured graphs.

Every usable GPU has the driver (libcuda); the CUDA toolkit is not needed. Built, not executed here:
no GPU.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any, Final

from nextomni_edge.errors import MissingRuntimeError, NextOmniError
from nextomni_edge.runtimes.tensorrt.device import Copy

LIBRARY: Final = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # attributes of a device: its compute capability
_NON_BLOCKING: Final = 1  # a stream that does not wait for the default one
_THREAD_LOCAL: Final = 1  # a capture that other threads' calls do not disturb
_HOST, _DEVICE = 1, 2  # kinds of memory in a copy of rows
OUT_OF_MEMORY: Final = 2


class _Rows(ctypes.Structure):
    """CUDA_MEMCPY2D: `height` rows of `width` bytes between two places with pitches of their
    own."""

    _fields_ = [
        (f"{side}{name}", kind)
        for side in ("src", "dst")
        for name, kind in (
            ("XInBytes", c_size_t), ("Y", c_size_t), ("MemoryType", c_uint), ("Host", c_void_p),
            ("Device", c_uint64), ("Array", c_void_p), ("Pitch", c_size_t),
        )
    ] + [("WidthInBytes", c_size_t), ("Height", c_size_t)]  # fmt: skip


_SIGNATURES: Final[dict[str, tuple[Any, ...]]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDeviceTotalMem_v2": (POINTER(c_size_t), c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuCtxSetCurrent": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemsetD8Async": (c_uint64, ctypes.c_ubyte, c_size_t, c_void_p),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuMemcpy2DAsync_v2": (POINTER(_Rows), c_void_p),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_uint),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_uint64),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
}


class Driver:
    """NVIDIA's driver, with its errors turned into ours."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
            for name, arguments in _SIGNATURES.items():
                getattr(self._library, name).argtypes = arguments
        except (OSError, AttributeError) as error:
            raise MissingRuntimeError(
                f"no NVIDIA driver here ({error}); on a PC: sudo ubuntu-drivers install; a Jetson"
                " has it from JetPack"
            ) from error

    def call(self, name: str, *arguments: Any) -> None:
        """NextOmniError: the driver refused."""
        code = getattr(self._library, name)(*arguments)
        if code:
            raise NextOmniError(f"CUDA: {name} failed ({self._error(code)})")

    def _error(self, code: int) -> str:
        text = c_char_p()
        self._library.cuGetErrorString(code, byref(text))
        return text.value.decode() if text.value else f"error {code}"


class CudaDevice:
    """One GPU and one stream of it. All work of a session goes there, in order. A `Device` (see
    device.py)."""

    def __init__(self, driver: Driver, ordinal: int) -> None:
        self.driver, self._handle = driver, c_int()
        driver.call("cuDeviceGet", byref(self._handle), ordinal)
        name = ctypes.create_string_buffer(128)
        driver.call("cuDeviceGetName", name, len(name), self._handle)
        self.name = name.value.decode()
        self.capability = f"sm{self._attribute(_MAJOR)}{self._attribute(_MINOR)}"
        memory = c_size_t()
        driver.call("cuDeviceTotalMem_v2", byref(memory), self._handle)
        self.memory = memory.value

    @functools.cached_property
    def _context(self) -> c_void_p:
        context = c_void_p()
        self.driver.call("cuDevicePrimaryCtxRetain", byref(context), self._handle)
        return context

    @functools.cached_property
    def _stream(self) -> c_void_p:
        stream = c_void_p()
        self.enter()
        self.driver.call("cuStreamCreate", byref(stream), _NON_BLOCKING)
        return stream

    @property
    def stream(self) -> int:
        return int(self._stream.value or 0)

    def _attribute(self, number: int) -> int:
        found = c_int()
        self.driver.call("cuDeviceGetAttribute", byref(found), number, self._handle)
        return found.value

    def enter(self) -> None:
        """Let the calling thread work on this GPU."""
        self.driver.call("cuCtxSetCurrent", self._context)

    def allocate(self, nbytes: int) -> int:
        address = c_uint64()
        self.driver.call("cuMemAlloc_v2", byref(address), max(nbytes, 1))
        return address.value

    def free(self, address: int) -> None:
        self.driver.call("cuMemFree_v2", address)

    def clear(self, address: int, nbytes: int) -> None:
        self.driver.call("cuMemsetD8Async", address, 0, nbytes, self._stream)

    def upload(self, address: int, host: int, nbytes: int) -> None:
        self.driver.call("cuMemcpyHtoDAsync_v2", address, host, nbytes, self._stream)

    def download(self, host: int, address: int, nbytes: int) -> None:
        self.driver.call("cuMemcpyDtoHAsync_v2", host, address, nbytes, self._stream)

    def copy_rows(self, copy: Copy) -> None:
        rows = _Rows(
            srcMemoryType=_DEVICE, srcDevice=copy.source, srcPitch=copy.source_pitch,
            dstMemoryType=_DEVICE, dstDevice=copy.target, dstPitch=copy.target_pitch,
            WidthInBytes=copy.width, Height=copy.height,
        )  # fmt: skip
        self.driver.call("cuMemcpy2DAsync_v2", byref(rows), self._stream)

    def synchronise(self) -> None:
        self.driver.call("cuStreamSynchronize", self._stream)

    def begin_capture(self) -> None:
        self.driver.call("cuStreamBeginCapture_v2", self._stream, _THREAD_LOCAL)

    def end_capture(self) -> int:
        """The work queued on the stream since then, as one graph that can be launched again and
        again."""
        graph, executable = c_void_p(), c_void_p()
        self.driver.call("cuStreamEndCapture", self._stream, byref(graph))
        try:
            self.driver.call("cuGraphInstantiateWithFlags", byref(executable), graph, 0)
        finally:
            self.driver.call("cuGraphDestroy", graph)
        return int(executable.value or 0)

    def launch(self, graph: int) -> None:
        self.driver.call("cuGraphLaunch", graph, self._stream)

    def forget(self, graph: int) -> None:
        self.driver.call("cuGraphExecDestroy", graph)


def devices() -> list[CudaDevice]:
    """The GPUs of this machine. MissingRuntimeError: no driver, or none of them."""
    driver, count = Driver(), c_int()
    try:
        driver.call("cuInit", 0)
        driver.call("cuDeviceGetCount", byref(count))
    except NextOmniError as error:
        raise MissingRuntimeError(f"no GPU that NVIDIA's driver can use ({error})") from error
    if not count.value:
        raise MissingRuntimeError("NVIDIA's driver is here, but no GPU")
    return [CudaDevice(driver, ordinal) for ordinal in range(count.value)]


def driver_version() -> str:
    """The CUDA version that the driver serves, such as "12.6"."""
    driver, version = Driver(), c_int()
    driver.call("cuDriverGetVersion", byref(version))
    return f"{version.value // 1000}.{version.value % 1000 // 10}"
