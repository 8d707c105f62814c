"""One picture, decoded: any mode, depth and turn; the pictures are made here, so their pixels are known."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from nsfast.images.decode import decode, decode_part

RED, BLUE, GREY = (200, 30, 40), (20, 60, 210), (90, 90, 90)


def save(path: Path, colour=RED, size=(12, 10), **options) -> Path:
    """Write a picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def colour_of(path: Path, channels=3, size=8) -> np.ndarray:
    """Return the colour of a picture that must have one colour alone."""
    pixels = decode(path, size, channels)
    assert pixels.shape == (size, size, channels) and pixels.dtype == np.uint8
    assert np.ptp(pixels.reshape(-1, channels), axis=0).max() == 0
    return pixels[0, 0]


@pytest.mark.parametrize("ending", ["png", "PNG", "webp", "bmp", "tif", "TIFF"])
def test_lossless_formats_keep_the_colour(tmp_path, ending):
    options = {"lossless": True} if ending == "webp" else {}
    assert tuple(colour_of(save(tmp_path / f"a.{ending}", **options))) == RED


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "Jpg"])
def test_jpeg_nearly_keeps_the_colour(tmp_path, ending):
    found = colour_of(save(tmp_path / f"a.{ending}", quality=95)).astype(int)
    assert np.abs(found - RED).max() <= 3


def test_a_picture_of_several_frames_gives_its_first(tmp_path):
    more = {"save_all": True, "append_images": [Image.new("RGB", (12, 10), BLUE)]}
    for name, options in {"a.tif": {}, "b.webp": {"lossless": True}, "c.jpg": {"format": "MPO"}}.items():
        found = colour_of(save(tmp_path / name, **options, **more)).astype(int)
        assert np.abs(found - RED).max() <= 3


def test_the_content_and_not_the_ending_tells_the_format(tmp_path):
    assert tuple(colour_of(save(tmp_path / "a.jpg", format="PNG"))) == RED
    save(tmp_path / "b.png", format="EPS")
    with pytest.raises(OSError, match="cannot identify"):
        decode(tmp_path / "b.png", 8, 3)


