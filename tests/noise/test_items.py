"""RandAugment of single PIL pictures: PIL's own operations, in a fastai pipeline, on the training split alone."""

import pickle
import re

import numpy as np
import pytest
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.core import Datasets
from fastai.data.transforms import IndexSplitter, ToTensor
from fastai.vision.augment import FlipItem, Resize, ResizeMethod
from fastai.vision.core import PILImage, PILImageBW
from fastai.vision.data import ImageBlock
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_image

from nsfast.errors import NsfastError
from nsfast.noise import RandAugmentItem, RandAugmentSettings
from nsfast.noise.items import apply_to_item
from nsfast.noise.randaugment import Draw
from nsfast.noise.table import SCALES


def photograph(mode="RGB", size=(60, 45)) -> Image.Image:
    return Image.fromarray(load_sample_image("flower.jpg")).resize(size).convert(mode)


def drawn(name, m=27, sign=1, centre=(0.5, 0.5), height=45, width=60) -> Draw:
    """One operation of the official scale for one picture."""
    row = SCALES["official"][name]
    m, sign = (
        torch.tensor([[float(m)]], dtype=torch.float64),
        torch.tensor([[float(sign)]], dtype=torch.float64),
    )
    argument = row.argument(m, sign, height, width)
    centre = torch.tensor([[centre]], dtype=torch.float64)
    return Draw((row,), torch.zeros(1, 1, dtype=torch.int64), argument, centre)


def affine(*data):
    def transform(image):
        fill = 128 if image.mode == "L" else (128,) * 3
        return image.transform(image.size, Image.Transform.AFFINE, data, fillcolor=fill)

    return transform


def with_square(half):
    def paste(image):
        out = image.copy()
        out.paste(128 if image.mode == "L" else (128,) * 3, (30 - half, 22 - half, 30 + half, 22 + half))
        return out

    return paste


def add_below_128(addition):
    def add(image):
        pixels = np.asarray(image).astype(int)
        return Image.fromarray(
            np.where(pixels < 128, np.minimum(pixels + addition, 255), pixels).astype(np.uint8)
        )

    return add


def enhance(name, factor):
    return lambda image: getattr(ImageEnhance, name)(image).enhance(factor)


# of pictures 45 high and 60 wide, whose constant is an eighth of the side: 5 and 7 pixels
AT_27 = {
    "AutoContrast": ImageOps.autocontrast, "Equalize": ImageOps.equalize, "Invert": ImageOps.invert,
    "Posterize": lambda image: image, "Solarize": lambda image: image, "SolarizeAdd": add_below_128(128),
    "Rotate": lambda i: i.rotate(81, fillcolor=128 if i.mode == "L" else (128,) * 3),
    **{name: enhance(name, 4.96) for name in ("Color", "Contrast", "Brightness", "Sharpness")},
    "ShearX": affine(1, 0.81, 0, 0, 1, 0), "ShearY": affine(1, 0, 0, 0.81, 1, 0),
    "TranslateX": affine(1, 0, 18.9, 0, 1, 0), "TranslateY": affine(1, 0, 0, 0, 1, 13.5),
    "Cutout": with_square(18),
}  # fmt: skip
AT_5 = {
    "Posterize": lambda image: ImageOps.posterize(image, 2), "Solarize": lambda image: ImageOps.solarize(image, 128),
    "SolarizeAdd": add_below_128(55), "Cutout": with_square(3),
    **{name: lambda image: image for name in ("Color", "Contrast", "Brightness", "Sharpness")},
}  # fmt: skip


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(("m", "name"), [*((27, name) for name in AT_27), *((5, name) for name in AT_5)])
def test_every_operation_is_pil_s_with_the_released_argument(m, name, mode):
    image = photograph(mode)
    before = image.copy()
    out, expected = apply_to_item(image, drawn(name, m), 128), {5: AT_5, 27: AT_27}[m][name](image)
    assert out.mode == mode and out.size == image.size and image == before
    different = (np.asarray(out) != np.asarray(expected)).mean()
    assert different < 0.005 if name == "Rotate" else different == 0


def test_every_operation_of_the_released_code_was_tried():
    assert set(AT_27) == set(SCALES["official"])


@pytest.mark.parametrize(
    ("name", "data"), [("ShearX", (1, -0.27, 0, 0, 1, 0)), ("TranslateY", (1, 0, 0, 0, 1, -4.5))]
)
def test_the_sign_turns_a_move_round(name, data):
    image = photograph()
    assert apply_to_item(image, drawn(name, 9, -1), 128) == affine(*data)(image)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_posterize_to_no_bits_is_black(mode):
    assert np.asarray(apply_to_item(photograph(mode), drawn("Posterize", 1), 128)).max() == 0


@pytest.mark.parametrize("centre", [(0, 0), (0.999, 0.999), (0, 0.6)])
def test_cutouts_are_cut_off_at_the_edges(centre):
    out = np.asarray(apply_to_item(photograph(), drawn("Cutout", 10, centre=centre), 7))
    expected = np.asarray(photograph()).copy()
    row, column = int(centre[0] * 45), int(centre[1] * 60)
    expected[max(0, row - 7) : row + 7, max(0, column - 7) : column + 7] = 7
    assert (out == expected).all()


