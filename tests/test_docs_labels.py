"""docs/labels.md: its code runs, its four ways of asking give one answer, and what it says of the files is so."""

import re
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nsfast.files import read_json
from nsfast.images import Split
from nsfast.images.index import FILES
from nsfast.labels import Balancing, Origin, balance, read_labels, read_selection, write_labels
from nsfast.labels.balancing.limits import paper_number
from nsfast.labels.contents import (
    contents_name,
    duplicates,
    leaked,
    write_contents,
    write_duplicates,
    write_held_out,
    write_leaked,
)
from nsfast.labels.quality.quality import quality
from nsfast.labels.shards import schema_of
from nsfast.labels.storage import write_targets

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "labels.md").read_text(encoding="utf-8")
CLASSES, PETS = tuple(f"n{i:08}" for i in range(200)), ("cat", "dog", "hamster")


def blocks():
    for block in re.finditer(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        above = PAGE[: block.start(1)].count("\n")  # so that an error names the line of the page
        yield compile("\n" * above + block[1], str(DOCS / "labels.md"), "exec"), block[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tables that the page reads: 200 classes of which 10 are kept, and 3 classes in two rounds."""
    folder, random = tmp_path_factory.mktemp("labels"), np.random.default_rng(0)
    names = [f"val/{i:04}, ä.jpg" for i in range(900)]
    likely = random.dirichlet(np.full(200, 0.02), 880).astype(np.float32)
    table = write_labels(
        folder / "imagenet/labels",
        likely,
        Origin(CLASSES, "t" * 64, top=10),
        names,
        np.arange(20, 900),
        shard=300,
    )
    balance(table, Balancing(per_class=9), folder / "imagenet")
    write_targets(table, folder / "imagenet/selection.parquet", folder / "imagenet/selection.labels.npy")
    names, softer = [f"pets/{i:03}.jpg" for i in range(400)], random.dirichlet(np.ones(3), 400)
    for number, ids in ((1, np.arange(390)), (2, np.arange(8, 400))):
        probabilities = 0.7 * softer + 0.3 * random.dirichlet(np.ones(3), 400)
        origin = Origin(PETS, f"teacher {number}", number)
        where = folder / f"runs/pets/round-{number}/labels"
        write_labels(where, probabilities[ids], origin, names, ids, shard=150)
    exact, look = (random.integers(0, 2**64, 400, dtype=np.uint64) for _ in range(2))
    pixels = random.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    write_held_out(where, {"validation": Split(np.array(list("uvwxyz")), pixels)})
    held_out = pq.read_table(where / "held_out.parquet")
    exact[50], exact[300], look[70] = held_out["exact"][0].as_py(), exact[60], held_out["look"][3].as_py() ^ 5
    for number, ids in enumerate(np.split(np.arange(8, 400), [150, 300])):
        write_contents(where / contents_name(number), ids, exact[ids], look[ids])
    return folder


@pytest.fixture(scope="module")
def ran(folder):
    """What stands under each name after each block of the page, and the block."""
    names, found = {}, []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for code, text in blocks():
            exec(code, names)
            found.append((dict(names), text))
    return found


def after(ran, text):
    return next(names for names, block in ran if text in block)


def plain(rows):
    """Rows as Python has them, numbers that are not whole to six digits."""
    rows = [[getattr(value, "item", lambda value=value: value)() for value in row] for row in rows]
    return [[round(value, 6) if isinstance(value, float) else value for value in row] for row in rows]


def test_four_ways_of_asking_give_one_answer(ran, folder):
    ways = ("import duckdb", "import polars", "import pandas", "np.lexsort")
    answers = [after(ran, way) for way in ways]
    table = read_labels(folder / "imagenet/labels")
    for answer in answers:
        assert plain(answer["count"]) == plain(answers[0]["count"])
        assert plain(answer["unsure"]) == plain(answers[0]["unsure"])
        assert float(answer["agreement"]) == pytest.approx(float(answers[0]["agreement"]), abs=1e-12)
    count, unsure = plain(answers[0]["count"]), plain(answers[0]["unsure"])
    slow = [table.confidence[(table.predicted == i) & (table.confidence >= 0.3)] for i in range(200)]
    assert [row[:2] for row in count] == [[i, len(some)] for i, some in enumerate(slow) if len(some)]
    assert 100 < sum(row[1] for row in count) < len(table)  # some are below the threshold
    assert [row[0] for row in unsure] == sorted(table.ids, key=lambda i: (table.confidence[i - 20], i))[:5]
    assert all(name == f"val/{i:04}, ä.jpg" for i, name, _, _ in unsure)
    assert 0.5 < float(answers[0]["agreement"]) < 1
    assert plain(after(ran, "histogram.parquet")["reached"]) == [row[:2] for row in count]


def test_what_the_page_says_of_float16_is_so(tmp_path):
    just = np.full(200_000, np.float16(0.9))
    assert float(just[0]) == 0.89990234375
    pq.write_table(
        pa.table({"confidence": pa.array(just), "class": np.zeros(len(just), int)}), tmp_path / "x"
    )
    for threshold, reach in ((0.9, 0), (float(np.float16(0.9)), len(just))):
        query = f"SELECT count(*) FROM read_parquet('{tmp_path / 'x'}') WHERE confidence >= {threshold}"
        assert duckdb.sql(query).fetchall() == [(reach,)]
    column = pl.read_parquet(tmp_path / "x")["confidence"]
    if column.dtype != pl.Float32:  # polars before 1.36 has no float16
        assert column.sum() == np.inf and column.cast(pl.Float32).sum() == pytest.approx(179980.5)
    with np.errstate(over="ignore"):
        assert just.sum() == np.inf and just.astype(np.float32).sum() == pytest.approx(179980.5)
    table = pd.read_parquet(tmp_path / "x").astype({"confidence": "float32"})
    assert table.groupby("class")["confidence"].sum()[0] == pytest.approx(179980.5)


def test_soft_hard_and_softer_targets_are_what_the_page_says(ran, folder):
    names, table = after(ran, "temperature=2"), read_labels(folder / "imagenet/labels")
    soft, hard, softer = names["soft"], names["hard"], names["softer"]
    assert soft.shape == hard.shape == (100, 200) and soft.dtype == np.float32
    assert (hard.argmax(1) == table.predicted[:100]).all() and (hard.sum(1) == 1).all()
    root = np.sqrt(soft.astype(float))
    assert softer == pytest.approx(root / root.sum(1, keepdims=True), abs=1e-6)
    assert abs(soft.sum(1) - 1).max() < 1e-6 and soft.argmax(1).tolist() == table.predicted[:100].tolist()


def test_numpy_alone_reads_the_memory_map_as_nsfast_does(ran, folder):
    names = after(ran, "np.put_along_axis")
    assert names["whole"] == pytest.approx(names["batch"], abs=1e-3) and names["batch"].shape == (256, 200)
    assert len(names["epoch"]) == names["selection"].copies.sum() > len(names["selection"])
    table = read_labels(folder / "imagenet/labels")
    ids = names["selection"].ids[names["epoch"][:256]]
    assert (names["kept"]["classes"] == table.vectors.top_classes[ids - 20]).all()
    assert (names["kept"].dtype.itemsize, names["kept"].dtype["probabilities"].base) == (40, np.float16)


def test_leaked_pictures_are_found_as_the_page_shows(ran, folder):
    names = after(ran, "near=4")
    assert names["same"].ids.tolist() == [50] and names["same"].held_out.tolist() == ["u"]
    found = zip(names["alike"].ids, names["alike"].held_out, names["alike"].distances, strict=True)
    assert [tuple(map(str, row)) for row in found] == [("50", "u", "-1"), ("70", "x", "2")]
    assert (names["again"].tolist(), names["first"].tolist()) == ([300], [60])


def test_whole_distributions_are_read_as_the_page_shows(ran, folder):
    names, table = after(ran, "AS margin"), read_labels(folder / "runs/pets/round-2/labels")
    kept = table.vectors.probabilities.astype(np.float32)
    highest = np.sort(kept, 1)[:, ::-1]
    margin = highest[:, 0] - highest[:, 1]
    least = np.lexsort((table.ids, margin))[:5]
    columns = table.ids, table.predicted, kept[:, 1], margin
    assert plain(names["close"]) == plain(zip(*(column[least] for column in columns), strict=True))
    assert names["dogs"].rows() == list(zip(table.ids.tolist(), kept[:, 1].tolist(), strict=True))
    assert (names["whole"] == kept[:150]).all() and (names["kept"] == kept).all()


def test_what_if_is_what_balancing_comes_to(ran, folder):
    limits, table = after(ran, "what_if(")["limits"], read_labels(folder / "imagenet/labels")
    balanced = balance(table, Balancing(0.3, "auto", max_copies=3), folder / "what if")
    assert balanced.rows == limits.rows() and balanced.why == limits.why
    assert 0 < limits.kept.sum() < limits.seen.sum() <= 3 * limits.kept.sum()


def test_decisions_do_what_the_page_says(ran, folder):
    chosen, table = after(ran, "decisions_of")["chosen"], read_labels(folder / "runs/pets/round-2/labels")
    found = read_selection(folder / "chosen/selection.parquet")
    classes = dict(zip(found.ids.tolist(), found.classes.tolist(), strict=True))
    predicted, sure = dict(zip(table.ids, table.predicted, strict=True)), table.confidence >= np.float16(0.9)
    assert classes[17] == predicted[17] and classes[31] == 2 and 40 not in classes
    assert not sure[[17 - 8, 31 - 8]].all()  # at least one of them only because it was decided
    assert set(classes) - {17, 31} <= set(table.ids[sure].tolist()) and chosen.unmet == 0
    told = read_json(folder / "chosen/balancing.json")
    assert [told[name] for name in ("rejected", "relabeled", "accepted", "twice")] == [1, 1, 1, 0]


def test_every_option_and_key_is_on_the_page(folder):
    options = {name.strip("`"): value.strip('"') for name, value, _ in table_of("and `balance`:")}
    asked = {name: str(value) for name, value in Balancing().to_dict().items()}
    assert options == asked | {"temperature": "1"}
    page = PAGE[PAGE.index("**`balancing.json`**") : PAGE.index("## The selection")]
    mine, of_quality = page.split("**`quality.json`**")
    assert set(re.findall(r"`(\w+)`", mine)) >= {*read_json(folder / "chosen/balancing.json")}
    table = read_labels(folder / "runs/pets/round-2/labels")
    found = quality(table, np.arange(3), 0.3)
    keys = [re.findall(r"`(\w+)`", name) for name, _ in table_of("**`quality.json`**")]
    assert [key for row in keys for key in row] == [*found]
    classes = quality(table, np.arange(3), 0.3, truth=np.zeros(400, int))["classes"][0]
    assert set(re.findall(r"`(\w+)`", of_quality)) >= {*classes, *found["against_labeled"]}


def test_the_papers_number_on_the_page_is_so():
    said = re.search(r"([\d,]+) labels of ([\d,]+) classes: (\d+)\.", " ".join(PAGE.split()))
    labels, classes, number = (int(group.replace(",", "")) for group in said.groups())
    assert paper_number(labels, classes) == number == round(130_000 * labels / 300e6 * 1000 / classes)


def test_labels_of_another_model_are_balanced(ran):
    balanced = after(ran, "own/labels")["balanced"]
    assert [row["seen"] for row in balanced.rows] == [120] * 3


def test_the_closed_form_of_the_page_is_that_of_any_distribution():
    """Total variation, divergence and gradient of renormalised top-k, and that the even rest is nearer."""
    p = np.sort(np.random.default_rng(0).dirichlet(np.full(200, 0.1), 300), 1)[:, ::-1]
    m = p[:, :10].sum(1, keepdims=True)
    even = np.concatenate([p[:, :10], np.repeat((1 - m) / 190, 190, 1)], 1)
    renormalised = np.concatenate([p[:, :10] / m, np.zeros((300, 190))], 1)
    assert abs(renormalised - p).sum(1) == pytest.approx(2 * (1 - m[:, 0]))
    kept = renormalised[:, :10]
    assert (kept * np.log(kept / p[:, :10])).sum(1) == pytest.approx(-np.log(m[:, 0]))
    assert (abs(even - p).sum(1) < abs(renormalised - p).sum(1)).all()
    pattern = r"m = (\S+), .* confidence of (\S+) into (\S+) .* each of (\d+) classes (\S+),"
    said = re.search(pattern, " ".join(PAGE.split()))
    m, before, after, classes, each = map(float, said.groups())
    assert after == pytest.approx(before / m) and each == pytest.approx((1 - m) / classes, rel=0.02)


def table_of(heading):
    """First cells and second cells of the first table below some words."""
    lines = PAGE[PAGE.index(heading) :].split("\n\n")[1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_schema_of_the_page_is_that_of_the_files(folder):
    said = {"int64": pa.int64(), "uint16": pa.uint16(), "float16": pa.float16(), "string": pa.string()}
    said |= {"list of k uint16": pa.list_(pa.uint16(), 10), "list of k float16": pa.list_(pa.float16(), 10)}
    said["list of float16"] = pa.list_(pa.float16(), 200)
    labels = {name.strip("`"): said[kind] for name, kind, _ in table_of("`part-*.parquet`, the labels:")}
    top, whole = (schema_of(Origin(CLASSES, "t", top=top)) for top in (10, 0))
    assert labels == {field.name: field.type for schema in (top, whole) for field in schema}
    files = {}
    for names, kind, _ in table_of("`files.parquet`, the pictures:"):
        files |= dict.fromkeys(re.findall("`(.*?)`", names), said[kind])
    assert files == {field.name: field.type for field in FILES}
    assert pq.read_schema(folder / "imagenet/labels/files.parquet").names == FILES.names


def test_the_columns_of_the_other_files_are_those_of_the_page(folder):
    labels = folder / "runs/pets/round-2/labels"
    write_leaked(labels / "leaked.csv", leaked(labels), labels)
    write_duplicates(labels / "duplicates.csv", *duplicates(labels), labels)
    for name, columns in table_of("The others:"):
        pattern = name.strip("`")
        outside = pattern.startswith(("selection", "balance"))
        path = next((folder / "imagenet" if outside else labels).glob(pattern))
        found = re.sub(r"\(.*?\)", "", columns).split(":")[0]
        said = [cell.split() for cell in found.split(",")]
        if path.suffix == ".csv":
            header = path.read_text(encoding="utf-8").splitlines()[0].split(",")
            assert [cell[0].strip("`") for cell in said] == header, name
        else:
            kinds = {"float16": "halffloat"}
            schema = [(field.name, str(field.type)) for field in pq.read_schema(path)]
            assert [(cell[0].strip("`"), kinds.get(cell[1], cell[1])) for cell in said] == schema, name


def test_the_links_of_the_page_lead_somewhere():
    headings = {
        re.sub(r"[^\w -]", "", line.strip("# ").lower()).replace(" ", "-")
        for line in PAGE.splitlines()
        if line[:2] == "##"
    }
    assert set(re.findall(r"\(#([^)]+)\)", PAGE)) == headings