MODES = {
    "L": (90, GREY),
    "1": (1, (255, 255, 255)),
    "RGB": (RED, RED),
    "P": (3, (13, 40, 7)),
    "RGBA": ((*RED, 255), RED),
    "LA": ((90, 255), GREY),
    "RGBA half": ((200, 0, 100, 128), (227, 127, 177)),  # 255 + (colour - 255) * 128 / 255
    "RGBA clear": ((*RED, 0), (255, 255, 255)),
    "LA clear": ((0, 0), (255, 255, 255)),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_png(tmp_path, mode):
    value, expected = MODES[mode]
    image = Image.new(mode.split()[0], (9, 9), value)
    if mode == "P":
        image.putpalette([v for i in range(100) for v in (i + 10, 40, 2 * i + 1)])
    image.save(tmp_path / "a.png")
    assert np.abs(colour_of(tmp_path / "a.png").astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    "transparency, expected", [(3, (255, 255, 255)), (4, (13, 40, 7)), (b"\0" * 4, (255,) * 3)]
)
def test_palette_transparency_lies_on_white(tmp_path, transparency, expected):
    image = Image.new("P", (9, 9), 3)
    image.putpalette([v for i in range(100) for v in (i + 10, 40, 2 * i + 1)])
    image.save(tmp_path / "a.png", transparency=transparency)
    assert tuple(colour_of(tmp_path / "a.png")) == expected


@pytest.mark.parametrize("mode, value", [("RGB", RED), ("L", 90)])
def test_the_transparent_colour_of_a_plain_picture_lies_on_white(tmp_path, mode, value):
    Image.new(mode, (9, 9), value).save(tmp_path / "a.png", transparency=value)
    assert tuple(colour_of(tmp_path / "a.png")) == (255, 255, 255)


def test_cmyk_becomes_rgb(tmp_path):
    cyan, magenta, yellow, black = 51, 102, 0, 0
    Image.new("CMYK", (9, 9), (cyan, magenta, yellow, black)).save(tmp_path / "a.tif")
    assert np.abs(colour_of(tmp_path / "a.tif").astype(int) - (204, 153, 255)).max() <= 1
    Image.new("CMYK", (16, 16), (cyan, magenta, yellow, black)).save(tmp_path / "a.jpg", quality=98)
    assert np.abs(colour_of(tmp_path / "a.jpg").astype(int) - (204, 153, 255)).max() <= 4


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("value", [0, 257, 128 * 257, 200 * 257 + 100, 65535])
def test_sixteen_bits_are_scaled_and_not_cut(tmp_path, ending, value):
    Image.fromarray(np.full((9, 9), value, np.uint16)).save(tmp_path / f"a.{ending}")
    assert set(colour_of(tmp_path / f"a.{ending}")) == {round(value / 257)}


@pytest.mark.parametrize(
    "kind, values, expected",
    [
        (np.float32, (0.0, 0.4, 1.0), (0, 102, 255)),
        (np.float32, (-5.0, 102.0, 255.0), (0, 102, 255)),
        (np.float32, (0, 257 * 102, 65535), (0, 102, 255)),
        (np.float32, (0, 2e5, 1e6), (0, 51, 255)),
        (np.int32, (0, 102, 255), (0, 102, 255)),
        (np.int32, (0, 257 * 102, 65535), (0, 102, 255)),
    ],
)
def test_deep_grey_takes_the_smallest_scale_that_holds_it(tmp_path, kind, values, expected):
    Image.fromarray(np.repeat(np.array([values], kind), 3, axis=0)).save(tmp_path / "a.tif")
    assert tuple(decode(tmp_path / "a.tif", 3, 1)[0, :, 0]) == expected


def test_float_that_is_no_number_is_a_damaged_picture(tmp_path):
    Image.fromarray(np.full((9, 9), np.nan, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="not finite"):
        decode(tmp_path / "a.tif", 8, 3)


def test_grey_is_the_usual_weighted_sum(tmp_path):
    expected = round(0.299 * RED[0] + 0.587 * RED[1] + 0.114 * RED[2])
    assert abs(int(colour_of(save(tmp_path / "a.png"), channels=1)[0]) - expected) <= 1


# Where red, green, blue and white stand after the turn, read row by row, when they were stored in that order.
TURNED = {1: "rgbw", 2: "grwb", 3: "wbgr", 4: "bwrg", 5: "rbgw", 6: "brwg", 7: "wgbr", 8: "gwrb"}


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation_is_applied(tmp_path, ending, orientation):
    letters = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "w": (255, 255, 255)}
    stored = np.array([letters[c] for c in "rgbw"], np.uint8).reshape(2, 2, 3).repeat(16, 0).repeat(16, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f"a.{ending}", exif=exif, quality=95)
    pixels = decode(tmp_path / f"a.{ending}", 32, 3).astype(int)
    corners = [pixels[8, 8], pixels[8, 24], pixels[24, 8], pixels[24, 24]]
    found = "".join(min(letters, key=lambda c: np.abs(corner - letters[c]).sum()) for corner in corners)
    assert found == TURNED[orientation]


def test_damaged_exif_costs_no_picture(tmp_path):
    save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff damaged", quality=95)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.abs(colour_of(tmp_path / "a.jpg").astype(int) - RED).max() <= 3


@pytest.mark.parametrize("wide", [True, False])
def test_the_centre_square_is_kept(tmp_path, wide):
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, :20], pixels[:, 20:40], pixels[:, 40:] = RED, BLUE, GREY
    Image.fromarray(pixels if wide else pixels.transpose(1, 0, 2)).save(tmp_path / "a.png")
    assert tuple(colour_of(tmp_path / "a.png", size=20)) == BLUE
    assert tuple(colour_of(tmp_path / "a.png", size=10)) == BLUE


