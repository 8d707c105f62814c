"""The index has a row for each picture there is, in an order that does not change, and gives the pictures back."""

import io
import os
import pickle
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from nsfast.images import index as index_module
from nsfast.images.files import PictureFiles
from nsfast.images.index import FILES, names_stand, open_index, write_index, write_names
from nsfast.images.problem import ImageProblem


def png(value: int, side: int = 12) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (value, 2 * value % 256, 90)).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, files) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def rows_of(path: Path) -> list[dict]:
    return parquet.read_table(path).to_pylist()


@pytest.fixture
def source(tmp_path):
    """Pictures and tars at several depths, and what is looked at beside them."""
    source = tmp_path / "pictures"
    for value, name in enumerate(
        ["b.png", "a.jpg", "z/b.PNG", "ab/ü.png", "ab/deep/c.webp", ".hidden/x.png", ".x.png"]
    ):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(png(value))
    members = [
        (f"{name}.png", png(100 + value)) for value, name in enumerate(["q", "in/p", "dots.in.name", "q"])
    ]
    write_tar(source / "aa.tar", [*members, ("q.cls", b"3"), ("in/.hidden.png", b"1"), ("notes.txt", b"1")])
    write_tar(source / "ab" / "0.TAR", members[:1])
    return source


def test_rows_come_by_folder_and_name_and_those_of_a_tar_in_its_order(source, tmp_path):
    path = write_index(source, tmp_path / "out" / "files.parquet")
    assert path == tmp_path / "out" / "files.parquet"
    found = rows_of(path)
    assert [row["name"] for row in found] == [
        "a.jpg", "aa.tar/q.png", "aa.tar/in/p.png", "aa.tar/dots.in.name.png", "aa.tar/q.png", "b.png",
        "ab/0.TAR/q.png", "ab/ü.png", "z/b.PNG", "ab/deep/c.webp",
    ]  # fmt: skip
    assert [row["id"] for row in found] == list(range(10))
    about = parquet.read_schema(path)
    assert about.equals(FILES) and about.metadata[b"nsfast.kind"] == b"files"
    assert about.metadata[b"nsfast.root"] == os.fsencode(source)


def test_each_row_says_where_the_bytes_of_its_picture_are(source, tmp_path):
    for row in rows_of(write_index(source, tmp_path / "files.parquet")):
        file = source / row["path"]
        assert (row["size"], row["modified"]) == (file.stat().st_size, file.stat().st_mtime_ns)
        assert row["problem"] == "" and (row["length"] < 0) == (row["offset"] < 0)
        content = file.read_bytes()
        if row["offset"] >= 0:
            assert row["name"].startswith(f"{row['path']}/")
            content = content[row["offset"] : row["offset"] + row["length"]]
        else:
            assert row["name"] == row["path"]
        assert content[:4] == b"\x89PNG" and content[-8:-4] == b"IEND"


def test_parts_are_the_pictures_of_their_rows(source, tmp_path):
    index = open_index(write_index(source, tmp_path / "files.parquet"), 8)
    values = [1, 100, 101, 102, 103, 0, 100, 3, 2, 4]
    assert len(index) == 10 and index.shape == (10, 8, 8, 3) and index.channels == 3
    for start in range(11):
        for stop in range(start, 12):
            pictures, problems = index.part(start, stop)
            assert isinstance(pictures, PictureFiles) and problems == {}
            assert pictures[:].shape == (len(values[start:stop]), 8, 8, 3)
            assert pictures[:][:, 0, 0, 0].tolist() == values[start:stop]
            assert index.names(start, stop) == index.names(0, 10)[start:stop]
    grey = open_index(tmp_path / "files.parquet", 16, channels=1, whole=True, workers=3)
    pictures, _ = grey.part(2, 9)
    assert (pictures.size, pictures.channels, pictures.whole, pictures.workers) == (16, 1, True, 3)
    assert grey.shape == (10, 16, 16, 1) and grey.files_path == tmp_path / "files.parquet"
    again = pickle.loads(pickle.dumps(index))
    assert np.array_equal(again.part(3, 7)[0][:], index.part(3, 7)[0][:])


