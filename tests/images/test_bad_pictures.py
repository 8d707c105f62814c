"""Every kind of picture is either decoded right or a problem whose reason says what is wrong; nothing raises."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from nsfast.images.crop import centre_square
from nsfast.images.files import PictureFiles
from nsfast.images.index import open_index, write_index
from nsfast.images.problem import ImageProblem
from tests.images.zoo import write_zoo

SIZE = 20


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """What is expected by name, the index of the pictures, their names in its order."""
    folder = tmp_path_factory.mktemp("bad")
    expected = write_zoo(folder / "zoo")
    index = open_index(write_index(folder / "zoo", folder / "files.parquet"), SIZE, whole=True)
    yield expected, index, index.names(0, len(index))
    (folder / "zoo" / "closed").chmod(0o700)


def kept(pixels: np.ndarray) -> np.ndarray:
    """The centre square of a whole picture, resized by PIL."""
    image = Image.fromarray(pixels)
    box = centre_square(*image.size, SIZE, whole=True)
    return np.asarray(image.crop(box).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def read(index, **changes) -> dict[str, np.ndarray | str]:
    """Read an index as labeling does: what each picture is, or why it is none, by name."""
    pictures, problems = index.part(0, len(index))
    rows = np.array([row for row in range(len(index)) if row not in problems])
    for name, value in changes.items():
        setattr(pictures, name, value)
    pixels, places, found = pictures.read(rows)
    assert sorted([*places, *found]) == list(range(len(rows))) and places.dtype == np.int64
    good = dict(zip(rows[places].tolist(), pixels, strict=True))
    good |= problems | {int(rows[place]): why for place, why in found.items()}
    return {name: good[row] for row, name in enumerate(index.names(0, len(index)))}


def test_each_is_decoded_right_or_named_with_what_is_wrong(zoo):
    expected, index, names = zoo
    found = read(index)
    assert len(set(names)) == len(names) and expected.keys() == found.keys()
    for name, right in expected.items():
        if isinstance(right, str):
            assert isinstance(found[name], str), f"{name} was decoded"
            assert right in found[name] and "\n" not in found[name], name
        else:
            assert isinstance(found[name], np.ndarray), f"{name}: {found[name]}"
            assert np.array_equal(found[name], kept(right)), name


def test_bad_pictures_change_nothing_of_the_good_ones(zoo):
    expected, index, names = zoo
    pictures, problems = index.part(0, len(index))
    found = read(index)
    for workers in (1, 4):
        again = read(index, workers=workers)
        assert all(np.array_equal(found[name], again[name]) for name in names)
    good = [row for row, name in enumerate(names) if not isinstance(found[name], str)]
    assert np.array_equal(pictures[good], np.array([found[names[row]] for row in good]))


def test_what_read_tells_indexing_raises(zoo):
    expected, index, names = zoo
    pictures, problems = index.part(0, len(index))
    rows = np.array([row for row in range(len(index)) if row not in problems])
    pixels, places, found = pictures.read(rows)
    assert len(found) > 10
    for place, why in found.items():
        if not why.startswith("too large"):  # PIL only warns of some
            with pytest.raises(ImageProblem) as caught:
                pictures[[rows[0], rows[place]]]
            assert why in str(caught.value) and pictures.paths[rows[place]] in str(caught.value)


def test_a_bomb_is_found_before_it_is_decoded(zoo, monkeypatch):
    expected, index, names = zoo
    load = ImageFile.ImageFile.load

    def guarded(image):
        if image.width * image.height > Image.MAX_IMAGE_PIXELS:
            pytest.fail(f"{image.size} was decoded")
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", guarded)
    pictures, _ = index.part(0, len(index))
    rows = [names.index(name) for name in ("bomb.png", "real-bomb.png", "bomb.jpg")]
    pixels, places, found = pictures.read([*rows, names.index("0-first.png")])
    assert list(places) == [3] and len(pixels) == 1 and "100000000 pixels" in found[1]
    assert found == pictures.take(rows).problems()


def test_no_picture_at_all_is_no_pixels(zoo):
    expected, index, names = zoo
    pictures, _ = index.part(0, len(index))
    bad = [names.index(name) for name in ("text-called.jpg", "truncated.png")]
    pixels, places, found = pictures.read(bad)
    assert pixels.shape == (0, SIZE, SIZE, 3) and places.shape == (0,) and sorted(found) == [0, 1]
    pixels, places, found = pictures.read([])
    assert pixels.shape == (0, SIZE, SIZE, 3) and places.shape == (0,) and found == {}


def test_a_picture_that_goes_away_is_a_problem(tmp_path):
    Image.new("RGB", (9, 9), "red").save(tmp_path / "a.png")
    pictures = PictureFiles(tmp_path, ["a.png", "gone.png", "a.png"], 8)
    pixels, places, found = pictures.read(slice(None))
    assert list(places) == [0, 2] and (pixels == [255, 0, 0]).all()
    assert found == {1: "cannot be opened: No such file or directory"}


AS_NOBODY = """
import json, os, sys
from pathlib import Path
from tests.images.test_bad_pictures import read
from tests.images.zoo import write_zoo
from nsfast.images.index import open_index, write_index

def reasons(folder):
    write_zoo(folder / "zoo")
    found = read(open_index(write_index(folder / "zoo", folder / "files.parquet"), 20, whole=True))
    return {name: what if isinstance(what, str) else "" for name, what in found.items()}

folder = Path(sys.argv[1])
if os.geteuid() == 0:  # permissions do not bind root; what is imported late is imported before
    reasons(folder / "as root")
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
print(json.dumps(reasons(folder / "as nobody")))
"""


def test_what_may_not_be_read_is_a_problem_of_its_own(zoo):
    """Another user than root goes through the same pictures, to whom two of them are closed."""
    expected, _, _ = zoo
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        root = Path(__file__).parents[2]
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, folder], cwd=root, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
    denied = "cannot be opened: Permission denied"
    assert found.pop("unreadable.png") == denied and found.pop("closed/") == denied
    others = {
        name: what for name, what in expected.items() if name not in ("unreadable.png", "closed/inside.png")
    }
    assert found.keys() == others.keys() - {"closed/"}
    assert all(
        others[name] in why if why else not isinstance(others[name], str) for name, why in found.items()
    )
