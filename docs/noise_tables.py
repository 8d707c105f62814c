"""The generated tables of docs/noise.md: `python docs/noise_tables.py` writes them anew.

Every number comes from nsfast's own tables and plans. A table stands in noise.md between `<!-- generated: NAME -->` and
`<!-- end: NAME -->`.
"""

from __future__ import annotations

import io
import math
from contextlib import redirect_stdout
from itertools import product
from pathlib import Path

import timm
import torch
import torchvision
from fastai.vision.models.xresnet import xresnet50

from nsfast.models import build_model
from nsfast.noise import StochasticDepth
from nsfast.noise.table import EXTRA, LARGEST, SCALES, Operation, choose

PAGE = Path(__file__).parent / "noise.md"
MAGNITUDES = {"official": (5, 9, 27), "torchvision": (9, 27)}
SIZE = 224  # pixels, ImageNet's

# What the page says of an operation. `check_formulas` holds the formulas to nsfast.noise.table: m is the magnitude, ±
# the sign that is drawn, size the side of the picture.
UNITS = {"Rotate": "°", "Translate": " px", "Cutout": " px", "Posterize": " bits"}
ENHANCE = ("Color", "Contrast", "Brightness", "Sharpness")
ROWS = (  # operations of one row, sides of the picture that it holds for, formula of each scale
    (("AutoContrast", "Equalize"), (SIZE, 32), {"official": "", "torchvision": ""}),
    (("Invert",), (SIZE, 32), {"official": ""}),
    (("Identity",), (SIZE, 32), {"torchvision": ""}),
    (("Rotate",), (SIZE, 32), {"official": "±3·m", "torchvision": "±1·m"}),
    (("ShearX", "ShearY"), (SIZE, 32), {"official": "±0.03·m", "torchvision": "±0.01·m"}),
    (
        ("TranslateX", "TranslateY"),
        (SIZE, 64),
        {"official": "±10·m", "torchvision": "±⌊size·150/331·m/30⌋"},
    ),
    (
        ("TranslateX", "TranslateY"),
        (32, 63),
        {"official": "±⌊size/8⌋·m/10", "torchvision": "±⌊size·150/331·m/30⌋"},
    ),
    (ENHANCE, (SIZE, 32), {"official": "0.18·m + 0.1", "torchvision": "1 ± 0.03·m"}),
    (("Posterize",), (SIZE, 32), {"official": "min(8, ⌊0.4·m⌋)", "torchvision": "round(8 − 4·m/30)"}),
    (("Solarize",), (SIZE, 32), {"official": "min(256, ⌊25.6·m⌋)", "torchvision": "⌈255·(1 − m/30)⌉"}),
    (("SolarizeAdd",), (SIZE, 32), {"official": "min(128, ⌊11·m⌋)"}),
    (("Cutout",), (SIZE, 64), {"official": "⌊4·m⌋"}),
    (("Cutout",), (32, 63), {"official": "⌊⌊size/8⌋·m/10⌋"}),
)
INCREASING = {
    ENHANCE: "max(0.1, 1 ± 0.09·m)",
    ("Posterize",): "4 − min(4, ⌊0.4·m⌋)",
    ("Solarize",): "256 − min(256, ⌊25.6·m⌋)",
}
NETWORKS = {
    "timm `efficientnet_b0`": lambda: timm.create_model("efficientnet_b0"),
    "timm `resnet50`": lambda: timm.create_model("resnet50"),
    "timm `convnext_tiny`": lambda: timm.create_model("convnext_tiny"),
    "timm `vit_small_patch16_224`": lambda: timm.create_model("vit_small_patch16_224"),
    "torchvision `efficientnet_b0`": torchvision.models.efficientnet_b0,
    "torchvision `resnet50`": torchvision.models.resnet50,
    "torchvision `mobilenet_v2`": torchvision.models.mobilenet_v2,
    "torchvision `convnext_tiny`": torchvision.models.convnext_tiny,
    "torchvision `swin_t`": torchvision.models.swin_t,
    "fastai `xresnet50`": xresnet50,
    "nsfast `small`": lambda: build_model("small", 10, 3, 2),
}


def argument(operation: Operation, m: float, sign: int = 1, size: int = SIZE) -> float:
    """Return what the table says an operation does at a magnitude, for a picture of size x size pixels."""
    m, sign = (torch.tensor(float(value), dtype=torch.float64) for value in (m, sign))
    return float(operation.argument(m, sign, size, size))


def evaluate(formula: str, m: float, sign: int, size: int) -> float:
    """Return the value of a formula of the page."""
    words = {"⌊": "floor(", "⌋": ")", "⌈": "ceil(", "⌉": ")", "·": "*", "−": "-", "±": "+ sign *"}
    for word, code in words.items():
        formula = formula.replace(word, code)
    names = {"floor": math.floor, "ceil": math.ceil, "min": min, "max": max, "round": round}
    return eval(formula or "0", {"__builtins__": {}}, {**names, "m": m, "sign": sign, "size": size})


