"""The tiny sets are small, quick, the same for a seed, and their classes are easily learned."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from nsfast.errors import NsfastError
from nsfast.images.readers import READERS
from nsfast.images.tiny import WRITERS, write_tiny


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.mark.parametrize("name", WRITERS)
def test_classes_are_learned_from_the_labeled_pictures(tmp_path, name):
    parameters = write_tiny(name, tmp_path)
    images = READERS[name](**parameters)
    assert len(images.classes) == (4 if name == "imagenet" else 10)
    assert sum(len(getattr(images, s)) for s in ("labeled", "unlabeled", "validation", "test")) <= 300
    assert images.size <= 32

    def flat(split):
        return split.pixels[:].mean((1, 2)) / 255  # colour alone tells the class

    model = LogisticRegression(C=1000, max_iter=2000).fit(flat(images.labeled), images.labeled.labels)
    assert model.score(flat(images.test), images.test.labels) > 0.9


@pytest.mark.parametrize("name", [n for n in WRITERS if n not in ("svhn",)])
def test_a_seed_gives_the_same_files(tmp_path, name):
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_tiny(name, tmp_path / folder, seed=seed)
    one, again, other = (files(tmp_path / folder) for folder in "abc")
    assert one == again and one != other


def test_the_devkits_numbers_are_not_in_the_order_of_the_wnids(tmp_path):
    from scipy.io import loadmat

    write_tiny("imagenet", tmp_path, val="flat")
    synsets = loadmat(tmp_path / "ILSVRC2012_devkit_t12/data/meta.mat", squeeze_me=True)["synsets"]
    assert list(synsets["WNID"][:4]) == sorted(synsets["WNID"][:4])[::-1] and len(synsets) == 5
    assert np.array_equal(synsets["num_children"] > 0, [False] * 4 + [True])


def test_unknown_names_are_named(tmp_path):
    with pytest.raises(NsfastError, match="unknown data.name 'cifar'"):
        write_tiny("cifar", tmp_path)
    with pytest.raises(NsfastError, match="unknown val 'flt'; did you mean 'flat'"):
        write_tiny("imagenet", tmp_path, val="flt")
