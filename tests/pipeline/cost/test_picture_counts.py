"""How many pictures a run has, against readers and published sizes."""

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.pipeline.cost.picture_counts import picture_counts
from nsfast.pipeline.profile import resolve


def test_official_sets_are_counted_from_their_published_sizes(tmp_path):
    def counted(name, *settings):
        found = picture_counts(resolve(write(tmp_path, name), settings))
        return found.labeled, found.unlabeled, found.validation, found.test

    assert counted("cifar10") == (4000, 41_000, 5000, 10_000)
    assert counted("svhn") == (69_257, 531_131, 4000, 26_032)
    assert counted("svhn", "data.labeled=1000", "data.extra=false") == (1000, 68_257, 4000, 26_032)
    assert counted("stl10") == (4500, 100_000, 500, 8000)
    labeled, unlabeled, validation, _ = counted("imagenette")
    assert labeled + unlabeled + validation == 9469
    with pytest.raises(NsfastError, match="ask for fewer"):
        counted("cifar10", "data.labeled=45000")


def write(folder, name):
    path = folder / f"{name}.yaml"
    path.write_text(f"data: {{name: {name}}}\n")
    return str(path)


def test_a_folder_is_counted_by_listing_it_as_reading_it_counts(tmp_path):
    from nsfast.images.readers import READERS
    from nsfast.images.tiny import write_tiny

    made = write_tiny("folder", tmp_path / "mine")
    (tmp_path / "folder.yaml").write_text(f"data: {{name: folder, path: {made['path']}, size: 16}}\n")
    profile = resolve(str(tmp_path / "folder.yaml"))
    found, images = picture_counts(profile), READERS["folder"](**made)
    for name in ("labeled", "unlabeled", "validation", "test"):
        assert getattr(found, name) == len(getattr(images, name)), name
    assert (found.classes, found.size, found.channels) == (len(images.classes), images.size, images.channels)


def test_imagenet_without_a_pool_is_counted_with_the_papers_and_says_so(tmp_path):
    path = write(tmp_path, "imagenet")
    found = picture_counts(resolve(path, ("data.validation=25022",)))
    assert (found.labeled, found.unlabeled) == (1_281_167 - 25_022, 130_000_000)
    assert "data.unlabeled is not set, so 130,000,000" in found.source
    part = picture_counts(resolve(path, ("data.validation=25022", "data.labeled_share=0.1")))
    assert part.labeled + part.unlabeled == found.labeled and "assumed" not in part.source


def test_pictures_take_the_disk_where_they_are_kept_as_arrays(tmp_path):
    from nsfast.images.digits import digits

    assert picture_counts(resolve(write(tmp_path, "svhn"))).prepared_bytes == 630_420 * 32 * 32 * 3
    assert picture_counts(resolve(write(tmp_path, "imagenette"))).prepared_bytes == 0
    made = digits(seed=0)
    splits = (made.labeled, made.unlabeled, made.validation, made.test)
    expected = sum(np.asarray(split.pixels).nbytes for split in splits)
    assert picture_counts(resolve("digits")).prepared_bytes == expected
