"""The explorer without a browser: what Python calls, what a front-end sends, what a notebook keeps of it."""

import asyncio
import base64
import json
import subprocess
import sys
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.explore.core import Answers, PseudoLabels, ThresholdPreview
from nsfast.explore.core.scores import scores_of
from nsfast.explore.live import mode, page, rest
from nsfast.explore.live.explorer import Explorer
from nsfast.labels import Balancing, balance, write_labels
from nsfast.labels.decisions import DecisionLog
from nsfast.labels.origin import Origin

VIEW = "application/vnd.jupyter.widget-view+json"
CLASSES = ("cat", "<img src=x onerror=alert(1)>", "dog & co $", "eel")
N = 120


def make(n=N, seed=0, classes=CLASSES, **known):
    random = np.random.default_rng(seed)
    likely = random.dirichlet(np.full(len(classes), 0.5), n).astype(np.float16)
    predicted = likely.argmax(1)
    truth = np.where(random.random(n) < 0.7, predicted, random.integers(-1, len(classes), n))
    before = np.where(random.random(n) < 0.8, predicted, random.integers(0, len(classes), n)).astype(np.int32)
    settings = {
        "names": [f"<b>{i}</b>.png" for i in range(n)],
        "scores": lambda: scores_of([(likely, None)], n, len(classes)),
        "distributions": lambda rows: likely[np.asarray(rows)].astype(np.float32),
        "truth": truth,
        "others": {"round 1": Answers(before)},
        "round": 2,
        "pictures": random.integers(0, 256, (n, 8, 8, 1), dtype=np.uint8),
    }
    confidence = likely[np.arange(n), predicted]
    return PseudoLabels(classes, predicted, confidence, **{**settings, **known}), likely


@pytest.fixture
def labels():
    return make()[0]


@pytest.fixture
def explorer(labels, tmp_path):
    return Explorer(labels, Balancing(0.4, "largest"), DecisionLog(tmp_path / "d.jsonl", who="ann", round=2))


@pytest.fixture
def environment(monkeypatch):
    for name in ("NSFAST_DISPLAY", *mode.FRONT_ENDS):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def send(explorer, action, index=0, value=""):
    """What the grid in a browser sends."""
    content = {"kind": "action", "action": action, "index": index, "value": value}
    message = {"content": {"data": {"method": "custom", "content": content}}, "buffers": []}
    explorer.widget, explorer._page.grid._handle_msg(message)


def names(explorer):
    return [item["name"] for item in explorer._page.grid.items]


def test_python_and_mouse_make_the_same_selection(explorer):
    assert explorer.widget
    explorer._page._clicked({"confidence": (0.5, 0.75), "predicted": "cat"})
    clicked = explorer.selection
    typed = explorer.select(confidence=(0.5, 0.75), predicted="cat")
    assert clicked.filter == typed.filter and clicked.rows.tolist() == typed.rows.tolist()
    assert names(explorer) == typed.names[:24]
    assert "select(confidence=(0.5, 0.75), predicted=&#x27;cat&#x27;)" in explorer._page.bar.said.value
    sure, cats = explorer.labels.confidence, explorer.labels.predicted == 0
    wanted = [i for i in range(N) if cats[i] and np.float16(0.5) <= sure[i] < np.float16(0.75)]
    assert sorted(typed.rows.tolist()) == wanted


def test_a_click_keeps_the_order_that_is_chosen(explorer):
    assert explorer.widget
    explorer.select(sort="margin", descending=True)
    explorer._page._clicked({"predicted": "cat"})
    assert (explorer.selection.filter.sort, explorer.selection.filter.descending) == ("margin", True)


