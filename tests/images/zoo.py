"""A folder of every kind of picture that may lie about, and what is to become of each."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = (40, 48)
"""Height and width of most pictures: a decoder that keeps a square of 20 to 40 pixels has to scale none down first."""


def write_zoo(folder: Path) -> dict[str, np.ndarray | str]:
    """Write the pictures; return by name the pixels (height, width, 3) that are right, or what its problem is to say.

    Names are those that an index gives: paths below the folder, of a picture in a tar behind the tar's. Who may read
    everything (root) reads the ones without permission too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    zoo = {"0-first.png": smooth(0), "zz-last.png": smooth(1)}
    for name, pixels in zoo.items():
        (folder / name).write_bytes(encoded(pixels, "PNG"))
    for write in (_write_damaged, _write_misnamed, _write_modes, _write_animated, _write_sizes):
        zoo |= write(folder)
    for write in (_write_what_is_no_file, _write_without_permission, _write_tars):
        zoo |= write(folder)
    return zoo


def smooth(seed: int, height: int = SIDE[0], width: int = SIDE[1]) -> np.ndarray:
    """Return a picture (height, width, 3) that JPEG takes well; another for each seed."""
    few = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(few).resize((width, height), Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    """Return the bytes of a file of that kind."""
    image, file = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels), io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain(content: bytes) -> np.ndarray:
    """Return what PIL makes of a file."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def _write_damaged(folder: Path) -> dict[str, np.ndarray | str]:
    endings = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "BMP": "bmp"}
    for kind, ending in endings.items():
        content = encoded(smooth(2), kind)
        (folder / f"truncated.{ending}").write_bytes(content[: len(content) * 8 // 10])
    content = bytearray(encoded(smooth(2), "PNG"))
    (folder / "header-alone.png").write_bytes(content[:33])
    content[len(content) // 2] ^= 255
    (folder / "flipped.png").write_bytes(content)
    (folder / "empty.jpg").touch()
    zoo: dict[str, np.ndarray | str] = {"empty.jpg": "empty file (0 bytes)", "flipped.png": "damaged: "}
    zoo["header-alone.png"] = "not a picture that can be read"
    zoo |= {f"truncated.{ending}": "damaged: image file is truncated" for ending in endings.values()}
    return zoo | {"truncated.webp": "damaged: "}


def _write_misnamed(folder: Path) -> dict[str, np.ndarray | str]:
    contents = {"png-called.jpg": encoded(smooth(3), "PNG"), "jpeg-called.png": encoded(smooth(4), "JPEG")}
    contents |= {"gif-called.webp": encoded(Image.fromarray(smooth(5)).quantize(9), "GIF")}
    nothing = {"text-called.jpg": b"no picture at all", "page-called.png": b"<html><body>404</body></html>"}
    others = {"notes.txt": "not a picture format: .txt", "moving.gif": "not a picture format: .gif"}
    others |= {"README": "not a picture format: no ending", "shards.tar.gz": "not a picture format: .gz"}
    for name, content in (contents | nothing | dict.fromkeys(others, b"text")).items():
        (folder / name).write_bytes(content)
    return (
        {name: plain(content) for name, content in contents.items()}
        | others
        | dict.fromkeys(nothing, "not a picture that can be read")
    )


def _write_modes(folder: Path) -> dict[str, np.ndarray | str]:
    zoo: dict[str, np.ndarray | str] = {}
    cmyk = encoded(Image.fromarray(smooth(6)).convert("CMYK"), "JPEG", quality=95)
    (folder / "cmyk.jpg").write_bytes(cmyk)
    zoo["cmyk.jpg"] = plain(cmyk)
    grey = smooth(7)[..., 0]
    (folder / "grey-16.png").write_bytes(encoded(grey.astype(np.uint16) * 257, "PNG"))
    zoo["grey-16.png"] = np.repeat(grey[..., None], 3, 2)
    numbers = np.arange(SIDE[0] * SIDE[1], dtype=np.uint8).reshape(SIDE) % 3
    colours = np.array([[200, 30, 40], [1, 2, 3], [10, 120, 250]], np.uint8)
    palette = Image.fromarray(numbers)
    palette.putpalette(colours.tobytes())
    (folder / "palette.png").write_bytes(encoded(palette, "PNG", transparency=1))
    colours[1] = 255  # what is transparent lies on white
    zoo["palette.png"] = colours[numbers]
    alpha = np.dstack([smooth(8), np.full(SIDE, 255, np.uint8)])
    alpha[:20, :, 3] = 0
    (folder / "half-transparent.png").write_bytes(encoded(alpha, "PNG"))
    zoo["half-transparent.png"] = np.where(alpha[..., 3:] == 0, 255, alpha[..., :3]).astype(np.uint8)
    return zoo


def _write_animated(folder: Path) -> dict[str, np.ndarray | str]:
    """Of what moves, the first frame is the picture."""
    zoo: dict[str, np.ndarray | str] = {}
    for number, (kind, name) in enumerate(
        {"PNG": "animated.png", "WEBP": "animated.webp", "GIF": "animated-gif-called.png"}.items()
    ):
        frames = [Image.new("RGB", SIDE[::-1], colour) for colour in ((9 + number, 130, 70), "red", "blue")]
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options)
        with Image.open(io.BytesIO(content)) as image:
            assert image.n_frames == 3
        (folder / name).write_bytes(content)
        zoo[name] = np.asarray(frames[0])
    return zoo


def _write_sizes(folder: Path) -> dict[str, np.ndarray | str]:
    zoo: dict[str, np.ndarray | str] = {
        "one-pixel.png": np.array([[[7, 77, 177]]], np.uint8),
        "wide.png": smooth(9, 40, 30_000),
        "high.png": smooth(10, 30_000, 40),
    }
    for name, pixels in zoo.items():
        (folder / name).write_bytes(encoded(pixels, "PNG"))
    wide = encoded(smooth(9, 40, 30_000), "JPEG")
    (folder / "wide.jpg").write_bytes(wide)
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 1000)
    chunks = [
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND")
    ]
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    (folder / "real-bomb.png").write_bytes(encoded(Image.new("1", (10_000, 10_000)), "PNG"))
    jpeg = bytearray(encoded(smooth(11), "JPEG"))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", 60_000, 60_000)
    (folder / "bomb.jpg").write_bytes(jpeg)
    return (
        zoo
        | {"wide.jpg": plain(wide)}
        | dict.fromkeys(("bomb.png", "real-bomb.png", "bomb.jpg"), "too large")
    )


def _write_what_is_no_file(folder: Path) -> dict[str, np.ndarray | str]:
    (folder / "folder.jpg").mkdir()
    (folder / "folder.jpg" / "inside.png").write_bytes(encoded(smooth(12), "PNG"))
    (folder / "broken-link.jpg").symlink_to(folder / "gone.jpg")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "again.jpg").symlink_to(folder / "folder.jpg")
    (folder / "link.jpg").symlink_to(folder / "0-first.png")
    os.mkfifo(folder / "pipe.jpg")
    (folder / ".hidden.jpg").write_bytes(b"not looked at")
    return {
        "folder.jpg/": "a link to a folder read already",
        "again.jpg/inside.png": smooth(12),
        "broken-link.jpg": "cannot be opened: No such file",
        "loop.jpg": "cannot be opened: Too many levels",
        "link.jpg": smooth(0),
        "pipe.jpg": "not a regular file",
    }


def _write_without_permission(folder: Path) -> dict[str, np.ndarray | str]:
    (folder / "closed").mkdir()
    for name in ("unreadable.png", "closed/inside.png"):
        (folder / name).write_bytes(encoded(smooth(13), "PNG"))
    for name in ("unreadable.png", "closed"):
        (folder / name).chmod(0)
    denied = "cannot be opened: Permission denied"
    if os.access(folder / "unreadable.png", os.R_OK):
        return {"unreadable.png": smooth(13), "closed/inside.png": smooth(13)}
    return {"unreadable.png": denied, "closed/": denied}


def _write_tars(folder: Path) -> dict[str, np.ndarray | str]:
    pictures = {f"{name}.png": encoded(smooth(14 + i), "PNG") for i, name in enumerate("abc")}
    damaged = {
        **pictures,
        "b.png": pictures["b.png"][:99] + b"damage" + pictures["b.png"][105:],
        "d.jpg": b"",
    }
    tars = {f"{name}.tar": _tar(pictures) for name in ("cut", "header")} | {"damaged.tar": _tar(damaged)}
    with tarfile.open(fileobj=io.BytesIO(tars["cut.tar"])) as tar:
        second, third = tar.getmember("b.png").offset, tar.getmember("c.png").offset_data
    tars["cut.tar"] = tars["cut.tar"][: third + 100]
    tars["header.tar"] = bytes(
        [*tars["header.tar"][:second], *b"x" * 512, *tars["header.tar"][second + 512 :]]
    )
    tars |= {"text.tar": b"no tar at all" * 100, "gzip.tar": gzip.compress(_tar(pictures))}
    for name, content in tars.items():
        (folder / name).write_bytes(content)
    whole = {f"{tar}/a.png": smooth(14) for tar in ("cut.tar", "header.tar", "damaged.tar")}
    whole |= {"cut.tar/b.png": smooth(15), "damaged.tar/c.png": smooth(16)}
    bad = {"damaged.tar/b.png": "damaged: ", "damaged.tar/d.jpg": "empty file (0 bytes)"}
    bad |= {"cut.tar/c.png": "the shard ends before it does", "cut.tar": "not a whole tar"}
    return (
        whole
        | bad
        | dict.fromkeys(("header.tar", "text.tar", "gzip.tar"), "not a whole tar without compression")
    )


def _tar(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()
