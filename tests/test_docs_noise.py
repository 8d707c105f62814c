"""docs/noise.md: its code runs, its tables and formulas are the library's, and what it shows is there."""

import importlib
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import timm
import torch
import torchvision
from fastcore.foundation import defaults
from PIL import Image

from nsfast.errors import NsfastError
from nsfast.models import build_model
from nsfast.noise import StochasticDepth

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "noise.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def docs():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        yield


@pytest.fixture(scope="module")
def draw_noise(docs):
    return importlib.import_module("draw_noise")


@pytest.fixture(scope="module")
def noise_tables(docs):
    return importlib.import_module("noise_tables")


def test_the_code_of_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(defaults, "cpus", 0)  # loaders without worker processes
    random = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / "pictures" / ("ant", "bee")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (80, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    names = {}
    for block in re.finditer(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        above = PAGE[: block.start(1)].count("\n")  # so that an error names the line of the page
        exec(compile("\n" * above + block[1], str(DOCS / "noise.md"), "exec"), names)
    plt.close("all")
    assert 0.5 < names["right"]["teacher"] < names["right"]["student"]
    assert "an epoch is 2 batches of 2 labeled + 6 pseudo-labeled pictures" in capsys.readouterr().out


def test_the_tables_of_the_page_are_what_the_library_says(noise_tables):
    assert noise_tables.rewrite(PAGE) == PAGE


def test_the_formulas_of_the_page_are_the_table_of_operations(noise_tables, monkeypatch):
    noise_tables.check_formulas()
    wrong = ((("Rotate",), (224,), {"official": "±2·m"}),)
    monkeypatch.setattr(noise_tables, "ROWS", wrong)
    with pytest.raises(AssertionError, match="Rotate of official at m=1"):
        noise_tables.check_formulas()


def test_every_operation_of_both_scales_has_a_row(noise_tables):
    for scale, table in noise_tables.SCALES.items():
        assert {name for names, _, both in noise_tables.ROWS if scale in both for name in names} == set(table)


def test_what_the_page_links_to_is_there_and_small():
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE)
    local = [DOCS / target for target in targets if not target.startswith("https://")]
    assert [path for path in local if not path.is_file()] == []
    pictures = [path for path in local if path.suffix == ".png"]
    assert sorted(pictures) == sorted((DOCS / "noise").glob("*.png"))
    assert max(path.stat().st_size for path in pictures) < 400_000


def test_the_contents_of_the_page_name_its_headings():
    headings = {line.strip("# ").lower().replace(" ", "-") for line in PAGE.splitlines() if line[:2] == "##"}
    assert set(re.findall(r"\(#([^)]+)\)", PAGE)) <= headings


def test_networks_that_the_page_calls_unknown_or_too_short_are_so():
    refused = [torchvision.models.vit_b_16, torchvision.models.densenet121, torchvision.models.vgg11]
    with torch.device("meta"):
        networks = [build() for build in refused]
        short = timm.create_model("resnet10t")
    for network in [*networks, torchvision.models.regnet_y_400mf()]:
        with pytest.raises(NsfastError, match="no residual block"):
            StochasticDepth(0.2).plan(network)
    with pytest.raises(NsfastError, match="the linear rule drops nothing in ResNet"):
        StochasticDepth(0.2).plan(short)


@pytest.mark.parametrize("subset", (True, False))
def test_the_depths_in_the_figure_are_counted_as_they_are_to_be_expected(draw_noise, subset):
    torch.manual_seed(0)
    model, depth = build_model("small", 10, 3, 1), StochasticDepth(0.5, subset=subset)
    expected = draw_noise.poisson_binomial([rate for block, rate, _ in depth.plan(model) if block.branches])
    counts = draw_noise.active_blocks(model, depth, 2048)
    assert np.bincount(counts, minlength=len(expected)) / len(counts) == pytest.approx(expected, abs=0.04)
