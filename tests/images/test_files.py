"""Pictures that stay in their files are the arrays that PIL would make of them, whoever decodes them."""

import pickle
import tarfile
import warnings

import numpy as np
import pytest
from PIL import Image

from nsfast.errors import NsfastError
from nsfast.images.crop import centre_square, random_box, random_draws
from nsfast.images.file_table import load_files, save_files
from nsfast.images.files import PictureFiles
from nsfast.images.problem import ImageProblem

NAMES = [f"{i % 3}/bild ü{i}.{'jpg' if i % 2 else 'png'}" for i in range(12)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Twelve smooth pictures of several sizes; the same in two tars."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        small = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        (root / name).parent.mkdir(exist_ok=True)
        small.resize((150 + 7 * number, 130 + 3 * number), Image.Resampling.BICUBIC).save(
            root / name, quality=95
        )
    for part in range(2):
        with tarfile.open(root / f"{part}.tar", "w") as tar:
            for name in NAMES[part::2]:
                tar.add(root / name, arcname=name)
    return root


@pytest.fixture(scope="module")
def in_tars(root):
    where = {}
    for part in range(2):
        with tarfile.open(root / f"{part}.tar") as tar:
            where |= {m.name: (f"{part}.tar", m.offset_data, m.size) for m in tar}
    paths, offsets, lengths = zip(*(where[name] for name in NAMES), strict=True)
    return lambda size=64, **options: PictureFiles(root, paths, size, 3, offsets, lengths, **options)


def reference(path, box, size) -> np.ndarray:
    """Cut the box out of the whole picture and resize it, at full scale."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").crop(box).resize((size, size), Image.Resampling.BICUBIC))


def test_it_has_the_form_of_an_array(root):
    pictures = PictureFiles(root, NAMES, 32)
    assert pictures.shape == (12, 32, 32, 3) and pictures.ndim == 4 and pictures.dtype == np.uint8
    assert len(pictures) == 12 and pictures.paths == NAMES and pictures.workers == 2
    assert np.array_equal(np.asarray(pictures), pictures[:]) and np.asarray(pictures).dtype == np.uint8
    assert sum(1 for _ in pictures) == 12


@pytest.mark.parametrize("size", [24, 64, 96])
def test_a_picture_is_the_centre_square_that_pil_resizes(root, size):
    pictures = PictureFiles(root, NAMES, size)
    for row, name in enumerate(NAMES):
        with Image.open(root / name) as image:
            box = centre_square(*image.size, size)
        expected = reference(root / name, box, size).astype(int)
        found = pictures[row]
        assert found.shape == (size, size, 3) and found.dtype == np.uint8
        # above a factor of six PIL first averages whole pixels
        allowed = 1.5 if name.endswith("jpg") else 0.3 if size == 24 else 1e-9
        assert np.abs(found - expected).mean() < allowed


def test_every_kind_of_index_is_numpys(root):
    pictures = PictureFiles(root, NAMES, 16)
    whole = pictures[:]
    odd = np.arange(12) % 2 == 1
    for key in (3, -1, np.int32(4), slice(2, 9, 3), slice(None, None, -1), slice(20, 30), [5, 5, -2],
                np.array([7, 0]), np.array([1], np.uint8), odd, [], np.zeros(12, bool)):  # fmt: skip
        found, expected = pictures[key], whole[np.asarray(key, int) if isinstance(key, list) else key]
        assert found.shape == expected.shape and np.array_equal(found, expected)


@pytest.mark.parametrize(
    "key", [12, -13, [0, 12], np.zeros(11, bool), 1.5, "a", (0, 1), np.zeros((2, 2), int)]
)
def test_an_index_that_numpy_refuses_is_refused(root, key):
    with pytest.raises(IndexError):
        PictureFiles(root, NAMES, 16)[key]


def test_ranges_of_tars_are_the_same_pictures(root, in_tars):
    files, tars = PictureFiles(root, NAMES, 48), in_tars(48)
    assert np.array_equal(files[:], tars[:])
    assert np.array_equal(files.crops(np.arange(12), 5), tars.crops(np.arange(12), 5))
    assert tars.problems() == files.problems() == {}


def test_grey_is_the_weighted_sum(root):
    colour, grey = PictureFiles(root, NAMES, 32)[:].astype(float), PictureFiles(root, NAMES, 32, 1)[:]
    assert grey.shape == (12, 32, 32, 1)
    assert np.abs(grey[..., 0] - colour @ [0.299, 0.587, 0.114]).max() <= 1.5


def test_taking_and_resizing_are_views_of_the_same_pictures(root, in_tars):
    for pictures in (PictureFiles(root, NAMES, 32), in_tars(32)):
        rows = np.array([9, 2, 2, 11])
        taken = pictures.take(rows)
        assert len(taken) == 4 and np.array_equal(taken[:], pictures[rows])
        assert taken.paths == [pictures.paths[r] for r in rows]
        assert np.array_equal(taken.take(np.array([True, False, False, True]))[:], pictures[[9, 11]])
        assert len(pictures.take([])) == 0 and pictures.take([])[:].shape == (0, 32, 32, 3)
        assert pictures.at(20).shape[1:] == (20, 20, 3) and pictures.size == 32
        assert np.array_equal(pictures.at(20)[:], PictureFiles(root, NAMES, 20)[:])


def test_crops_are_the_drawn_boxes_that_pil_resizes(root):
    pictures, rows = PictureFiles(root, NAMES, 40), np.arange(12)
    found = pictures.crops(rows, 7)
    for row, draw in zip(rows, random_draws(12, 7), strict=True):
        with Image.open(root / NAMES[row]) as image:
            box = random_box(*image.size, 40, draw)
        expected = reference(root / NAMES[row], box, 40).astype(int)
        expected = expected[:, ::-1] if draw[-1] < 0.5 else expected
        assert np.abs(found[row] - expected).mean() < (2.5 if NAMES[row].endswith("jpg") else 1e-9)


def test_the_number_of_threads_changes_no_bit(root, in_tars):
    rows = np.random.default_rng(0).integers(0, 12, 40)
    one, four = (in_tars(48, workers=workers) for workers in (1, 4))
    assert np.array_equal(one.crops(rows, 3), four.crops(rows, 3))
    assert np.array_equal(one[rows], four[rows])


def test_a_draw_depends_on_the_seed_and_the_place_alone(root):
    pictures = PictureFiles(root, NAMES, 24)
    rows = np.array([4, 8, 0, 4])
    whole = pictures.crops(rows, 1)
    assert np.array_equal(pictures.crops(rows[:2], 1), whole[:2])
    assert np.array_equal(pictures.crops([1, 2, 3, 4], 1)[3], whole[3])
    assert not np.array_equal(whole[0], whole[3]) and not np.array_equal(pictures.crops(rows, 2), whole)
    assert np.array_equal(pickle.loads(pickle.dumps(pictures)).crops(rows, 1), whole)


def test_half_of_the_crops_are_mirrored_and_none_if_not_asked_for(root):
    pictures, rows = PictureFiles(root, NAMES[:1], 8), np.zeros(200, int)
    plain, mirrored = (pictures.crops(rows, 0, flip=flip) for flip in (False, True))
    same = (plain == mirrored).all((1, 2, 3))
    assert (plain[~same] == mirrored[~same][:, :, ::-1]).all() and 70 < same.sum() < 130


def test_area_and_aspect_are_heeded(root):
    pictures = PictureFiles(root, NAMES[:1], 48)
    whole = pictures.crops([0, 0], 0, area=(1.0, 1.0), aspect=(150 / 130, 150 / 130), flip=False)
    assert (whole == reference(root / NAMES[0], (0, 0, 150, 130), 48)).all()


def test_loader_workers_decode_what_one_process_decodes(root):
    from torch.utils.data import DataLoader, Dataset

    class Batches(Dataset):
        pictures = PictureFiles(root, NAMES, 24)

        def __len__(self):
            return 4

        def __getitem__(self, batch):
            return self.pictures.crops(np.arange(3 * batch, 3 * batch + 3), seed=batch)

    def read(workers):
        return [b.numpy() for b in DataLoader(Batches(), batch_size=None, num_workers=workers)]

    Batches.pictures[:]  # threads have run in this process before it forks
    assert all(np.array_equal(a, b) for a, b in zip(read(0), read(2), strict=True))


def test_a_million_pictures_are_a_few_bytes_each():
    many = PictureFiles("/nowhere", ["train/n01440764/n01440764_10026.JPEG"] * 100_000, 224)
    assert len(pickle.dumps(many)) / len(many) < 64
    shards = PictureFiles(
        "/nowhere", ["a/0.tar", "a/1.tar"] * 50_000, 224, 3, np.arange(100_000), np.arange(100_000)
    )
    assert len(pickle.dumps(shards)) / len(shards) < 24
    assert len(pickle.dumps(many.take([5]))) < 1000


def test_what_is_saved_comes_back(root, in_tars, tmp_path):
    for pictures in (
        PictureFiles(root, NAMES, 24, 1),
        in_tars(24),
        in_tars(24).take([]),
        in_tars(8).take([3, 0]),
    ):
        save_files(tmp_path / "a.parquet", pictures)
        again = load_files(tmp_path / "a.parquet")
        assert again.shape == pictures.shape and again.paths == pictures.paths and again.root == str(root)
        assert np.array_equal(again.offsets, pictures.offsets) and np.array_equal(again[:], pictures[:])


def test_a_picture_replaced_under_its_name_is_another_table(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / name)
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        tar.add(tmp_path / "a.png", "a.png")
    files = PictureFiles(tmp_path, ["a.png", "b.png"], 8)
    length = (tmp_path / "a.png").stat().st_size
    shard = PictureFiles(tmp_path, ["c.tar"], 8, 3, [512], [length])

    def tables():
        for name, pictures in {"files": files, "shard": shard}.items():
            save_files(tmp_path / name, pictures)
        return [(tmp_path / name).read_bytes() for name in ("files", "shard")]

    before = tables()
    assert tables() == before
    Image.new("RGB", (9, 9), (200, 2, 3)).save(tmp_path / "b.png")
    after = tables()
    assert after[0] != before[0] and after[1] == before[1]
    content = bytearray((tmp_path / "c.tar").read_bytes())
    content[600] ^= 1
    (tmp_path / "c.tar").write_bytes(content)  # of the same size
    assert tables()[1] != before[1]


def test_the_table_says_what_the_folder_says_of_each_file(root, in_tars, tmp_path):
    from pyarrow import parquet

    for pictures in (PictureFiles(root, NAMES, 24), in_tars(24).take([5, 0, 5])):
        save_files(tmp_path / "a.parquet", pictures)
        rows = parquet.read_table(tmp_path / "a.parquet").to_pylist()
        stats = [(root / row["path"]).stat() for row in rows]
        assert [(r["size"], r["modified"]) for r in rows] == [(s.st_size, s.st_mtime_ns) for s in stats]
    save_files(tmp_path / "a.parquet", PictureFiles("/nowhere", ["a.png"], 8))
    assert parquet.read_table(tmp_path / "a.parquet").to_pylist()[0]["modified"] == -1


def test_the_whole_square_is_kept_where_it_is_asked_for(root, in_tars, tmp_path):
    for pictures in (PictureFiles(root, NAMES, 70, whole=True), in_tars(70, whole=True)):
        save_files(tmp_path / "a.parquet", pictures)
        for same in (
            pictures,
            pictures.take([0]),
            pictures.at(30).at(70),
            load_files(tmp_path / "a.parquet"),
        ):
            expected = reference(root / NAMES[0], (10, 0, 140, 130), 70)  # of 150 x 130
            assert same.whole and np.array_equal(same[0], expected)
    cut = PictureFiles(root, NAMES, 70)
    save_files(tmp_path / "a.parquet", cut)
    assert not cut.whole and not load_files(tmp_path / "a.parquet").whole
    assert not np.array_equal(cut[0], expected)


@pytest.fixture
def damaged(tmp_path, root):
    """Whole, cut, empty, missing, no picture, and a tar that ends early."""
    content = (root / NAMES[1]).read_bytes()
    for name, written in {"0.jpg": content, "1.jpg": content[:2000], "2.jpg": b"", "4.jpg": b"text"}.items():
        (tmp_path / name).write_bytes(written)
    (tmp_path / "5.tar").write_bytes(content)
    names = [*(f"{i}.jpg" for i in range(5)), "5.tar", "5.tar"]
    return PictureFiles(tmp_path, names, 16, 3, [-1] * 5 + [0, 1], [-1] * 5 + [len(content)] * 2)


def test_a_damaged_picture_is_named_with_the_reason(damaged):
    said = {1: "damaged", 2: "not a picture", 3: "cannot be opened: No such file", 4: "not a picture",
            6: "bytes from 1 on.*the file ends before"}  # fmt: skip
    assert np.array_equal(damaged[0], damaged[5])
    for row, why in said.items():
        for read in (lambda row=row: damaged[[0, row]], lambda row=row: damaged.crops([0, row, 5], 0)):
            with pytest.raises(ImageProblem, match=f"{damaged.paths[row]}.*{why}") as caught:
                read()
            assert "\n" not in str(caught.value)


def test_problems_are_found_without_keeping_a_picture(damaged, monkeypatch):
    monkeypatch.setattr(Image.Image, "resize", lambda *a, **k: pytest.fail("a picture was kept"))
    calls = []
    found = damaged.problems(lambda: calls.append(1))
    assert found.keys() == {1, 2, 3, 4, 6} and len(calls) == 7
    assert found[3].startswith("cannot be opened") and found[4] == "not a picture that can be read"
    assert found[1].startswith("damaged: ")


@pytest.mark.parametrize(
    "name, options",
    [("a.jpg", {}), ("a.jpg", {"progressive": True}), ("a.jpg", {"format": "MPO", "save_all": True}), ("a.png", {}),
     ("a.webp", {}), ("a.bmp", {}), ("a.tif", {})],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_picture_that_is_cut_is_a_problem_exactly_where_it_cannot_be_decoded(
    tmp_path, root, name, options, share
):
    path = tmp_path / name
    with Image.open(root / NAMES[1]) as image:
        image.convert("RGB").save(path, **options)
    pictures = PictureFiles(tmp_path, [name], 16)
    assert pictures.problems() == {}
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ImageProblem):
        pictures[0]
    assert pictures.problems().keys() == {0}


def test_a_decompression_bomb_is_a_problem_but_ends_no_training(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15_000)
    pictures = PictureFiles(root, NAMES[:2], 16)
    assert (
        all("exceeds limit" in why for why in pictures.problems().values()) and len(pictures.problems()) == 2
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pictures[:].shape == (2, 16, 16, 3)


@pytest.mark.parametrize(
    "options, said", [({"size": 0}, "size is 0"), ({"size": 5000}, "size is 5000"), ({"size": 8, "channels": 2},
     "channels is 2"), ({"size": 8, "workers": 0}, "workers is 0")])  # fmt: skip
def test_values_out_of_range_are_named(root, options, said):
    with pytest.raises(NsfastError, match=said):
        PictureFiles(root, NAMES, **options)