def test_what_cannot_be_a_picture_has_a_row_and_no_file(source, tmp_path):
    (source / "ab" / "notes.txt").write_text("text")
    (source / "ab" / "empty.png").touch()
    (source / "ab" / "gone.png").symlink_to(source / "nowhere")
    (source / "ab" / "up").symlink_to(source)
    (Path(os.fsdecode(os.fsencode(source / "ab") + b"/\xff.png"))).write_bytes(png(1))
    index = open_index(write_index(source, tmp_path / "files.parquet"), 8)
    pictures, problems = index.part(0, len(index))
    names = index.names(0, len(index))
    assert {names[place]: why for place, why in problems.items()} == {
        "ab/empty.png": "empty file (0 bytes)",
        "ab/gone.png": "cannot be opened: No such file or directory",
        "ab/notes.txt": "not a picture format: .txt",
        "ab/\\xff.png": "the name is not valid UTF-8",
        "ab/up/": "a link to a folder read already",
    }
    assert all((path == "") == (place in problems) for place, path in enumerate(pictures.paths))
    assert [place - 4 for place in problems if place >= 4] == list(index.part(4, len(index))[1])
    assert len(pictures) == len(names) == 15
    assert pictures.read([row for row in range(15) if row not in problems])[2] == {}


def test_one_tar_is_a_source(source, tmp_path):
    index = open_index(write_index(source / "aa.tar", tmp_path / "files.parquet"), 8)
    assert index.names(0, 9) == [f"aa.tar/{name}.png" for name in ("q", "in/p", "dots.in.name", "q")]
    assert index.part(0, 4)[0][:][:, 0, 0, 0].tolist() == [100, 101, 102, 103]


def test_a_link_and_a_header_that_leads_back_end_no_walk(source, tmp_path):
    link = tarfile.TarInfo("link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "q.png"
    with tarfile.open(source / "aa.tar", "a") as tar:
        tar.addfile(link)
    back = bytearray(tarfile.TarInfo("back.png").tobuf())
    back[124:136] = b"\xff" * 10 + b"\xfc\x00"  # -1024 bytes
    back[148:156] = b" " * 8
    back[148:156] = b"%06o\0 " % sum(back[:512])
    content = (source / "aa.tar").read_bytes().rstrip(b"\0")
    content += b"\0" * (-len(content) % 512)
    (source / "back.tar").write_bytes(content + bytes(back) + b"\0" * 1024)
    found = {row["name"]: row["problem"] for row in rows_of(write_index(source, tmp_path / "files.parquet"))}
    assert found["aa.tar/link.png"] == found["back.tar/link.png"] == "not a regular file"
    assert found["back.tar"].startswith("not a whole tar") and found["back.tar/q.png"] == ""
    assert found["b.png"] == ""


def test_an_index_is_the_same_as_long_as_the_files_are(source, tmp_path):
    def written():
        return open_index(write_index(source, tmp_path / "files.parquet"), 8).fingerprint

    first = written()
    assert written() == first
    (source / "b.png").write_bytes(png(77, side=30))
    second = written()
    os.utime(source / "aa.tar", ns=(1, 1))
    third = written()
    (source / "z" / "new.png").write_bytes(png(1))
    assert len({first, second, third, written()}) == 4


def test_an_array_is_mapped_and_its_pictures_are_numbered(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 4, 6, 1), dtype=np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    path = write_index(tmp_path / "a.npy", tmp_path / "files.parquet")
    index = open_index(path, 99)
    assert index.shape == (50, 4, 6, 1) and index.channels == 1 and len(index) == 50
    part, problems = index.part(7, 60)
    assert problems == {} and np.array_equal(part, pixels[7:]) and isinstance(part.base, np.memmap)
    assert index.names(48, 50) == ["48", "49"] and {row["path"] for row in rows_of(path)} == {""}
    np.save(tmp_path / "a.npy", pixels[:20])
    with pytest.raises(ImageProblem, match=r"a.npy is \(20, 4, 6, 1\) now and was \(50, 4, 6, 1\)"):
        index.part(0, 1)
    (tmp_path / "a.npy").unlink()
    with pytest.raises(ImageProblem, match="a.npy is no array of pictures: .*No such file"):
        open_index(path, 99)


@pytest.mark.parametrize(
    "array, said",
    [
        (np.array([{"a": 1}], object), "no array of pictures: .*Python objects"),
        (np.zeros((2, 4, 4, 3), np.float32), r"holds float32 \(2, 4, 4, 3\); give uint8"),
        (np.zeros((4, 4, 3), np.uint8), r"holds uint8 \(4, 4, 3\)"),
        (np.zeros((2, 4, 4, 2), np.uint8), "1 or 3"),
        (np.zeros((0, 4, 4, 3), np.uint8), "at least one"),
    ],
)
def test_an_array_of_anything_else_is_refused(tmp_path, array, said):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ImageProblem, match=said) as caught:
        write_index(tmp_path / "a.npy", tmp_path / "files.parquet")
    assert "\n" not in str(caught.value) and not (tmp_path / "files.parquet").exists()


