"""Figures: what they say is what the numbers say, they draw anywhere, and they leave no global state."""

import io
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image

from nsfast.analysis import figures
from nsfast.analysis.figures.page import CONTROL, TEACHER, WIDTH, WRONG, model_styles, plain
from nsfast.analysis.metrics import reliability_table
from nsfast.errors import NsfastError
from nsfast.labels import Origin, write_labels
from nsfast.labels.quality.quality import quality

ODD = "$a$ <b>_x^{"
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
MODELS = ("control", "teacher", "student 1", ODD)


def texts(figure):
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def history(rows=3):
    return [
        dict(epoch=e + 1, train_loss=1 / (e + 1), validation_loss=1.0, validation_accuracy=0.5 + e / 10)
        for e in range(rows)
    ]


def some_quality():
    """Of two rounds, with a class of an odd name that is never predicted."""
    names, truth = ("cat", "dog", ODD), np.arange(40) % 3
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for round in (1, 2):
            random = np.random.default_rng(round)
            probabilities = random.dirichlet([1, 1, 1e-6], 40)
            origin = Origin(names, "t", round)
            tables.append(write_labels(Path(folder) / str(round), probabilities, origin))
        known = (tables[0].predicted, tables[0].confidence, truth)
        one = quality(tables[0], truth, 0.6, truth=truth, validation=known)
        return one, quality(tables[1], truth, 0.6, before=tables[0], truth=truth, validation=known)


def every_figure():
    both = some_quality()
    confidence = np.linspace(0.2, 1, 12)
    predicted = np.arange(12) % 3
    names = ("cat", "dog", ODD)
    counts = [
        dict(zip(("class", "kept", "dropped", "copies"), (name, 5, 3, 2), strict=True)) for name in names
    ]
    interval = dict(low=0.4, high=0.7)
    return {
        "agreement_between_rounds": figures.agreement_between_rounds(both),
        "classes_against_labeled": figures.classes_against_labeled(both[1]),
        "estimated_and_true_precision": figures.estimated_and_true_precision(both[1]),
        "confidence_histogram": figures.confidence_histogram(confidence, 0.3, predicted > 0),
        "picture_grid": figures.picture_grid(PIXELS, [ODD] * 12, 5),
        "surest_and_least_sure": figures.surest_and_least_sure(
            PIXELS, predicted, confidence, names, -predicted, 2
        ),
        "kept_dropped_copied": figures.kept_dropped_copied(counts),
        "many_classes": figures.kept_dropped_copied([dict(counts[0], **{"class": i}) for i in range(200)]),
        "accuracy_by_model": figures.accuracy_by_model(
            [dict(model=m, accuracy=0.5, **interval) for m in MODELS]
        ),
        "one_seed": figures.accuracy_by_model([dict(model="teacher", accuracy=0.5, low=np.nan, high=np.nan)]),
        "label_quality_by_round": figures.label_quality_by_round(
            [dict(round=r, coverage=0.5, precision=0.6, **interval) for r in (1, 2)]
        ),
        "reliability_diagram": figures.reliability_diagram(
            {m: reliability_table(confidence, predicted > 0) for m in MODELS}
        ),
        "reliability_under_corruption": figures.reliability_under_corruption(
            {m: {k: reliability_table(confidence, predicted > 0) for k in ("clean", ODD)} for m in MODELS}
        ),
        "severity_curves": figures.severity_curves(
            [
                dict(model=m, corruption=c, severity=s, error=0.5, **interval)
                for m in MODELS
                for c in ("gaussian_noise", "defocus_blur", "contrast", "fog", ODD)
                for s in (0, 1, 5)
            ]
        ),
        "corruption_bars": figures.corruption_bars(
            [
                dict(model=m, corruption=c, mean_error=0.5, **interval)
                for m in MODELS
                for c in ("fog", ODD, "mean")
            ]
        ),
        "corrupted_grid": figures.corrupted_grid({"fog": PIXELS[:6], ODD: PIXELS[6:]}),
        "perturbation_strip": figures.perturbation_strip({"tilt": PIXELS, ODD: PIXELS[:5]}),
        "flip_bars": figures.flip_bars(
            [
                dict(model=m, perturbation=p, noise="noise" in p, fp=0.5, **interval)
                for m in MODELS
                for p in ("gaussian_noise", "tilt", ODD)
            ]
        ),
        "natural_bars": figures.natural_bars(
            [dict(model=m, set=s, n=9, accuracy=0.5, **interval) for m in MODELS for s in ("clean", ODD)]
        ),
        "accuracy_on_the_line": figures.accuracy_on_the_line(
            [
                dict(model=m, n=99, clean_error=0.1, corruption_error=0.5, expected_error=0.5, **interval)
                for m in MODELS
            ]
        ),
        "attack_curves": figures.attack_curves(
            [
                dict(model=m, attack=a, epsilon=e, accuracy=0.5, **interval)
                for m in MODELS
                for a in ("fgsm", "random_sign", ODD)
                for e in (0, 2, 16)
            ]
        ),
        "training_curves": figures.training_curves(
            {m: history() for m in MODELS} | {"one epoch": history(1)}
        ),
        "joint_batch": figures.joint_batch(PIXELS, np.arange(12) < 4, [ODD] * 12),
        "colour": figures.joint_batch(np.repeat(PIXELS, 3, axis=3), np.arange(12) < 4),
    }


