"""A table that another tool wrote opens as it is, or one line says which column and row are in the way."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nsfast.errors import NsfastError
from nsfast.explore.core.labels import Answers
from nsfast.explore.core.scores import scores_of
from nsfast.explore.core.table import open_table
from nsfast.labels import Origin, write_labels

CLASSES = ("cat", "ant", "bee")
N = 30
RANDOM = np.random.default_rng(0)
PROBABILITIES = RANDOM.dirichlet([0.5, 0.5, 0.5], N).astype(np.float32)
PREDICTED = PROBABILITIES.argmax(1)
CONFIDENCE = PROBABILITIES.max(1)
TRUTH = RANDOM.integers(-1, 3, N)
IDS = [f"p/{i:03}.png" for i in RANDOM.permutation(100)[:N]]


def columns(**more):
    found = {"id": IDS, "class": [CLASSES[i] for i in PREDICTED], "confidence": CONFIDENCE}
    return {name: value for name, value in {**found, **more}.items() if value is not None}


def saved(folder, given, kind="parquet", files=3):
    """The columns as one of the kinds of table that tools write."""
    frame = pl.DataFrame({name: list(value) for name, value in given.items()}, strict=False)
    if kind == "folder":
        folder = folder / "table"
        folder.mkdir()
        for number, rows in enumerate(np.array_split(np.arange(len(frame)), files)):
            frame[rows].write_parquet(folder / f"{number}.parquet", row_group_size=4)
        return folder
    path = folder / f"table.{kind}"
    if kind == "parquet":
        frame.write_parquet(path, row_group_size=4)
    elif kind == "csv":
        frame.write_csv(path)
    else:
        pd.DataFrame(given).to_csv(path, index=False)
    return path


KINDS = ["parquet", "folder", "csv", "csv.gz"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [None, CLASSES], ids=["no names", "names"])
def test_labels_are_what_the_columns_say(tmp_path, kind, given):
    truth = [("(no class)", *CLASSES)[i + 1] for i in TRUTH]
    labels = open_table(saved(tmp_path, columns(truth=truth, more=range(N)), kind), classes=given)
    assert labels.classes == (given or ("ant", "bee", "cat"))
    assert [labels.classes[i] for i in labels.predicted] == columns()["class"]
    assert [(*labels.classes, "(no class)")[i] for i in labels.truth] == truth
    assert (labels.confidence == CONFIDENCE.astype(np.float16)).all()
    assert labels.names(np.arange(N)) == IDS and labels.rows([IDS[7], "x"]).tolist() == [7]
    assert not labels.has_scores and labels.distributions is None and labels.round == labels.sampled_from == 0
    assert labels.quality.shape == (N,)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [None, CLASSES], ids=["no names", "names"])
def test_integers_are_places_among_the_classes(tmp_path, kind, given):
    labels = open_table(saved(tmp_path, columns(**{"class": PREDICTED, "truth": TRUTH}), kind), classes=given)
    assert labels.classes == (given or ("0", "1", "2"))
    assert (labels.predicted == PREDICTED).all() and (labels.truth == TRUTH).all()


def test_integers_are_names_in_a_csv_alone(tmp_path):
    given = columns(**{"class": PREDICTED, "truth": TRUTH})
    places = open_table(saved(tmp_path, given, "parquet"), classes=("2", "1", "0"))
    names = open_table(saved(tmp_path, given, "csv"), classes=("2", "1", "0"))
    assert (places.predicted == PREDICTED).all() and (names.predicted == 2 - PREDICTED).all()
    assert (names.truth == np.where(TRUTH < 0, -1, 2 - TRUTH)).all()
    with pytest.raises(NsfastError, match="unknown class '2'; there are 2 classes"):
        open_table(tmp_path / "table.csv", classes=("a", "b"))


@pytest.mark.parametrize("kind", ["parquet", "folder"])
@pytest.mark.parametrize("most", [N, 12])
def test_probabilities_are_read_where_they_are(tmp_path, monkeypatch, kind, most, capsys):
    monkeypatch.setattr("nsfast.explore.core.foreign_columns.CELLS", 9)
    path = saved(tmp_path, columns(probabilities=PROBABILITIES.tolist()), kind)
    labels = open_table(path, classes=CLASSES, most=most)
    place = [IDS.index(name) for name in labels.names(np.arange(most))]
    assert (labels.predicted == PREDICTED[place]).all()
    expected = scores_of([(PROBABILITIES[place], None)], most, 3)
    for name in ("second", "margin", "entropy"):
        assert (getattr(labels.scores, name) == getattr(expected, name)).all()
    wanted = np.array([most - 1, 0, 0, 5])
    np.testing.assert_allclose(labels.distributions(wanted), PROBABILITIES[place][wanted], rtol=1e-6)
    assert labels.distributions(np.empty(0, int)).shape == (0, 3)
    assert capsys.readouterr().out.count("drawn at random") == (most < N)


def test_probabilities_of_classes_without_names_are_left_out(tmp_path, capsys):
    path = saved(tmp_path, columns(probabilities=PROBABILITIES.tolist()))
    assert not open_table(path).has_scores
    assert "give classes to have them used" in capsys.readouterr().out
    numbers = columns(probabilities=PROBABILITIES.tolist(), **{"class": PREDICTED * 0})
    assert open_table(saved(tmp_path, numbers)).classes == ("0", "1", "2")


@pytest.mark.parametrize(
    "probabilities, message",
    [
        ([[0.5, 0.5]] * N, "the probabilities are of 2 classes; there are 3"),
        ([[]] + [[0.5, 0.3, 0.2]] * (N - 1), "the probabilities are of 0 classes"),
        ([[0.5, 0.3, 0.2]] * (N - 1) + [[1.0]], "probabilities are of 3 and of 1 classes"),
        ([[0.5, 0.3, 0.2]] * (N - 1) + [None], "probabilities are of 3 and of 0 classes"),
        ([[0.5, 0.3, float("nan")]] * N, "lie outside 0 to 1"),
        ([[0.5, 0.7, -0.2]] * N, "lie outside 0 to 1"),
        ([[5.0, 0.3, 0.2]] * N, "lie outside 0 to 1"),
        ([0.5] * N, "column 'probabilities' is double; give lists"),
        ([["a"]] * N, "column 'probabilities' is .*; give lists"),
    ],
)
def test_probabilities_that_are_none_are_one_line(tmp_path, probabilities, message):
    path = saved(tmp_path, columns(probabilities=probabilities))
    with pytest.raises(NsfastError, match=message) as error:
        open_table(path, classes=CLASSES).scores  # noqa: B018
    assert "\n" not in str(error.value)


def with_value(name, place, value):
    found = [*columns()[name]]
    found[place] = value
    return columns(**{name: found})


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize(
    "given, message",
    [
        (columns(id=None), "has no column 'id'; it has class, confidence"),
        (
            columns(confidence=None, Confidance=CONFIDENCE),
            "no column 'confidence'; rename 'Confidance' if that is it",
        ),
        (columns(**{"class": None, "CLASS": PREDICTED}), "no column 'class'; rename 'CLASS'"),
        (with_value("class", 4, "cta"), "unknown class 'cta'; did you mean 'cat'"),
        (with_value("class", 4, None), f"'{IDS[4]}' has no class; 1 of 30 have none"),
        (
            with_value("confidence", 3, float("nan")),
            f"confidence of '{IDS[3]}' is nan; 1 of 30 are not between",
        ),
        (with_value("confidence", 3, None), f"confidence of '{IDS[3]}' is nan"),
        (with_value("confidence", 3, 97.5), f"confidence of '{IDS[3]}' is 97.5"),
        (columns(confidence=["high"] * N), "a confidence is no number"),
        (with_value("id", 5, IDS[9]), f"id '{IDS[9]}' is there more than once"),
        (with_value("id", 5, None), "1 rows have no id"),
        (columns(truth=["dragon"] * N), "unknown truth 'dragon'"),
        ({name: [] for name in columns()}, "has no rows"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, kind, given, message):
    with pytest.raises(NsfastError, match=message) as error:
        open_table(saved(tmp_path, given, kind), classes=CLASSES)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["id", "class"])
def test_a_column_of_another_type_is_one_line(tmp_path, name):
    with pytest.raises(NsfastError, match=f"column '{name}' is double; give text or integers"):
        open_table(saved(tmp_path, columns(**{name: np.linspace(0.5, 3, N)})))
    with pytest.raises(NsfastError, match=f"column '{name}' is bool"):
        open_table(saved(tmp_path, columns(**{name: [True] * N})))


@pytest.mark.parametrize("name", ["table.csv", "table.parquet", "labels.json", "table.csv.gz"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00nonsense\n1,2\n3"])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NsfastError, match=name) as error:
        open_table(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_truth_that_is_known_of_some_is_left_out(tmp_path, capsys):
    for kind in ("parquet", "csv"):
        assert open_table(saved(tmp_path, columns(truth=["cat"] * (N - 2) + [None] * 2), kind)).truth is None
        assert "2 of 30 have no truth" in capsys.readouterr().out


def test_ids_of_a_csv_keep_their_zeros_and_integers_count_pictures(tmp_path):
    pixels = np.arange(200, dtype=np.uint8).repeat(4).reshape(200, 2, 2)
    numbers = RANDOM.permutation(200)[:N]
    padded = open_table(saved(tmp_path, columns(id=[f"{i:03}" for i in numbers]), "csv"), pixels[:N])
    assert padded.names([0]) == [f"{numbers[0]:03}"] and (padded.pictures[4] == 4).all()
    for kind in ("csv", "parquet"):
        path = saved(tmp_path, columns(id=numbers), kind)
        labels = open_table(path, pixels, truth=np.arange(200) % 3, classes=CLASSES)
        assert labels.names([3]) == [str(numbers[3])] and (labels.pictures[3] == numbers[3]).all()
        assert (labels.truth == numbers % 3).all()
        _, places, problems = open_table(path, pixels[: numbers[0]]).pictures.read(np.array([0]))
        assert len(places) == 0 and "no picture with this id" in problems[0]
        with pytest.raises(NsfastError, match=f"truth has 30 entries for {numbers.max() + 1} pictures"):
            open_table(path, truth=np.zeros(N, int))


def test_a_truth_of_ones_own_takes_the_place_of_the_column(tmp_path):
    path = saved(tmp_path, columns(truth=["cat"] * N))
    assert (open_table(path, truth=TRUTH).truth == TRUTH).all()


@pytest.mark.parametrize("kind", KINDS)
def test_others_are_aligned_by_name(tmp_path, kind):
    (tmp_path / "other").mkdir()
    order = RANDOM.permutation(N)[:20]
    more = {"probabilities": PROBABILITIES[order].tolist()} if kind in ("parquet", "folder") else {}
    given = {"id": [IDS[i] for i in order], "class": ["bee"] * 20, "confidence": [0.5] * 20, **more}
    path, other = saved(tmp_path, columns(), kind), saved(tmp_path / "other", given, kind)
    labels = open_table(path, classes=CLASSES, others={"round 1": other, "me": Answers(TRUTH)})
    expected = np.full(N, -1)
    expected[order] = CLASSES.index("bee")
    assert (labels.others["round 1"].predicted == expected).all()
    assert (labels.others["me"].predicted == TRUTH).all()
    if more:
        found = labels.others["round 1"].distributions(np.arange(N))
        np.testing.assert_allclose(found[order], PROBABILITIES[order], rtol=1e-6)
        assert np.isnan(found[expected < 0]).all()
    else:
        assert labels.others["round 1"].distributions is None


def test_a_label_table_and_another_tools_may_stand_side_by_side(tmp_path):
    table = write_labels(tmp_path / "labels", PROBABILITIES, Origin(CLASSES, "t"), IDS)
    path = saved(tmp_path, columns())
    labels = open_table(table.folder, others={"tool": path})
    assert (labels.others["tool"].predicted == PREDICTED).all()
    back = open_table(path, classes=CLASSES, others={"round 1": table.folder})
    assert (back.others["round 1"].predicted == table.predicted).all()
    np.testing.assert_allclose(
        back.others["round 1"].distributions([4]), table.vectors[[4]].dense(), rtol=1e-6
    )


def test_others_of_other_pictures_or_classes_are_refused(tmp_path):
    (tmp_path / "other").mkdir()
    path = saved(tmp_path, columns())
    other = saved(tmp_path / "other", columns(id=[f"x{name}" for name in IDS]))
    with pytest.raises(NsfastError, match="has none of the pictures of"):
        open_table(path, others={"round 1": other})
    other = saved(tmp_path / "other", with_value("class", 0, "cow"))
    with pytest.raises(NsfastError, match="unknown class 'cow'"):
        open_table(path, others={"round 1": other})


def test_a_sample_is_drawn_and_the_rest_is_counted(tmp_path, capsys):
    labels = open_table(saved(tmp_path, columns(truth=TRUTH, **{"class": PREDICTED})), most=8)
    assert labels.sampled_from == N and len(labels) == 8 and labels.whole.histogram.predicted.sum() == N
    assert labels.whole.right.predicted.sum() == (TRUTH == PREDICTED).sum()
    place = [IDS.index(name) for name in labels.names(np.arange(8))]
    assert place == sorted(place) and (labels.truth == TRUTH[place]).all()
    assert "30 labels; 8 of them" in capsys.readouterr().out


def test_one_class_opens(tmp_path):
    given = columns(probabilities=[[1.0]] * N, **{"class": ["cat"] * N})
    labels = open_table(saved(tmp_path, given), classes=["cat"])
    assert labels.classes == ("cat",) and not labels.predicted.any() and not labels.has_scores
    assert (labels.distributions([3]) == 1).all()
    assert open_table(saved(tmp_path, columns(**{"class": ["cat"] * N}), "csv")).classes == ("cat",)


def test_a_thousand_classes_open_and_more_than_can_be_counted_do_not(tmp_path):
    given = columns(id=range(1000), confidence=[0.5] * 1000, **{"class": range(1000)})
    assert len(open_table(saved(tmp_path, given)).classes) == 1000
    given["class"] = [*range(999), 65536]
    with pytest.raises(NsfastError, match="has 65,537 classes; name 1 to 65,536"):
        open_table(saved(tmp_path, given))
    with pytest.raises(NsfastError, match="different"):
        open_table(saved(tmp_path, columns()), classes=["a", "a"])


def test_columns_as_other_tools_write_them(tmp_path):
    """Categories, large text, half precision, integers of pandas with a gap, files of different types."""
    frame = pd.DataFrame(columns(**{"class": PREDICTED}))
    categories = frame.assign(**{"class": pd.Categorical([CLASSES[i] for i in PREDICTED])})
    categories["confidence"] = categories["confidence"].astype(np.float16)
    categories.to_parquet(tmp_path / "a.parquet")
    assert open_table(tmp_path / "a.parquet", classes=CLASSES).predicted.tolist() == PREDICTED.tolist()
    floats = frame.assign(truth=[*TRUTH[:-1], None])
    floats["class"] = floats["class"].astype(float)
    floats.to_parquet(tmp_path / "b.parquet")
    assert open_table(tmp_path / "b.parquet").predicted.tolist() == PREDICTED.tolist()
    (tmp_path / "both").mkdir()
    integers = pa.table({"id": range(5), "class": ["cat"] * 5, "confidence": [1] * 5})
    text = pa.table({"id": ["x", "y"], "class": ["ant", "cat"], "confidence": [0.5, 0.25]})
    pq.write_table(integers, tmp_path / "both" / "1.parquet")
    pq.write_table(text, tmp_path / "both" / "2.parquet")
    labels = open_table(tmp_path / "both")
    assert labels.names(np.arange(7)) == ["0", "1", "2", "3", "4", "x", "y"]
    assert labels.confidence.tolist() == [1] * 5 + [0.5, 0.25]


def test_a_hostile_name_is_a_name(tmp_path):
    names = ["<img src=x onerror=alert(1)>", 'a","b', "tab\tand 'quotes'", "🐈"]
    given = {"id": names, "class": names, "confidence": [0.5] * 4}
    for kind in ("parquet", "csv"):
        labels = open_table(saved(tmp_path, given, kind))
        assert labels.names(np.arange(4)) == names and set(labels.classes) == set(names)