def test_an_array_that_is_cut_short_or_none_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((9, 4, 4, 3), np.uint8))
    content = (tmp_path / "a.npy").read_bytes()
    for damaged in (content[:-50], content[:60], b"", b"text" * 100, pickle.dumps([1])):
        (tmp_path / "a.npy").write_bytes(damaged)
        with pytest.raises(ImageProblem, match="a.npy is no array of pictures"):
            write_index(tmp_path / "a.npy", tmp_path / "files.parquet")


def test_a_source_without_a_picture_is_refused(source, tmp_path):
    (tmp_path / "empty" / "texts").mkdir(parents=True)
    out = tmp_path / "files.parquet"
    for wrong, said in {
        tmp_path / "gone": "no pictures at .*gone'; give a folder",
        tmp_path / "empty": r"no picture \(\.jpg.*\) in .*empty$",
        source / "b.png": "no pictures at .*b.png",
    }.items():
        with pytest.raises(ImageProblem, match=said):
            write_index(wrong, out)
    (tmp_path / "empty" / "texts" / "a.txt").write_text("text")
    with pytest.raises(ImageProblem, match=r"in .*empty; texts/a.txt: not a picture format: .txt"):
        write_index(tmp_path / "empty", out)
    (tmp_path / "bad.tar").write_bytes(b"text" * 200)
    with pytest.raises(ImageProblem, match="bad.tar: not a whole tar"):
        write_index(tmp_path / "bad.tar", out)
    with pytest.raises(ImageProblem, match="files.parquet would lie in the folder of pictures"):
        write_index(source, source / "z" / "labels" / "files.parquet")
    assert not out.exists()


def test_an_index_is_whole_or_not_there(source, tmp_path):
    path = write_index(source, tmp_path / "out" / "files.parquet")
    before = path.read_bytes()

    def stop(done):
        assert done == 10
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_index(source, path, progress=stop)
    assert path.read_bytes() == before and os.listdir(path.parent) == ["files.parquet"]


def test_what_is_no_index_is_refused(source, tmp_path):
    path = tmp_path / "files.parquet"
    with pytest.raises(ImageProblem, match="is no index of pictures .*write it again"):
        open_index(path, 8)
    path.write_text("text")
    with pytest.raises(ImageProblem, match="is no index of pictures"):
        open_index(path, 8)
    parquet.write_table(pa.table({"id": [1]}), path)
    with pytest.raises(ImageProblem, match="is no index of pictures"):
        open_index(path, 8)
    write_names(tmp_path, ["a"])
    with pytest.raises(ImageProblem, match="unknown kind of index 'names'"):
        open_index(path, 8)
    content = write_index(source, path).read_bytes()
    index = open_index(path, 8)
    names = parquet.read_metadata(path).row_group(0).column(1)
    place = names.data_page_offset + names.total_compressed_size - 4
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(ImageProblem, match="is no index of pictures"):
        index.names(0, 10)
    path.unlink()
    with pytest.raises(ImageProblem, match="is no index of pictures .*No such file"):
        index.part(0, 1)
    with pytest.raises(ValueError, match="channels"):
        open_index(write_index(source, path), 8, channels=2)


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(index_module, "ROW_GROUP", 8192)