def test_keys_decide_and_undo_and_the_file_has_it_at_once(explorer):
    explorer.select(wrong=True)
    send(explorer, "reject", 1)
    first, second, *_ = names(explorer)
    line = json.loads(explorer.decisions.path.read_text().splitlines()[-1])
    row = explorer.labels.rows([second])[0]
    assert (line["action"], line["id"], line["who"], line["round"]) == ("reject", second, "ann", 2)
    assert (
        line["from"] == CLASSES[explorer.labels.predicted[row]] and line["selection"] == "select(wrong=True)"
    )
    assert line["conf"] == pytest.approx(float(explorer.labels.confidence[row]))
    assert (
        explorer._page.grid.items[1]["decision"] == "reject"
        and explorer._page.grid.items[0]["decision"] == ""
    )
    send(explorer, "relabel", 0, "eel")
    assert explorer._page.grid.items[0]["to"] == "eel"
    send(explorer, "undo")
    assert [item["decision"] for item in explorer._page.grid.items[:2]] == ["", "reject"]
    assert explorer.decisions.decisions.rejected == {second} and names(explorer)[0] == first
    send(explorer, "undo")
    send(explorer, "undo")
    assert "undo" in explorer._page.grid.message and not len(explorer.decisions)


def test_decisions_survive_another_selection_and_another_kernel(explorer, labels):
    send(explorer, "accept", 3)
    name = names(explorer)[3]
    explorer.select(sort="quality")
    explorer.select(decision="accept")
    assert names(explorer) == [name]
    again = Explorer(labels, decisions=explorer.decisions.path)
    assert again.select(decision="decided").names == [name]


def test_an_acceptance_of_another_class_than_now_gives_that_class(labels, tmp_path):
    log = DecisionLog(tmp_path / "d.jsonl", who="ann", round=1)
    row = int(np.flatnonzero(labels.predicted != 0)[0])
    log.accept(labels.names([row])[0], predicted="cat", confidence=0.5)
    explorer = Explorer(labels, decisions=log)
    assert explorer.select(decision="accept").rows.tolist() == [row]
    assert explorer.decided.relabeled == {labels.names([row])[0]: "cat"}
    assert explorer.preview.at(1.0).above[0] == 1 + (labels.confidence[labels.predicted == 0] == 1).sum()


def test_what_python_decides_is_checked_before_anything_is_written(explorer):
    name = explorer.select().names[0]
    for wrong, words in (
        (lambda: explorer.accept([name, "no such.png"]), "no picture 'no such.png'"),
        (lambda: explorer.relabel(name, "catt"), "unknown class 'catt'; did you mean 'cat'"),
        (lambda: explorer.select(predicted="catt"), "did you mean 'cat'"),
        (
            lambda: explorer.select(predictd="cat"),
            "unknown condition 'predictd' of select; did you mean 'predicted'",
        ),
        (lambda: explorer.select(sort="size"), "unknown sort 'size'"),
        (lambda: explorer.select(changed_since_round=7), "round 7"),
    ):
        with pytest.raises(NsfastError, match=words):
            wrong()
    assert not explorer.decisions.path.exists()
    explorer.relabel([name], "eel", why="long")
    assert explorer.decisions.decisions.verdicts[name].why == "long"


def test_the_preview_is_what_balancing_writes(tmp_path):
    labels, likely = make()
    table = write_labels(tmp_path / "labels", likely, Origin(CLASSES, "t"), labels.names(np.arange(N)))
    how = Balancing(0.5, 20)
    explorer = Explorer(labels, how, tmp_path / "d.jsonl")
    everything = explorer.select(sort="confidence").names
    explorer.reject(everything[-3:])
    explorer.relabel(everything[:2], "eel")
    explorer.accept(everything[5])
    found = explorer.decisions.decisions
    accepted, rejected, relabeled = found.by_id(table.folder, CLASSES)
    written = balance(table, how, tmp_path, relabeled, accepted, rejected)
    shown = [{k: row[k] for k in written.rows[0]} for row in explorer.table.rows()]
    assert shown == written.rows


def test_slider_line_and_trait_are_one_threshold(explorer):
    assert explorer.widget
    page = explorer._page
    explorer.threshold = 0.7
    assert page.panel.threshold == 0.7 and page.figure.figure.layout.shapes[0].x0 == 0.7
    page.panel.threshold = 0.55
    assert explorer.threshold == 0.55 and page.figure.figure.layout.shapes[0].x0 == 0.55
    page._dragged(0.25)
    assert explorer.threshold == 0.25 and page.panel.threshold == 0.25
    assert page.panel.table.above.tolist() == explorer.table.above.tolist()