def test_operations_happen_in_turn_and_left_out_ones_not_at_all():
    image, rows = photograph(), (SCALES["official"]["Invert"], SCALES["official"]["Solarize"])
    argument = torch.full((3, 2), 100, dtype=torch.float64)
    draw = Draw(rows, torch.tensor([[0, 2], [2, 2], [1, 2]]), argument, torch.zeros(3, 2, 2))
    assert apply_to_item(image, draw, 0, 0) == ImageOps.solarize(ImageOps.invert(image), 100)
    assert apply_to_item(image, draw, 0, 1) == image


@pytest.mark.parametrize("mode", ["RGBA", "P", "F", "1"])
def test_pictures_of_another_mode_are_refused(mode):
    with pytest.raises(NsfastError, match=re.escape(f"of mode {mode!r}; convert it to 'L' or 'RGB'")):
        apply_to_item(photograph().convert(mode), drawn("Invert"), 128)


@pytest.mark.parametrize("kind", [PILImage, PILImageBW])
def test_the_transform_draws_anew_for_every_item_and_keeps_its_type(kind):
    item = kind.create(np.asarray(photograph("L" if kind is PILImageBW else "RGB")))
    transform = RandAugmentItem(2, 9, operations="all")
    torch.manual_seed(0)
    outcomes = [transform(item, split_idx=0) for _ in range(20)]
    assert all(type(out) is kind and out.size == item.size and out.mode == item.mode for out in outcomes)
    assert len({out.tobytes() for out in outcomes}) > 15
    torch.manual_seed(0)
    assert [transform(item, split_idx=0).tobytes() for _ in range(20)] == [out.tobytes() for out in outcomes]
    assert transform(item, split_idx=1) is item
    settings = RandAugmentSettings(2, 9, operations="all")
    torch.manual_seed(0)
    assert apply_to_item(item, settings.draw(1, 45, 60), 128).tobytes() == outcomes[0].tobytes()


@pytest.mark.parametrize("options", [{"n": 0}, {"probability": 0}])
def test_it_can_be_turned_off(options):
    item = PILImage.create(np.asarray(photograph()))
    out = RandAugmentItem(**options)(item, split_idx=0)
    assert type(out) is PILImage and out.tobytes() == item.tobytes()


def pixels_of(loader) -> np.ndarray:
    return np.concatenate([batch[0].permute(0, 2, 3, 1).numpy() for batch in loader])


@pytest.mark.parametrize("kind", [PILImage, PILImageBW])
def test_in_a_data_block_it_noises_the_training_split_alone_after_resizing(kind):
    mode = "L" if kind is PILImageBW else "RGB"
    block = DataBlock(
        blocks=(ImageBlock(kind), CategoryBlock),
        get_x=lambda i: np.asarray(photograph(mode)),
        get_y=lambda i: i % 2,
        splitter=IndexSplitter(range(8, 16)),
        item_tfms=[RandAugmentItem(1, 9, operations=("Invert",)), Resize(32, ResizeMethod.Squish)],
    )
    loaders = block.dataloaders(list(range(16)), bs=8, num_workers=0)
    names = [type(transform).__name__ for transform in loaders.train.after_item.fs]
    assert names == ["Resize", "RandAugmentItem", "ToTensor"]
    plain = np.asarray(photograph(mode).resize((32, 32), Image.Resampling.BILINEAR)).reshape(32, 32, -1)
    training, validating = (np.rint(pixels_of(loader) * 255) for loader in (loaders.train, loaders.valid))
    assert training.shape == validating.shape == (8, 32, 32, plain.shape[-1])
    assert (training == 255 - plain.astype(int)).all() and (validating == plain).all()
    # predictions on a test set of the same loaders
    assert (np.rint(pixels_of(loaders.test_dl(list(range(3)))) * 255) == plain).all()


def test_in_datasets_every_epoch_is_noised_anew_and_the_order_of_the_list_does_not_matter():
    items = [np.asarray(photograph())] * 6
    datasets = Datasets(items, [[PILImage.create]], splits=[[0, 1, 2, 3], [4, 5]])
    loaders = datasets.dataloaders(
        bs=2, num_workers=0, after_item=[ToTensor(), RandAugmentItem(2, 15), FlipItem(0)]
    )
    names = [type(transform).__name__ for transform in loaders.train.after_item.fs]
    assert names == ["FlipItem", "RandAugmentItem", "ToTensor"]
    torch.manual_seed(0)
    one, two = pixels_of(loaders.train), pixels_of(loaders.train)
    assert one.dtype == np.uint8 and len(np.unique(np.concatenate([one, two]), axis=0)) > 5
    assert (pixels_of(loaders.valid) == items[0]).all()


def test_settings_can_be_sent_to_workers():
    settings = RandAugmentSettings(3, 5, operations="-Invert", magnitude_std=0.5, fill=0.2)
    again = pickle.loads(pickle.dumps(settings))
    assert (
        again == settings
        and again.grey == settings.grey
        and [r.name for r in again.rows] == [r.name for r in settings.rows]
    )
    with pytest.raises(NsfastError, match="n of RandAugment is 1.5; it must be a whole number"):
        RandAugmentSettings(1.5)
