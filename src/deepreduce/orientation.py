"""Orientation of a picture by its EXIF tag, the same for training and for a client: Pillow alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_TAG = 0x0112
_TURNED = range(5, 9)  # values that exchange height and width
# What a PNG may hold behind its pixels, which Pillow would decode to look for it.
_PNG_MARKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")


def orientation(image: Image, content: bytes | None = None) -> int:
    """Return the EXIF orientation, 1 to 8, of an open image; 1 where it has none.

    ``content``: its file, where that is known, in which a mark is looked for before pixels are decoded for it.
    """
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    if image.format == "PNG":
        if content is not None and not any(mark in content for mark in _PNG_MARKS):
            return 1
        image.load()  # outside of what follows: that the pixels are damaged must be said
    try:
        value = image.getexif().get(_TAG, 1)
    except Exception:  # a damaged tag says nothing; Pillow raises what its parsers happen to raise
        return 1
    return value if value in range(1, 9) else 1


def upright_size(size: tuple[int, int], tag: int) -> tuple[int, int]:
    """Return the (width, height) that an image of ``size`` has when it is upright."""
    return (size[1], size[0]) if tag in _TURNED else size


def upright(image: Image, tag: int) -> Image:
    """Return the image turned and mirrored as `orientation` says; itself where there is nothing to do."""
    # Not ImageOps.exif_transpose, which also writes the other tags again, and fails on those that are damaged.
    from PIL.Image import Transpose

    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(methods[tag]) if tag in methods else image