def test_a_part_reads_no_more_than_its_row_groups(tmp_path, monkeypatch, small_groups):
    content = png(1)
    write_tar(tmp_path / "a.tar", ((f"{i}.png" if i % 1000 else f"{i}.txt.png", content if i % 3000 else b"")
                                   for i in range(20_000)))  # fmt: skip
    calls = []
    path = write_index(tmp_path / "a.tar", tmp_path / "files.parquet", progress=calls.append)
    assert calls == [8192, 16384, 20000]
    index, read, groups = open_index(path, 8), parquet.ParquetFile.read_row_groups, []
    monkeypatch.setattr(
        parquet.ParquetFile,
        "read_row_groups",
        lambda self, g, c: (groups.append(list(g)), read(self, g, c))[1],
    )
    names = [row["name"] for row in rows_of(path)]
    for (start, stop), expected in {(0, 8192): [0], (8192, 8193): [1], (8191, 8193): [0, 1], (16384, 20000): [2],
                                    (100, 20000): [0, 1, 2], (8192, 16384): [1], (20000, 20000): [],
                                    (30000, 40000): []}.items():  # fmt: skip
        groups.clear()
        pictures, problems = index.part(start, stop)
        assert groups == [expected] and len(pictures) == len(range(start, min(stop, 20000)))
        assert problems == dict.fromkeys(
            [row - start for row in range(0, 20000, 3000) if start <= row < stop], "empty file (0 bytes)"
        )
        assert index.names(start, stop) == names[start:stop]


def test_memory_does_not_grow_with_the_number_of_names(tmp_path, small_groups):
    def peak(count):
        tracemalloc.start()
        pool = pa.default_memory_pool()
        write_names(tmp_path / str(count), (f"picture-{i:08d}" for i in range(count)))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert pool.bytes_allocated() < 1 << 20
        return found

    peak(10)
    assert peak(65_536) < 1.2 * peak(16_384) + 100_000
    assert rows_of(tmp_path / "65536" / "files.parquet")[-1]["name"] == "picture-00065535"
    assert parquet.read_metadata(tmp_path / "65536" / "files.parquet").num_row_groups == 8


def test_memory_does_not_grow_with_the_pictures_of_a_tar(tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "ROW_GROUP", 4096)

    def peak(count):
        path = write_tar(tmp_path / f"{count}.tar", ((f"{i:06d}.png", b"1") for i in range(count)))
        tracemalloc.start()
        write_index(path, tmp_path / f"{count}.parquet")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    assert peak(10_000) < 1.2 * peak(5_000) + 100_000


@pytest.mark.parametrize("kind", [list, np.array, iter, lambda names: (name for name in names)])
def test_names_come_back_from_any_iterable(tmp_path, kind):
    names = [f"ä{i}" for i in range(70_000)]
    write_names(tmp_path, kind(names))
    table = parquet.read_table(tmp_path / "files.parquet")
    assert table.schema.equals(FILES) and table["name"].to_pylist() == names
    assert table["id"].to_pylist() == list(range(70_000)) and set(table["problem"].to_pylist()) == {""}
    assert parquet.read_metadata(tmp_path / "files.parquet").row_group(0).num_rows == 65_536
    assert names_stand(tmp_path, names) and not names_stand(tmp_path, names[:-1])
    assert not names_stand(tmp_path, [*names[:-1], "other"]) and not names_stand(tmp_path / "gone", names)
