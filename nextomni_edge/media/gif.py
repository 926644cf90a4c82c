"""How far the frames of a GIF reach, read before Pillow: Pillow takes memory for a frame when it
comes to it, and a frame may reach beyond the picture that the header tells."""

from __future__ import annotations

import struct
from io import BufferedReader
from typing import Final

SCREEN: Final = struct.Struct("<6sHHBxx")
FRAME: Final = struct.Struct("<HHHHB")


def reach(file: BufferedReader) -> tuple[int, int]:
    """(width, height) in pixels that hold the screen and every frame of an open GIF. Damaged ones
    are walked as Pillow walks them, until their end. The file's position stays."""
    before = file.tell()
    try:
        file.seek(0)
        header = file.read(SCREEN.size)
        if len(header) < SCREEN.size:
            return 0, 0
        _, width, height, flags = SCREEN.unpack(header)
        _skip_colours(file, flags)
        while kind := file.read(1):
            if kind == b"!":
                file.read(1)
                _skip_blocks(file)
            elif kind == b",":
                frame = file.read(FRAME.size)
                if len(frame) < FRAME.size:
                    break
                left, top, across, down, flags = FRAME.unpack(frame)
                width, height = max(width, left + across), max(height, top + down)
                _skip_colours(file, flags)
                file.read(1)
                _skip_blocks(file)
        return width, height
    finally:
        file.seek(before)


def _skip_colours(file: BufferedReader, flags: int) -> None:
    if flags & 128:
        file.read(3 << (flags & 7) + 1)


def _skip_blocks(file: BufferedReader) -> None:
    while (length := file.read(1)) and length[0]:
        file.read(length[0])