def test_number_and_method_change_what_is_previewed_and_written(explorer, tmp_path):
    assert explorer.widget
    explorer._page.panel.per_class = 7
    assert explorer.how.per_class == 7 and explorer.table.seen.max() == 7
    explorer.threshold = 0.35
    said = explorer.write_parameters(tmp_path / "balancing.yaml")
    assert (tmp_path / "balancing.yaml").read_text() == "threshold: 0.35\nper_class: 7\nmethod: top\n"
    assert str(tmp_path / "balancing.yaml") in said and "papermill" in said
    given = []
    run = Explorer(
        explorer.labels, explorer.how, tmp_path / "e.jsonl", write=lambda found: given.append(found) or "ok"
    )
    run.widget, run._page._write()
    assert given == [{"threshold": 0.35, "per_class": 7, "method": "top"}]


def test_a_way_of_balancing_from_python_moves_the_panel(explorer):
    assert explorer.widget
    explorer.how = Balancing(0.6, 9, "official", floor=2)
    panel = explorer._page.panel
    assert (
        (panel.threshold, panel.per_class, panel.method)
        == (0.6, 9, "official")
        == tuple(explorer.parameters.values())
    )
    assert explorer.how.floor == 2 and panel.table.kept.tolist() == explorer.table.kept.tolist()


def test_counting_again_after_decisions_waits_until_they_rest(explorer, monkeypatch):
    monkeypatch.setattr(rest, "REST", 0.02)
    assert explorer.widget
    counted = []
    count = ThresholdPreview.of_labels
    monkeypatch.setattr(ThresholdPreview, "of_labels", lambda *a, **k: counted.append(1) or count(*a, **k))

    async def decide():
        for index in range(5):
            send(explorer, "reject", index)
        assert not counted
        await asyncio.sleep(0.2)

    asyncio.run(decide())
    assert counted == [1] and explorer._page.panel.table.kept.sum() == explorer.table.kept.sum()


def test_pages_turn_and_the_detail_opens(explorer):
    assert explorer.widget
    grid = explorer._page.grid
    everything = explorer.selection.names
    for action, number in (
        ("next", 1),
        ("last", 4),
        ("next", 4),
        ("previous", 3),
        ("first", 0),
        ("previous", 0),
    ):
        send(explorer, action)
        assert (grid.page, names(explorer)) == (number, everything[number * 24 : (number + 1) * 24])
    send(explorer, "open", 2)
    assert grid.detail["name"] == everything[2] and grid.detail["rounds"][-1]["name"] == "round 2"
    send(explorer, "reject", 2)
    assert grid.detail["history"][0]["action"] == "reject"
    explorer.select(wrong=True)
    assert grid.detail == {} and grid.page == 0


def test_noised_views_come_with_the_detail_and_their_failure_is_said(labels, tmp_path):
    def noised(row):
        if row == int(explorer.selection.rows[1]):
            raise NsfastError("no such file")
        return np.repeat(labels.pictures[row][None], 3, 0)

    explorer = Explorer(labels, decisions=tmp_path / "d.jsonl", noised=noised)
    send(explorer, "open", 0)
    grid = explorer._page.grid
    assert grid.views_count == 3 and grid.views.startswith(b"\x89PNG")
    send(explorer, "open", 1)
    assert grid.message == "no such file" and grid.views_count == 0 and grid.detail


