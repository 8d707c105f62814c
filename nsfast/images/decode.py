"""Decoding one picture: any mode, any depth, upright, and cut to a square."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF")  # tried whatever the ending says


def reason(error: Exception) -> str:
    """Return why a file cannot be read, in one line without its path."""
    if isinstance(error, UnidentifiedImageError):
        return "not a picture that can be read"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened: {error.strerror}"
    return f"damaged: {' '.join(str(error).split()) or type(error).__name__}"


def decode(path: str | Path, size: int, channels: int) -> np.ndarray:
    """Return one picture, upright, its centre square resized (bicubic, antialiased), transparency on white.

    Returns (size, size, channels) uint8; raises whatever the decoder of a damaged file raises.
    """
    with Image.open(path, formats=FORMATS) as image:
        image.draft(None, (2 * size, 2 * size))  # JPEG alone: decode a fraction, still twice what is kept
        image.load()
        image = _plain(_upright(image), "L" if channels == 1 else "RGB")
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    image = image.crop((left, top, left + short, top + short))
    image = image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(image).reshape(size, size, channels)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged metadata of a picture that is whole
        return image


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """Return `image` as "L" or "RGB": deep grey scaled to 8 bits, transparency laid on white."""
    if image.mode[0] in "IF":
        image = _eight_bits(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert("RGB").convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale deep grey to 0..255: white is 65535 in 16 bits, else the smallest usual one above all values."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("values that are not finite numbers")
    scales = {"F": (1, 255, 65535), "I": (255, 65535, 2**32 - 1)}.get(image.mode, (65535,))
    white = next((scale for scale in scales if values.max() <= scale), values.max())
    return Image.fromarray(np.rint(values.clip(0) * (255 / white)).astype(np.uint8))