@pytest.fixture(scope="module")
def drawn():
    return {name: (figure, figure._repr_png_()) for name, figure in every_figure().items()}


@pytest.mark.parametrize("name", [*figures.__all__, "many_classes", "one_seed", "colour"])
def test_fits_a_notebook_and_cuts_nothing_off(name, drawn):
    figure, png = drawn[name]
    page = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    assert page.shape[1] == 100 * WIDTH
    assert (page < 250).any()
    for edge in (page[:2], page[-2:], page[:, :2], page[:, -2:]):
        assert (edge > 250).all()  # what sticks out of the page leaves ink on its edge
    for text in figure.findobj(Text):
        assert text.get_size() >= 9 or not text.get_text()


def test_pyplot_is_not_needed_and_a_kernel_still_shows_the_picture():
    code = (
        "import sys\n"
        "from nsfast.analysis import figures\n"
        "import numpy as np\n"
        "figure = figures.confidence_histogram(np.array([.2, .9]), .5)\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules\n"
        "from IPython.core.formatters import DisplayFormatter\n"
        "assert 'image/png' in DisplayFormatter().format(figure)[0]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_models_have_their_colours():
    styles = model_styles(["control", "teacher", "student 1", "student 2", "student 3"])
    assert styles["control"]["color"] == CONTROL and styles["teacher"]["color"] == TEACHER
    brightness = [sum(to_rgb(styles[f"student {i}"]["color"])) for i in (1, 2, 3)]
    assert brightness[0] > brightness[1] > brightness[2]
    assert len({style["marker"] for style in styles.values()}) == 5  # told apart without colour


def test_histogram_says_what_passes():
    confidence = np.array([0.1, 0.3, 0.5, 0.7])
    figure = figures.confidence_histogram(confidence, 0.3, np.array([False, True, True, False]))
    assert "3 of 4 (75.0 %)" in texts(figure) and "66.7 % are right" in texts(figure)
    bars = [patch.get_height() for patch in figure.axes[0].patches if hasattr(patch, "get_height")]
    assert sum(height for height in bars if height) >= 4


def test_wrong_labels_are_framed_and_named():
    predicted, truth = np.zeros(12, int), np.zeros(12, int)
    truth[0], truth[11] = 1, -1
    figure = figures.surest_and_least_sure(
        PIXELS, predicted, np.linspace(0.2, 1, 12), ("cat", "dog"), truth, 3
    )
    framed = [p for p in figure.axes[0].patches if to_rgb(p.get_edgecolor()) == to_rgb(WRONG)]
    assert len(framed) == 2
    assert "0.20\nis dog" in texts(figure) and "1.00\nis none" in texts(figure)


def test_a_class_with_few_pictures_shows_each_once():
    figure = figures.surest_and_least_sure(
        PIXELS[:3], np.zeros(3, int), np.array([0.5, 0.9, 0.7]), ("cat",), each=2
    )
    assert len(figure.axes[0].images) == 3


def test_surest_are_left_and_least_sure_right():
    figure = figures.surest_and_least_sure(
        PIXELS, np.zeros(12, int), np.linspace(0.01, 0.12, 12), ("cat",), each=2
    )
    captions = {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}
    assert captions["0.12"] < captions["0.11"] < captions["0.02"] < captions["0.01"]


def test_balancing_counts_are_in_the_headline():
    rows = [
        {"class": "cat", "kept": 20, "dropped": 10, "copies": 0},
        {"class": "dog", "kept": 5, "dropped": 5, "copies": 15},
    ]
    figure = figures.kept_dropped_copied(rows)
    assert "40 pseudo-labels: 25 kept, 15 dropped, 15 copies" in texts(figure).replace("\n", " ")
    assert "3.0 before, 1.0 after" in texts(figure)
    before, after = figure.axes
    assert max(p.get_x() + p.get_width() for p in before.patches) == 30
    assert {p.get_x() + p.get_width() for p in after.patches if p.get_width()} == {20, 5}


def test_reliability_on_clean_and_corrupted_pictures_stands_side_by_side():
    random = np.random.default_rng(0)
    tables = {
        model: {
            kind: reliability_table(random.uniform(0, 1, 300), random.random(300) < 0.5)
            for kind in ("clean", "corrupted")
        }
        for model in ("control", "teacher")
    }
    figure = figures.reliability_under_corruption(tables)
    upper = figure.axes[:2]
    assert [axes.get_title(loc="left") for axes in upper] == ["clean (n = 300)", "corrupted (n = 300)"]
    for axes, kind in zip(upper, ("clean", "corrupted"), strict=True):
        for points, of_model in zip(axes.collections, tables.values(), strict=True):
            table = of_model[kind]
            assert points.get_offsets().tolist() == np.stack([table.confidence, table.accuracy], 1).tolist()
    errors = [tables["teacher"][kind].expected_calibration_error for kind in ("clean", "corrupted")]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "teacher: ECE {:.3f} clean, {:.3f} corrupted".format(*errors) in legend


def test_precision_is_written_clear_of_the_points_beside_it():
    rows = zip((1, 2, 3), (0.883, 0.873, 0.874), (0.87, 0.93, 0.87), strict=True)
    figure = figures.label_quality_by_round(
        [
            dict(round=r, coverage=0.5, precision=p, low=p - 0.03, high=p + 0.03, in_class_accuracy=a)
            for r, p, a in rows
        ]
    )
    figure.draw_without_rendering()
    right = figure.axes[1]
    numbers = [text for text in right.texts if "%" in text.get_text()]
    assert [text.get_text() for text in numbers] == ["88.3 %", "87.3 %", "87.4 %"]
    for text in numbers:
        box = text.get_window_extent()
        for line in right.lines:
            for x, y in right.transData.transform(np.asarray(line.get_xydata(), float)):
                assert not (box.x0 - 2 < x < box.x1 + 2 and box.y0 - 2 < y < box.y1 + 2)


def test_captions_of_long_names_keep_their_number_and_do_not_touch():
    names = ["golden retriever 0.93", "great white shark 0.51", "tiger 0.40", "a" * 40 + " 0.87"]
    figure = figures.joint_batch(PIXELS, np.arange(12) < 4, names * 3)
    figure.draw_without_rendering()
    captions = figure.axes[0].texts
    assert [text.get_text()[-4:] for text in captions[:4]] == ["0.93", "0.51", "0.40", "0.87"]
    boxes = [text.get_window_extent() for text in captions]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_text_from_data_is_no_formula():
    assert plain("$a$") == r"\$a\$" and plain("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: figures.picture_grid(PIXELS / 255), "float64 of shape"),
        (lambda: figures.picture_grid(PIXELS[:0]), "at least one picture"),
        (lambda: figures.picture_grid(PIXELS, ["one"]), "1 titles for 12 pictures"),
        (lambda: figures.joint_batch(PIXELS, [True]), "1 entries for 12 pictures"),
        (lambda: figures.confidence_histogram(np.array([]), 0.3), "at least one pseudo-label"),
        (lambda: figures.kept_dropped_copied([]), "no class to show"),
        (lambda: figures.accuracy_by_model([]), "no model to show"),
        (lambda: figures.reliability_diagram({}), "no model to show"),
        (lambda: figures.training_curves({"teacher": []}), "no epoch to show"),
        (lambda: figures.label_quality_by_round([]), "no round to show"),
        (lambda: figures.agreement_between_rounds([some_quality()[0]]), "no round to compare"),
        (lambda: figures.reliability_under_corruption({}), "no model to show"),
        (
            lambda: figures.reliability_under_corruption({"a": {"clean": 0}, "b": {}}),
            "b has tables of nothing",
        ),
        (lambda: figures.severity_curves([]), "no measurement to show"),
        (lambda: figures.attack_curves([]), "no measurement to show"),
    ],
)
def test_says_what_is_wrong(wrong, message):
    with pytest.raises(NsfastError, match=message):
        wrong()