def test_static_mode_shows_a_picture_and_a_text_and_imports_no_widget(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from nsfast.explore.core import PseudoLabels\n"
        "from nsfast.explore.live.explorer import Explorer\n"
        "labels = PseudoLabels(['a', 'b'], np.array([0, 1]), np.array([.5, .9]))\n"
        f"explorer = Explorer(labels, decisions={str(tmp_path / 'd')!r})\n"
        "assert set(explorer._repr_mimebundle_()) == {'image/png', 'text/plain'}\n"
        "assert not {'ipywidgets', 'matplotlib.pyplot', 'torch', 'plotly', 'anywidget'} & set(sys.modules)\n"
    )
    surroundings = {"NSFAST_DISPLAY": "static", "PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=surroundings)


def test_live_mode_keeps_picture_text_and_page_beside_the_widget(explorer, environment):
    environment.setenv("NSFAST_DISPLAY", "live")
    bundle = explorer._repr_mimebundle_()
    assert list(bundle) == [VIEW, "text/html", "image/png", "text/plain"]
    assert bundle[VIEW]["model_id"] == explorer.widget.model_id
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert sum(len(json.dumps(part)) for part in bundle.values()) < 1_000_000


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def test_names_from_data_are_text_in_everything_that_is_html(explorer, environment, tmp_path):
    environment.setenv("NSFAST_DISPLAY", "live")
    send(explorer, "relabel", 0, CLASSES[1])
    explorer.select(predicted=CLASSES[1])
    page = explorer._page
    bundle = explorer._repr_mimebundle_()
    saved = explorer.save_html(tmp_path / "page.html").read_text()
    for text in (
        bundle["text/html"],
        saved,
        page.decided.value,
        page.bar.said.value,
        page.panel.classes.value,
    ):
        tags = Tags()
        tags.feed(text)
        assert not [a for _, a in tags.found if "onerror" in a or a.get("src") == "x"], text[:300]
        assert "script" not in {tag for tag, _ in tags.found}
        assert any(CLASSES[1] in part for part in tags.texts)


@pytest.mark.parametrize(
    "known",
    [
        {"truth": None},
        {"truth": None, "others": None, "scores": None, "distributions": None},
        {"pictures": None},
        {"names": None, "round": 0},
        {"embedding": np.random.default_rng(0).random((N, 2))},
    ],
)
def test_opens_with_whatever_is_known(known, tmp_path, environment):
    environment.setenv("NSFAST_DISPLAY", "live")
    explorer = Explorer(make(**known)[0], decisions=tmp_path / "d.jsonl")
    explorer._repr_mimebundle_()
    send(explorer, "open", 0)
    send(explorer, "reject", 0)
    assert len(explorer._page.grid.items) == 24 and len(explorer.decisions) == 1
    if known.get("pictures", 0) is None:
        assert all(item["problem"] for item in explorer._page.grid.items)


@pytest.mark.parametrize("count", [1, 1000])
def test_opens_with_one_class_and_with_a_thousand(count, tmp_path):
    classes = [f"class {i}" for i in range(count)]
    random = np.random.default_rng(0)
    labels = PseudoLabels(
        classes, random.integers(0, count, 3000), random.random(3000), truth=random.integers(-1, count, 3000)
    )
    explorer = Explorer(labels, Balancing(0.3, "largest"), tmp_path / "d.jsonl")
    assert explorer.widget
    for view in explorer._page.figure.views:
        explorer._page.figure.show(view)
    assert explorer.png().startswith(b"\x89PNG")


def test_scores_of_many_labels_are_made_ahead_and_an_error_waits_until_they_are_asked_for(
    labels, tmp_path, monkeypatch
):
    monkeypatch.setattr(page, "MANY", len(labels))
    assert Explorer(labels, decisions=tmp_path / "d.jsonl").widget
    for _ in range(200):
        if "entropy" in labels._orders:
            break
        time.sleep(0.01)
    assert {"margin", "entropy"} <= set(labels._orders)

    def gone():
        raise NsfastError("a shard is gone")

    explorer = Explorer(make(scores=gone)[0], decisions=tmp_path / "d.jsonl")
    assert explorer.widget
    with pytest.raises(NsfastError, match="a shard is gone"):
        explorer.select(sort="margin")


def test_an_empty_selection_is_shown_as_such(explorer):
    assert explorer.widget
    explorer.select(confidence=(0, 0))
    assert explorer._page.grid.items == [] and explorer._page.grid.total == 0
    assert explorer.png().startswith(b"\x89PNG")


def test_a_damaged_decisions_file_is_said_in_one_line(labels, tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"action": "accept", "id": "a"}\nnonsense\n{"action": "accept", "id": "b"}\n')
    with pytest.raises(NsfastError, match="d.jsonl, line 2"):
        Explorer(labels, decisions=path)._repr_mimebundle_()