def check_formulas() -> None:
    """Raise AssertionError where a formula of the page is not what nsfast.noise.table computes."""
    rows = [(scale, names, sizes, text) for names, sizes, both in ROWS for scale, text in both.items()]
    rows += [("increasing", names, (SIZE,), text) for names, text in INCREASING.items()]
    tables = {**SCALES, "increasing": {row.name: row for row in choose("all", increasing=True)}}
    for scale, names, sizes, formula in rows:
        # torchvision has its bins in single precision, and rounds up what comes out a hair too large
        tolerance = 1 if (scale, names) == ("torchvision", ("Solarize",)) else 1e-6
        for name, size, m, sign in product(names, sizes, range(LARGEST + 1), (-1, 1)):
            ours, theirs = evaluate(formula, m, sign, size), argument(tables[scale][name], m, sign, size)
            assert math.isclose(ours, theirs, rel_tol=1e-5, abs_tol=tolerance), (
                f"{name} of {scale} at m={m}, size={size}: {formula} gives {ours}, the table {theirs}"
            )


# Tables


def show(operation: Operation, m: float, size: int = SIZE) -> str:
    """Return an argument in words: "±27°", "0.73 or 1.27", "8 bits"."""
    low, high = (argument(operation, m, sign, size) for sign in (-1, 1))
    if low == high:
        return with_unit(operation, high)
    return f"±{with_unit(operation, high)}" if low == -high else f"{low:.3g} or {with_unit(operation, high)}"


def with_unit(operation: Operation, value: float) -> str:
    unit = next((unit for name, unit in UNITS.items() if operation.name.startswith(name)), "")
    return f"{value:.4g}{unit}".replace("1 bits", "1 bit")


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def operations_table() -> str:
    """All operations: which set they are in, and what the magnitude means on each scale."""
    header = ["operation", "set"]
    for scale, magnitudes in MAGNITUDES.items():
        header += [f"{scale}: formula", *(f"m = {m}" for m in magnitudes)]
    rows = []
    for names, sizes, formulas in ROWS:
        size = sizes[0]
        by_size = len([row for row in ROWS if row[0] == names]) > 1
        row = [", ".join(names) + (f", {size} px" if by_size else "")]
        row.append("all" if names[0] in EXTRA else "paper")
        for scale, magnitudes in MAGNITUDES.items():
            formula = formulas.get(scale)
            if not formula:
                row += ["not there" if formula is None else "no argument"] + [""] * len(magnitudes)
            else:
                row += [formula, *(show(SCALES[scale][names[0]], m, size) for m in magnitudes)]
        rows.append(row)
    return markdown(header, rows)


def increasing_table() -> str:
    """The operations of "official" that `increasing` changes, before and after."""
    after = {row.name: row for row in choose("all", increasing=True)}
    magnitudes = MAGNITUDES["official"]
    rows = []
    for names, formula in INCREASING.items():
        name = names[0]
        values = [f"{show(SCALES['official'][name], m)} → {show(after[name], m)}" for m in magnitudes]
        rows.append([", ".join(names), formula, *values])
    return markdown(["operation", "with `increasing`", *(f"m = {m}" for m in magnitudes)], rows)


def network(name: str) -> torch.nn.Module:
    with torch.device("meta"):  # the plan needs no weights
        return NETWORKS[name]()


def summary() -> str:
    """What `StochasticDepth(0.2).summary()` prints for EfficientNet-B0."""
    out = io.StringIO()
    with redirect_stdout(out):
        StochasticDepth(0.2).summary(network("timm `efficientnet_b0`"))
    return f"```\n{out.getvalue().rstrip()}\n```"


def networks_table() -> str:
    """How many blocks of a network stochastic depth finds, and what it does with them at a rate of 0.2."""
    header = ["network", "blocks", "with identity shortcut", "subset", "mask"]
    rows = []
    for name in NETWORKS:
        plan = StochasticDepth(0.2).plan(network(name))
        forms = [form for _, _, form in plan]
        there = sum(bool(block.branches) for block, _, _ in plan)
        rows.append([name, *map(str, (len(plan), there, forms.count("subset"), forms.count("mask")))])
    return markdown(header, rows)


TABLES = {
    "operations": operations_table,
    "increasing": increasing_table,
    "summary": summary,
    "networks": networks_table,
}


def rewrite(page: str) -> str:
    """Return a page with its generated parts made anew.

    Raises:
        ValueError: a part of TABLES that the page has no place for, or two.
    """
    for name, make in TABLES.items():
        begin, end = f"<!-- generated: {name} -->\n", f"\n<!-- end: {name} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page needs one place between {begin.strip()} and {end.strip()}")
        before, after = page.split(begin)[0], page.split(end)[1]
        page = before + begin + make() + end + after
    return page


def main() -> None:
    check_formulas()
    PAGE.write_text(rewrite(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