def test_a_picture_of_the_right_size_is_untouched(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(decode(tmp_path / "a.png", 16, 3), pixels)


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_shrinking_averages_instead_of_picking(tmp_path, ending):
    """A checkerboard of single pixels is even grey when shrunk; picking pixels would give black and white."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / f"a.{ending}", **({"quality": 98} if ending == "jpg" else {}))
    assert np.abs(decode(tmp_path / f"a.{ending}", 16, 1).astype(int) - 127).max() <= 3


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (2, 5), (3000, 2), (500, 333)])
def test_any_size_keeps_the_colour(tmp_path, size):
    assert tuple(colour_of(save(tmp_path / "a.png", size=size), size=32)) == RED


# A part of a picture


def scene(width: int, height: int, seed=0) -> Image.Image:
    """Return a smooth picture, which survives JPEG."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def test_a_part_is_what_pil_resizes_of_that_box(tmp_path):
    image, box = scene(90, 70), (13, 8, 77, 61)
    image.save(tmp_path / "a.png")
    expected = np.asarray(image.crop(box).resize((24, 24), Image.Resampling.BICUBIC))
    assert np.array_equal(decode_part(tmp_path / "a.png", 24, 3, lambda w, h: box), expected)
    mirrored = decode_part(tmp_path / "a.png", 24, 3, lambda w, h: box, flip=True)
    assert np.array_equal(mirrored, expected[:, ::-1])


@pytest.mark.parametrize("size, scale", [(100, 1), (60, 1), (40, 2), (25, 4), (13, 8), (9, 8)])
def test_a_jpeg_is_decoded_at_the_smallest_scale_that_keeps_the_part_large_enough(
    tmp_path, size, scale, monkeypatch
):
    image, box = scene(203, 157), (31, 22, 151, 133)  # 120x111
    image.save(tmp_path / "a.jpg", quality=95)
    seen, crop = [], Image.Image.crop
    monkeypatch.setattr(Image.Image, "crop", lambda self, box: (seen.append(self.size), crop(self, box))[1])
    pixels = decode_part(tmp_path / "a.jpg", size, 3, lambda w, h: box)
    monkeypatch.undo()
    assert seen == [(-(-203 // scale), -(-157 // scale))]
    with Image.open(tmp_path / "a.jpg") as whole:
        expected = np.asarray(whole.crop(box).resize((size, size), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(pixels - expected).mean() < {1: 1e-9, 8: 3}.get(scale, 2)


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("size", [4, 24])
def test_the_part_is_chosen_in_the_upright_picture(tmp_path, ending, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    scene(96, 64).save(tmp_path / f"a.{ending}", exif=exif, quality=95)
    with Image.open(tmp_path / f"a.{ending}") as stored:
        upright = ImageOps.exif_transpose(stored)
        upright.load()
    seen = []

    def choose(width, height):
        seen.append((width, height))
        return (3, 5, 3 + width // 2, 5 + height // 3)

    found = decode_part(tmp_path / f"a.{ending}", size, 3, choose)
    assert seen == [upright.size]
    box = (3, 5, 3 + upright.width // 2, 5 + upright.height // 3)
    expected = np.asarray(upright.crop(box).resize((size, size), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(found - expected).mean() < 10  # a wrong turn is off by 50


def test_a_part_has_the_modes_of_a_whole_picture(tmp_path):
    image = Image.new("RGBA", (9, 9), (*RED, 0))
    image.save(tmp_path / "a.png")
    assert (decode_part(tmp_path / "a.png", 4, 3, lambda w, h: (0, 0, 9, 9)) == 255).all()
    assert decode_part(tmp_path / "a.png", 4, 1, lambda w, h: (0, 0, 9, 9)).shape == (4, 4, 1)


def test_damaged_exif_costs_no_part(tmp_path):
    save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff damaged", quality=95)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = decode_part(tmp_path / "a.jpg", 4, 3, lambda w, h: (0, 0, w, h))
    assert np.abs(found.astype(int) - RED).max() <= 3
