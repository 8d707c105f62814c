"""What balancing says of N in one sentence is so of every class; decisions on pictures without a label are counted."""

import numpy as np
import pytest

from nsfast.files import read_json
from nsfast.labels import Balancing, balance, what_if
from nsfast.labels.histogram import Histogram

CLASSES = ("ant", "bee", "cat", "dog")


def histogram_of(sizes, confidence=0.9):
    found = Histogram(len(sizes))
    for number, size in enumerate(sizes):
        found.add(np.full(size, number), np.full(size, confidence))
    return found


@pytest.mark.parametrize(
    ("sizes", "how", "said"),
    [
        ((20, 20, 20, 20), Balancing(per_class=20), "20 pictures of each class, as asked for"),
        ((20, 20, 20, 20), Balancing(per_class=1), "1 picture of each class, as asked for"),
        ((3, 7, 0, 0), Balancing(per_class=20),
         "20 pictures of each class, as asked for; 2 classes have none, for no picture is confident enough"),
        ((200, 100, 3, 7), Balancing(per_class=100, max_copies=1),
         "at most 100 pictures of each class, as asked for; 2 classes have fewer, for no picture is seen more than "
         "once (max_copies)"),
        ((200, 100, 3, 0), Balancing(per_class="largest", max_copies=3),
         "at most 200 pictures of each class, as many as the largest, 'ant', keeps; 1 class has fewer, for no picture "
         "is seen more than 3 times (max_copies); 1 class has none, for no picture is confident enough"),
        ((60, 60, 60, 20), Balancing(floor=50),
         "22 pictures of each class: the paper's 130,000, scaled from 300 million labels of 1,000 classes to 200 of 4; "
         "the floor of 50 is cut to that"),
        ((30, 20, 20, 20), Balancing(per_class=20, method="official"),
         "20 pictures of each class on average, as asked for"),
        ((20, 10, 5, 4), Balancing(per_class=20, method="official"), "20 pictures of each class, as asked for"),
        ((100, 100, 1, 0), Balancing(per_class="auto"),
         "107 pictures of each class, the largest number at which at least 81 of 130 are different pictures, as the "
         "paper's 81 of 130 million; 1 class has none, for no picture is confident enough"),
        ((9, 9, 9, 9), Balancing(0.95, 20), "no picture is confident enough"),
        ((9, 9, 9, 2), Balancing(method="none"), "every picture that is confident enough once; nothing is balanced"),
        ((9, 9, 9, 2), Balancing(method="none", thresholds={"cat": 0.95}, floor=4),
         "every picture that is confident enough once, and 4 more for the floor of 4; nothing is balanced"),
    ],
)  # fmt: skip
def test_the_sentence_is_so_of_every_class(sizes, how, said):
    limits = what_if(histogram_of(sizes), CLASSES, how)
    if sizes[0] == 100:  # 81/130 of three classes' N, and not of one more
        share = [
            sum(min(size, n) for size in sizes) / (3 * n) for n in (limits.per_class, limits.per_class + 1)
        ]
        assert share[0] >= 81 / 130 > share[1]
        said = said.replace("107", str(limits.per_class))
    assert limits.why == said


@pytest.mark.parametrize("per_class", [1, 5, 30, 200, "largest", "paper", "auto"])
@pytest.mark.parametrize("max_copies", [0, 1, 3])
def test_at_most_is_said_just_when_a_class_has_fewer(per_class, max_copies):
    random = np.random.default_rng(0)
    for _ in range(40):
        sizes = random.integers(0, 40, 4).tolist()
        limits = what_if(histogram_of(sizes), CLASSES, Balancing(per_class=per_class, max_copies=max_copies))
        seen = [min(limits.per_class, max_copies * size if max_copies else 10**9) for size in sizes if size]
        fewer = sum(number < limits.per_class for number in seen)
        assert limits.why.startswith("at most ") == (fewer > 0)
        assert (f"{fewer} class has fewer" in limits.why) == (fewer == 1)
        assert (f"{fewer} classes have fewer" in limits.why) == (fewer > 1)


def test_decisions_on_pictures_without_a_label_are_counted_and_said(tmp_path, table_of, capsys):
    table = table_of(tmp_path, np.arange(4), np.full(4, 0.9), ids=np.array([0, 2, 3, 6]))
    balanced = balance(table, Balancing(per_class=3), tmp_path / "a", {2: 0, 5: 1}, [0, 1, 9], dropped=[0, 4])
    assert balanced.unmet == 3 and read_json(tmp_path / "a" / "balancing.json")["unmet"] == 3
    assert "warning: 3 of 5 accepted or relabeled pictures have no label in" in capsys.readouterr().out
    assert balance(table, Balancing(per_class=3), tmp_path / "b", {2: 0}, [0], dropped=[4]).unmet == 0
    assert not capsys.readouterr().out
