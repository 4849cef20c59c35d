"""One image file -> uint8 (C, size, size): for training and for prediction alike.

The square is made by resizing the shorter side to ``size`` and cutting the centre, in one antialiased bicubic step.
Alpha is composited over white, as viewers and web pages show it; 16-bit grey is divided by 257 (65535 -> 255); CMYK,
palette and other colour spaces go through Pillow's conversion to RGB; the EXIF orientation is applied; of an animation
the first frame is taken.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import NamedTuple, Tuple

import numpy as np
from PIL import Image, UnidentifiedImageError

SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".tga", ".avif"),
    ]
)
GREY_MODES = frozenset(["1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"])
_ALPHA_MODES = frozenset(["LA", "La", "RGBA", "RGBa", "PA"])
_ORIENTATION = 0x0112  # the EXIF tag; 1 is upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(Exception):
    """The file cannot be used as an image; the message is the reason, in a few words."""


class Header(NamedTuple):
    """What the file says of itself before decoding: size in pixels and Pillow's mode."""

    width: int
    height: int
    mode: str

    @property
    def grey(self) -> bool:
        return self.mode in GREY_MODES


def read_header(path: Path) -> Header:
    """The size and mode of an image file, without decoding it.

    Raises:
        UnreadableImageError: the file is missing, empty, not an image, or larger than Pillow's safe number of pixels.
    """
    try:
        _check_regular(path)
        with Image.open(path) as image:
            return _header(image)
    except Exception as error:
        raise _unreadable(path, error) from error


def read_image(path: Path, size: int, channels: int) -> Tuple[np.ndarray, Header]:
    """Decode one image file.

    Args:
        path: an image in any format that Pillow reads.
        size: side of the square, in pixels.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        uint8 (channels, size, size), and the header as it was in the file.

    Raises:
        UnreadableImageError: see `read_header`; also for truncated or corrupt files and 32-bit pixels.
    """
    try:
        _check_regular(path)
        with Image.open(path) as image:
            header = _header(image)
            # JPEG only: decode large photos at 1/2, 1/4 or 1/8, leaving at least twice the wanted size to resize from.
            image.draft(image.mode, (2 * size, 2 * size))
            image.load()
            # TIFF images are turned by Pillow while loading.
            turn = None if image.format == "TIFF" else _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
            return _to_array(image if turn is None else image.transpose(turn), size, channels), header
    except Exception as error:
        raise _unreadable(path, error) from error


def fit_array(image: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Bring one decoded image, uint8 (C, H, W) with C 1 or 3, to uint8 (channels, size, size)."""
    planes = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    return _to_array(Image.fromarray(planes), size, channels)


def _check_regular(path: Path) -> None:
    """Opening a pipe waits for a writer, and some devices never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnreadableImageError("not a regular file")


def _header(image: Image.Image) -> Header:
    header = Header(image.width, image.height, image.mode)
    limit = Image.MAX_IMAGE_PIXELS
    # Pillow itself raises only beyond twice the limit and warns in between.
    if limit is not None and header.width * header.height > limit:
        raise UnreadableImageError(f"{header.width} x {header.height} is more than the safe {limit:,} pixels")
    return header


def _to_array(image: Image.Image, size: int, channels: int) -> np.ndarray:
    image = _square(_eight_bits(image), size)
    wanted = "L" if channels == 1 else "RGB"
    array = np.asarray(image if image.mode == wanted else image.convert(wanted))
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def _eight_bits(image: Image.Image) -> Image.Image:
    """To mode L or RGB."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise UnreadableImageError("32-bit float pixels have no agreed range")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise UnreadableImageError("32-bit pixels have no agreed range")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        colour = image.convert("RGBA")
        white = Image.new("RGBA", colour.size, (255, 255, 255, 255))
        flat = Image.alpha_composite(white, colour).convert("RGB")
        return flat.convert("L") if image.mode in GREY_MODES else flat
    return image.convert("L" if image.mode in GREY_MODES else "RGB")


def _square(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    if width == height == size:
        return image
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def _unreadable(path: Path, error: Exception) -> Exception:
    if isinstance(error, (UnreadableImageError, MemoryError)):
        return error
    if isinstance(error, FileNotFoundError):
        return UnreadableImageError("not found")
    if isinstance(error, PermissionError):
        return UnreadableImageError("no permission to read it")
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return UnreadableImageError("more pixels than is safe")
    if _is_empty(path):
        return UnreadableImageError("empty file")
    if isinstance(error, UnidentifiedImageError):
        return UnreadableImageError("not an image")
    if isinstance(error, OSError) and "truncated" in str(error):
        return UnreadableImageError("truncated")
    return UnreadableImageError(" ".join(str(error).split()) or type(error).__name__)


def _is_empty(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size == 0
    except (OSError, ValueError):  # a name that no file can have
        return False
