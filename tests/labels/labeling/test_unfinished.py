"""A table goes on where it was left: what is done is kept, and of what is not nothing is left."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from nsfast.errors import NsfastError
from nsfast.files import read_json, write_json
from nsfast.images.index import open_index, write_index
from nsfast.labels import read_labels
from nsfast.labels.labeling.unfinished import UnfinishedTable
from nsfast.labels.table import MADE_OF_TABLE


@pytest.mark.parametrize("place", [(0, 1), (0, 3), (1, 3), (2, 3), (99, 100)])
def test_where_a_process_begins_changes_no_byte(labeling, teacher, tiny, tmp_path, place):
    labeling.run(teacher, tiny, tmp_path / "a", shard=9)
    labeling.run(teacher, tiny, tmp_path / "b", shard=9, rank=place[0], processes=place[1])
    assert labeling.files(tmp_path / "a") == labeling.files(tmp_path / "b")


def test_each_process_begins_at_another_shard(labeling, tmp_path):
    found = []
    for rank in range(3):
        table = UnfinishedTable(tmp_path / str(rank), labeling.origin, 60, 7)
        with table.claims:
            found.append(next(table.unclaimed(rank * table.shards // 3)))
    assert found == [0, 3, 6]


def test_ctrl_c_leaves_finished_shards_which_are_kept(labeling, teacher, tiny, tmp_path):
    labeling.run(teacher, tiny, tmp_path / "whole", shard=10)
    stopped = labeling.Counting(teacher, stop_at=38)
    with pytest.raises(KeyboardInterrupt):
        labeling.run(stopped, tiny, tmp_path / "a", shard=10)
    assert sorted(p.name for p in (tmp_path / "a").glob("part-*")) == [
        f"part-0000{n}.{kind}" for n in range(3) for kind in ("json", "parquet")
    ]
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").glob("*-0000[012].*")}
    counting = labeling.Counting(teacher)
    labeling.run(counting, tiny, tmp_path / "a", shard=10)
    assert counting.seen == 30 and {p: p.stat().st_mtime_ns for p in before} == before
    assert labeling.files(tmp_path / "a") == labeling.files(tmp_path / "whole")


def test_a_finished_table_of_this_origin_is_returned_at_once(labeling, teacher, tiny, tmp_path):
    labeling.run(teacher, tiny, tmp_path)
    before, counting = labeling.files(tmp_path), labeling.Counting(teacher)
    table = labeling.run(counting, tiny, tmp_path, shard=4)
    assert counting.seen == 0 and len(table) == 60 and labeling.files(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"teacher": "other"}, "teacher is abc instead of other"),
        ({"round": 2}, "round is 1 instead of 2"),
        ({"classes": ("x", "bee", "cat")}, "class 0 is 'ant' instead of 'x'"),
        ({"preprocessing": {"pixels": 9}}, "pixels is None instead of 9"),
    ],
)
def test_a_finished_table_of_another_origin_is_kept_unless_it_is_to_be_replaced(
    labeling, teacher, tiny, tmp_path, change, said
):
    labeling.run(teacher, tiny, tmp_path)
    before, counting = labeling.files(tmp_path), labeling.Counting(teacher)
    origin = replace(labeling.origin, **change)
    with pytest.raises(NsfastError, match=f"{said}; give another folder") as caught:
        labeling.run(counting, tiny, tmp_path, origin)
    assert "\n" not in str(caught.value) and counting.seen == 0 and labeling.files(tmp_path) == before
    table = labeling.run(counting, tiny, tmp_path, origin, replace=True)
    assert counting.seen == 60 and table.origin == origin == read_labels(tmp_path).origin


def test_a_finished_table_of_another_schema_is_kept_unless_it_is_to_be_replaced(
    labeling, teacher, tiny, tmp_path
):
    labeling.run(teacher, tiny, tmp_path)
    before, path = labeling.files(tmp_path), tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 3').replace('"origin"', '"whence"'))
    with pytest.raises(NsfastError, match="its schema is 3 instead of 2; give another folder"):
        labeling.run(teacher, tiny, tmp_path)
    labeling.run(teacher, tiny, tmp_path, replace=True)
    assert labeling.files(tmp_path) == before


def test_while_a_table_is_made_anew_nothing_says_that_it_is_finished(
    labeling, teacher, tiny, tmp_path, monkeypatch
):
    class Looking(labeling.Counting):
        def forward(self, x):
            assert not (tmp_path / "manifest.json").exists()
            return super().forward(x)

    def replaced(temporary, path, rename=os.replace):
        assert path.suffix != ".parquet" or not path.with_suffix(".json").exists()
        rename(temporary, path)

    labeling.run(teacher, tiny, tmp_path)
    monkeypatch.setattr(os, "replace", replaced)
    looking = Looking(teacher)
    labeling.run(looking, tiny, tmp_path, replace(labeling.origin, round=2), replace=True)
    assert looking.seen == 60


def test_a_table_of_more_pictures_is_another(labeling, teacher, tiny, tmp_path):
    labeling.run(teacher, tiny, tmp_path)
    fewer = tiny.unlabeled.take(np.arange(40))
    with pytest.raises(NsfastError, match="it is of 60 pictures instead of 40; give another folder"):
        labeling.run(teacher, fewer, tmp_path)
    assert labeling.run(teacher, fewer, tmp_path, replace=True).ids.tolist() == list(range(40))
    labeling.run(teacher, fewer, tmp_path / "b")
    shutil.move(tmp_path / "b", other := tmp_path.with_name("other"))
    assert labeling.files(tmp_path) == labeling.files(other)


@pytest.mark.parametrize(
    ("earlier", "shard", "finished"),
    [(6, 10, False), (6, 10, True), (6, 30, True), (6, 100, False), (25, 10, False), (7, 4, False)],
)
def test_nothing_of_an_earlier_labeling_is_left_between_the_shards(
    labeling, teacher, tiny, tmp_path, earlier, shard, finished
):
    out = tmp_path / "a"
    labeling.run(teacher, tiny, out, shard=earlier)
    (out / "part-00000.parquet").unlink()
    if not finished:
        (out / "manifest.json").unlink()
    (out / ".part-00009.parquet.99.tmp").write_text("of a process that was killed")
    (out / ".manifest.json.99.tmp").touch()
    labeling.run(teacher, tiny, out, shard=shard)
    labeling.run(teacher, tiny, tmp_path / "b", shard=shard)
    assert labeling.files(out) == labeling.files(tmp_path / "b")


@pytest.mark.parametrize("damage", ["part cut", "part gone", "note gone", "note cut", "codes gone", "names"])
def test_what_is_damaged_is_made_again_and_no_more(labeling, teacher, tiny, tmp_path, damage):
    labeling.run(teacher, tiny, tmp_path)
    before, counting = labeling.files(tmp_path), labeling.Counting(teacher)
    what, how = damage.split() if " " in damage else (damage, "")
    path = {"part": "part-00001.parquet", "note": "part-00001.json", "codes": "contents-00001.parquet"}.get(
        what
    )
    (tmp_path / "manifest.json").unlink()
    if path is None:
        (tmp_path / "files.parquet").write_bytes(b"PAR1 no more")
    elif how == "cut":
        (tmp_path / path).write_bytes((tmp_path / path).read_bytes()[:50])
    else:
        (tmp_path / path).unlink()
    labeling.run(counting, tiny, tmp_path)
    assert labeling.files(tmp_path) == before and counting.seen == (0 if path is None else 25)


def test_a_shard_that_goes_missing_from_a_finished_table_is_made_again(labeling, teacher, tiny, tmp_path):
    labeling.run(teacher, tiny, tmp_path)
    before, counting = labeling.files(tmp_path), labeling.Counting(teacher)
    (tmp_path / "part-00002.parquet").unlink()
    labeling.run(counting, tiny, tmp_path)
    assert labeling.files(tmp_path) == before and counting.seen == 10


def index_of(tiny, folder):
    """An index of the unlabeled pictures, as an array in a file."""
    folder.mkdir()
    np.save(folder / "pictures.npy", tiny.unlabeled.pixels)
    return open_index(write_index(folder / "pictures.npy", folder / "index.parquet"), 8, 1)


@pytest.mark.parametrize("kind", ["split", "index"])
@pytest.mark.parametrize("name", ["files.parquet", "histogram.parquet"])
@pytest.mark.parametrize("damage", ["gone", "cut", "another byte", "not in the manifest"])
def test_what_the_manifest_vouches_for_is_made_again_and_nothing_else(
    labeling, teacher, tiny, tmp_path, kind, name, damage
):
    out, pictures = tmp_path / "a", index_of(tiny, tmp_path / "of") if kind == "index" else tiny
    labeling.run(teacher, pictures, out)
    (out / "leaked.csv").write_text("id\n3\n")
    before, counting, path = labeling.files(out), labeling.Counting(teacher), out / name
    time, times = path.stat().st_mtime_ns, {p: p.stat().st_mtime_ns for p in out.glob("part-*")}
    if damage == "not in the manifest":
        manifest = read_json(out / "manifest.json")
        del manifest["files"][name]
        write_json(out / "manifest.json", manifest)
    elif damage == "gone":
        path.unlink()
    else:
        whole = before[name]
        path.write_bytes(whole[:-9] if damage == "cut" else whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
        os.utime(path, ns=(time, time))
    table = labeling.run(counting, pictures, out, shard=4, replace=damage == "cut")
    assert counting.seen == 0 and len(table) == 60 and labeling.files(out) == before
    assert {p: p.stat().st_mtime_ns for p in times} == times


def test_a_list_of_pictures_that_goes_missing_meanwhile_is_made_again(labeling, teacher, tiny, tmp_path):
    class Removes(labeling.Counting):
        def forward(self, x):
            (tmp_path / "a" / "files.parquet").unlink(missing_ok=True)
            return super().forward(x)

    labeling.run(Removes(teacher), tiny, tmp_path / "a")
    labeling.run(teacher, tiny, tmp_path / "b")
    assert labeling.files(tmp_path / "a") == labeling.files(tmp_path / "b")


@pytest.mark.parametrize("kind", ["split", "index"])
@pytest.mark.parametrize("missing", ["nothing", "files.parquet", "histogram.parquet", "part-00001.parquet"])
def test_other_pictures_of_the_same_number_are_others(labeling, teacher, tiny, tmp_path, kind, missing):
    out, other = tmp_path / "a", replace(tiny, unlabeled=tiny.unlabeled.take(np.arange(60)[::-1]))
    pictures = tiny
    if kind == "index":
        pictures, other = index_of(tiny, tmp_path / "of"), index_of(other, tmp_path / "others")
    labeling.run(teacher, pictures, out)
    (out / missing).unlink(missing_ok=True)
    before, counting = labeling.files(out), labeling.Counting(teacher)
    with pytest.raises(
        NsfastError, match="another: it is of other pictures, though of as many; give another folder"
    ):
        labeling.run(counting, other, out)
    assert counting.seen == 0 and labeling.files(out) == before
    labeling.run(counting, other, out, replace=True)
    labeling.run(teacher, other, tmp_path / "b")
    assert counting.seen == 60 and labeling.files(out) == labeling.files(tmp_path / "b")


def test_shards_of_other_pictures_are_made_again_when_the_table_was_not_finished(
    labeling, teacher, tiny, tmp_path
):
    with pytest.raises(KeyboardInterrupt):
        labeling.run(labeling.Counting(teacher, stop_at=55), tiny, tmp_path / "a")
    assert (tmp_path / "a" / "part-00001.json").is_file()
    other, counting = tiny.unlabeled.take(np.arange(60)[::-1]), labeling.Counting(teacher)
    labeling.run(counting, other, tmp_path / "a")
    labeling.run(teacher, other, tmp_path / "b")
    assert counting.seen == 60 and labeling.files(tmp_path / "a") == labeling.files(tmp_path / "b")


@pytest.mark.parametrize("change", ["round", "pictures", "schema"])
def test_what_was_found_in_the_table_before_is_gone_when_one_is_made_anew(
    labeling, teacher, tiny, tmp_path, change
):
    labeling.run(teacher, tiny, tmp_path)
    for name in MADE_OF_TABLE:
        (tmp_path / name).touch()
    origin, pictures, path = labeling.origin, tiny.unlabeled, tmp_path / "manifest.json"
    if change == "round":
        origin = replace(origin, round=2)
    elif change == "pictures":
        pictures = pictures.take(np.arange(60)[::-1])
    else:
        path.write_text(path.read_text().replace('"schema": 2', '"schema": 3'))
    labeling.run(teacher, pictures, tmp_path, origin, replace=True)
    assert not [name for name in MADE_OF_TABLE if (tmp_path / name).exists()]


def test_what_was_found_in_a_table_stays_when_a_shard_of_it_is_made_again(labeling, teacher, tiny, tmp_path):
    labeling.run(teacher, tiny, tmp_path)
    for name in MADE_OF_TABLE:
        (tmp_path / name).touch()
    before = labeling.files(tmp_path)
    (tmp_path / "part-00001.parquet").unlink()
    labeling.run(teacher, tiny, tmp_path)
    assert labeling.files(tmp_path) == before


@pytest.mark.parametrize("missing", ["nothing", "files.parquet", "histogram.parquet"])
@pytest.mark.parametrize("replacing", [False, True])
def test_a_finished_table_of_another_precision_is_taken_as_it_is(
    labeling, teacher, tiny, tmp_path, missing, replacing
):
    there, here = (
        replace(labeling.origin, preprocessing={"pixels": 8, "precision": kind})
        for kind in ("bfloat16", "float32")
    )
    labeling.run(teacher, tiny, tmp_path, there)
    before, counting = labeling.files(tmp_path), labeling.Counting(teacher)
    (tmp_path / missing).unlink(missing_ok=True)
    table = labeling.run(counting, tiny, tmp_path, here, replace=replacing)
    assert counting.seen == 0 and table.origin == there and labeling.files(tmp_path) == before
    other = replace(here, preprocessing={"pixels": 9, "precision": "float32"})
    with pytest.raises(NsfastError, match="another: pixels is 8 instead of 9; give another folder"):
        labeling.run(counting, tiny, tmp_path, other)


@pytest.mark.parametrize("missing", ["part-00001.parquet", "manifest.json", "contents-00000.parquet"])
def test_shards_of_two_precisions_are_never_mixed(labeling, teacher, tiny, tmp_path, missing):
    there, here = (
        replace(labeling.origin, preprocessing={"precision": kind}) for kind in ("bfloat16", "float32")
    )
    labeling.run(teacher, tiny, tmp_path, there)
    (tmp_path / missing).unlink()
    counting = labeling.Counting(teacher)
    if missing == "manifest.json":
        with pytest.raises(
            NsfastError, match="unfinished .* another: precision is bfloat16 instead of float32"
        ):
            labeling.run(counting, tiny, tmp_path, here)
    table = labeling.run(counting, tiny, tmp_path, here, replace=True)
    assert counting.seen == 60 and table.origin == here
    said = {pq.read_schema(path).metadata[b"nsfast.origin"] for path in table.paths}
    assert len(said) == 1 and b"float32" in said.pop()


def test_codes_are_there_before_the_shard_counts_and_only_if_wanted(
    labeling, teacher, tiny, tmp_path, monkeypatch
):
    moved, rename = [], os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (moved.append(b.name), rename(a, b)))
    labeling.run(teacher, tiny, tmp_path / "with", shard=30)
    kinds = [name for name in moved if "-0000" in name]
    assert kinds == [
        f"{kind}-0000{n}.{ending}"
        for n in range(2)
        for kind, ending in (("contents", "parquet"), ("part", "parquet"), ("part", "json"))
    ]
    labeling.run(teacher, tiny, tmp_path / "without", shard=30, contents=False)
    both = labeling.files(tmp_path / "with")
    assert labeling.files(tmp_path / "without") == {
        n: b for n, b in both.items() if not n.startswith("contents")
    }


def test_a_process_that_is_wrongly_taken_for_dead_goes_on_and_changes_no_byte(
    labeling, teacher, tiny, tmp_path, monkeypatch
):
    """While it writes a shard another one takes its claim over, removes what it writes, and dies as well."""
    labeling.run(teacher, tiny, tmp_path / "whole", shard=10)
    rename, taken = os.replace, []

    def replaced(temporary, path):
        if path.name == "part-00002.parquet" and not taken:
            claim = path.with_suffix(".claim")
            taken.append(claim.read_text())
            claim.write_text(json.dumps({**json.loads(taken[0]), "started": "1", "token": "another"}))
            temporary.unlink()
        rename(temporary, path)

    monkeypatch.setattr(os, "replace", replaced)
    counting = labeling.Counting(teacher)
    labeling.run(counting, tiny, tmp_path / "a", shard=10)
    assert (
        taken and counting.seen == 70 and labeling.files(tmp_path / "a") == labeling.files(tmp_path / "whole")
    )


def test_a_shard_that_another_begins_again_at_the_end_is_made_again(
    labeling, teacher, tiny, tmp_path, monkeypatch
):
    labeling.run(teacher, tiny, tmp_path / "whole", shard=10)
    finish, broken = UnfinishedTable.finish, []

    def finished(table, pictures):
        if not broken:  # one that took this process for dead takes the note away, and dies
            broken.append((tmp_path / "a" / "part-00003.json").unlink())
        return finish(table, pictures)

    monkeypatch.setattr(UnfinishedTable, "finish", finished)
    counting = labeling.Counting(teacher)
    labeling.run(counting, tiny, tmp_path / "a", shard=10)
    assert counting.seen == 70 and labeling.files(tmp_path / "a") == labeling.files(tmp_path / "whole")


def test_a_process_that_lost_its_claim_writes_nothing(labeling, teacher, tiny, tmp_path):
    class Loses(labeling.Counting):
        def forward(self, x):
            claim = tmp_path / "part-00003.claim"
            if self.seen == 35:  # another one, of another machine, which lives
                text = {**json.loads(claim.read_text()), "host": "elsewhere", "token": "another"}
                claim.write_text(json.dumps(text))
            if self.seen == 55:  # the shard has been through the writer's hands
                assert not (tmp_path / "part-00003.parquet").exists()
                claim.unlink()
            return super().forward(x)

    losing = Loses(teacher)
    labeling.run(losing, tiny, tmp_path, shard=10, batch=5)
    assert losing.seen == 70


@pytest.mark.parametrize(
    ("change", "shard", "said"),
    [
        ({"teacher": "other" * 12}, 25, f"teacher is {'other' * 8} instead of abc"),
        ({"round": 2}, 25, "round is 2 instead of 1"),
        (
            {"preprocessing": {"pixels": 8, "precision": "bfloat16"}},
            25,
            "precision is bfloat16 instead of float32",
        ),
        ({"preprocessing": {"pixels": 9, "precision": "float32"}}, 25, "pixels is 9 instead of 8"),
        ({"top": 2}, 25, "top is 2 instead of 0"),
        ({"pictures": "others"}, 25, "checksum of the pictures is others instead of "),
        (
            {"classes": ("ant", "bee", "fly")},
            25,
            "list of classes is 3 of checksum .* instead of 3 of checksum",
        ),
        ({}, 24, "shard size is 24 instead of 25"),
    ],
)
def test_two_labelings_do_not_share_a_folder_and_are_told_in_what_they_differ(
    labeling, teacher, tiny, tmp_path, change, shard, said
):
    origin = replace(labeling.origin, preprocessing={"pixels": 8, "precision": "float32"})
    other = UnfinishedTable(tmp_path, replace(origin, **change), 60, shard)
    with other.claims:
        assert next(other.unclaimed(2)) == 2
        with pytest.raises(
            NsfastError, match=rf"another labeling is at work in .*\): its {said}.*; wait for"
        ) as caught:
            labeling.run(teacher, tiny, tmp_path, origin)
        assert other.claims.holds("part-00002") and "\n" not in str(caught.value)
    assert other.claims.work != UnfinishedTable(tmp_path, origin, 60, 25).claims.work


def test_what_a_claim_says_of_the_work_is_small_however_many_classes_there_are(labeling, tmp_path):
    origin = replace(labeling.origin, classes=tuple(f"class number {i}" for i in range(20_000)))
    with UnfinishedTable(tmp_path, origin, 60, 25).claims as claims:
        claims.take("table")
        assert (tmp_path / "table.claim").stat().st_size < 1000


def test_a_claim_that_died_after_the_manifest_is_taken_away(labeling, teacher, tiny, tmp_path):
    labeling.run(teacher, tiny, tmp_path)
    before = labeling.files(tmp_path)
    table = UnfinishedTable(tmp_path, labeling.origin, 60, 25)
    (tmp_path / "table.claim").write_text(json.dumps({**table.claims._me, "started": "1"}))
    labeling.run(teacher, tiny, tmp_path)
    assert labeling.files(tmp_path) == before


def test_a_folder_that_cannot_be_is_named(labeling, teacher, tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NsfastError, match="cannot write into .*file/labels.*give another folder"):
        labeling.run(teacher, tiny, tmp_path / "file" / "labels")
