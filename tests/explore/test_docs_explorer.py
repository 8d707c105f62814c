"""docs/explorer.md: its code runs, and its table of keys is the one that the grid obeys."""

import re
from pathlib import Path

import numpy as np

from nsfast.explore.core import SORTS, Answers, PseudoLabels
from nsfast.explore.live.explorer import Explorer

PAGE = (Path(__file__).parents[2] / "docs" / "explorer.md").read_text(encoding="utf-8")


def test_the_code_of_selections_and_decisions_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random, n = np.random.default_rng(0), 400
    labels = PseudoLabels(
        [str(i) for i in range(10)],
        random.integers(0, 10, n),
        random.random(n),
        others={"round 1": Answers(random.integers(0, 10, n).astype(np.int32))},
        round=2,
    )
    explorer = Explorer(labels)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    chosen, decided = (block for block in blocks if block.startswith(("found = ", "explorer.reject")))
    space = {"explorer": explorer}
    exec(chosen.replace("margin", "quality"), space)  # these labels have no probabilities
    found = space["found"]
    assert len(found) and explorer.threshold == 0.45 and explorer.selection is found
    assert all(0.3 <= sure < 0.5 for sure in found.to_frame()["confidence"].round(3))
    exec(decided, space)
    assert explorer.decisions.decisions.rejected == {*found.names[:2]}
    assert len((tmp_path / "decisions.csv").read_text().splitlines()) == 3


def test_names_every_order():
    for sort in SORTS:
        assert f"**{sort}**" in PAGE or f"`{sort}`" in PAGE, sort
