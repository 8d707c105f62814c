"""Draw the figures of docs/noise.md into docs/noise/: `python docs/draw_noise.py`.

Every picture comes from nsfast's own functions; seeded, about half a minute on one core.
"""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import timm
import torch
from matplotlib.patches import Rectangle
from noise_tables import ENHANCE, SIZE, argument, with_unit
from PIL import Image
from sklearn.datasets import load_sample_image

from nsfast.noise import StochasticDepth, rand_augment
from nsfast.noise.depth import residual_blocks
from nsfast.noise.randaugment import Draw, apply
from nsfast.noise.table import FILL, LARGEST, SCALES, Operation

FIGURES = Path(__file__).parent / "noise"
LEVELS = {"official": (3, 9, 15, 21, 27), "torchvision": (6, 12, 18, 24, 30)}
CELL = 88  # pixels; pictures are noised at SIZE and shown at this one
LIMIT = 390_000  # bytes of a file
SEED = 6  # of its 24 draws at m = 27, 6 leave nothing to see, as many as are to be expected
PICTURES = 4096  # to measure depth with


def photo() -> torch.Tensor:
    """A square of the photograph china.jpg that scikit-learn ships, uint8 (3, SIZE, SIZE)."""
    whole = Image.fromarray(load_sample_image("china.jpg"))
    square = whole.crop((0, 0, whole.height, whole.height)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def do(picture: torch.Tensor, operation: Operation, m: float, scale: str) -> torch.Tensor:
    """Do one operation to a picture, with the positive sign and in the middle."""
    value = torch.tensor([[argument(operation, m)]], dtype=torch.float64)
    draw = Draw((operation,), torch.zeros(1, 1, dtype=torch.int64), value, torch.full((1, 1, 2), 0.5))
    return apply(picture[None], draw, round(FILL[scale] * 255))[0]


class Sheet:
    """A figure whose unit is a pixel, y downwards; text sizes are in the same unit."""

    zoom = 2  # pixels of the file per unit, for text that stays sharp

    def __init__(self, width: int, height: int):
        self.figure = plt.figure(figsize=(width / 72, height / 72), dpi=72 * self.zoom)
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        self.axes.set_axis_off()

    def picture(self, x: int, y: int, pixels: torch.Tensor, detail: bool = False) -> None:
        cell, start = Image.fromarray(pixels.permute(1, 2, 0).numpy()), (SIZE - CELL) // 2
        if detail:
            cell = cell.crop((start, start, start + CELL, start + CELL))
        else:
            cell = cell.resize((CELL, CELL), Image.Resampling.BOX)
        self.axes.imshow(cell, extent=(x, x + CELL, y + CELL, y), interpolation="nearest")
        self.axes.add_patch(Rectangle((x, y), CELL, CELL, fill=False, edgecolor="#999999", lw=0.5))

    def text(self, x: int, y: int, words: str, size: int = 12, **options) -> None:
        self.axes.text(x, y, words, size=size, va="center", **options)

    def save(self, name: str) -> None:
        save(self.figure, name)


def save(figure, name: str) -> None:
    """Write a figure as PNG, with as many colours as its size allows."""
    file = io.BytesIO()
    figure.savefig(file)
    plt.close(figure)
    picture = Image.open(file).convert("RGB")
    for colours in (256, 224, 192, 160, 128, 96):
        file = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        if len(file.getvalue()) <= LIMIT:
            break
    FIGURES.mkdir(exist_ok=True)
    (FIGURES / f"{name}.png").write_bytes(file.getvalue())


def draw_operations(scale: str) -> None:
    """Every operation of a scale at five levels."""
    picture, rows = photo(), list(SCALES[scale].values())
    plain = [
        row for row in rows if all(argument(row, m) == 0 for m in (1, LARGEST)) and row.name != "Identity"
    ]
    rows = [row for row in rows if row not in plain and row.name != "Identity"]
    left, top, step, line = 104, 24, CELL + 4, CELL + 18
    sheet = Sheet(left + 6 * step, top + line * (len(rows) + 1))
    sheet.text(left + CELL / 2, top / 2, "original", ha="center")
    for column, m in enumerate(LEVELS[scale], 1):
        sheet.text(left + column * step + CELL / 2, top / 2, f"m = {m}", weight="bold", ha="center")
    for number, row in enumerate(rows):
        y = top + number * line
        detail = row.name == "Sharpness"  # it would be lost when made smaller
        sheet.text(left - 8, y + CELL / 2, row.name, size=13, weight="bold", ha="right")
        if detail:
            sheet.text(left - 8, y + CELL / 2 + 17, "(the middle)", size=11, ha="right")
        sheet.picture(left, y, picture, detail)
        for column, m in enumerate(LEVELS[scale], 1):
            x = left + column * step
            sheet.picture(x, y, do(picture, row, m, scale), detail)
            sheet.text(x + CELL / 2, y + CELL + 7, caption(row, m), size=11, ha="center")
    y = top + len(rows) * line
    sheet.text(left - 8, y + CELL / 2, "no argument", size=13, style="italic", ha="right")
    for column, row in enumerate(plain, 1):
        x = left + column * step
        sheet.picture(x, y, do(picture, row, 0, scale))
        sheet.text(x + CELL / 2, y + CELL + 7, row.name, size=11, weight="bold", ha="center")
    sheet.picture(left, y, picture)
    sheet.save(scale)


def caption(operation: Operation, m: float) -> str:
    """Return what a cell shows, with its unit."""
    sign = "+" if operation.signed and not operation.middle else "× " if operation.name in ENHANCE else ""
    return sign + with_unit(operation, argument(operation, m))


def draw_draws() -> None:
    """One picture, 24 draws of each of three settings."""
    settings = (("official", 9), ("official", 27), ("torchvision", 9))
    picture, columns, count = photo(), 8, 24
    step, head = CELL + 4, 30
    block = head + step * count // columns
    sheet = Sheet(step * columns, block * len(settings))
    for number, (scale, m) in enumerate(settings):
        sheet.text(2, number * block + head / 2, f'n = 2, m = {m}, scale "{scale}"', size=14, weight="bold")
        noised = rand_augment(
            picture.expand(count, 3, SIZE, SIZE).contiguous(),
            2,
            m,
            scale=scale,
            generator=torch.Generator().manual_seed(SEED),
        )
        for place, one in enumerate(noised):
            row, column = divmod(place, columns)
            sheet.picture(column * step, number * block + head + row * step, one)
    sheet.save("draws")


# Depth


def active_blocks(
    model: torch.nn.Module, depth: StochasticDepth, pictures: int, batch: int = 256
) -> np.ndarray:
    """Run a network in training mode and return how many blocks with an identity shortcut changed each picture."""
    blocks = [block.block for block in residual_blocks(model) if block.branches]
    depth.learn = SimpleNamespace(model=model.train())
    whole, changed = [], []
    # around the hooks of the callback, which narrow the batch: a block that is left out hands on what it got
    for block in blocks:
        block.register_forward_pre_hook(lambda _, inputs: whole.append(inputs[0]))
    depth.install()
    for block in blocks:
        block.register_forward_hook(
            lambda _, inputs, out: changed.append((whole.pop() != out).flatten(1).any(1))
        )
    counts = []
    for _ in range(pictures // batch):
        changed.clear()
        with torch.no_grad():
            model(torch.rand(batch, 3, 32, 32))
        counts.append(torch.stack(changed).sum(0))
    depth.undo()
    return torch.cat(counts).numpy()


def poisson_binomial(rates: list[float]) -> np.ndarray:
    """Return the probabilities of 0, 1, ... survivors among blocks that are left out at these rates."""
    out = np.ones(1)
    for rate in rates:
        out = np.convolve(out, [rate, 1 - rate])
    return out


CASES = (  # colours of Okabe and Ito, which colour-blind people tell apart
    ("EfficientNet-B0, linear", "efficientnet_b0", "linear", "#0072B2", "o"),
    ("ConvNeXt-Atto, linear", "convnext_atto", "linear", "#D55E00", "s"),
    ("ConvNeXt-Atto, uniform", "convnext_atto", "uniform", "#009E73", "^"),
)


def draw_depth() -> None:
    """Survival of each block, and how many blocks a picture went through."""
    plt.rcParams.update({"font.size": 12, "axes.spines.top": False, "axes.spines.right": False})
    figure = plt.figure(figsize=(11, 5), dpi=140, layout="constrained")
    grid = figure.add_gridspec(len(CASES), 2, width_ratios=(1.1, 1))
    left = figure.add_subplot(grid[:, 0])
    right = [figure.add_subplot(grid[row, 1]) for row in range(len(CASES))]
    for axes, (label, name, rule, colour, marker) in zip(right, CASES, strict=True):
        torch.manual_seed(SEED)
        depth, model = StochasticDepth(0.2, rule), timm.create_model(name, num_classes=10)
        plan = depth.plan(model)
        for there, filling in ((True, colour), (False, "white")):
            at = [(i, 1 - rate) for i, (block, rate, _) in enumerate(plan) if bool(block.branches) == there]
            if at:
                words = label if there else "the same, blocks without identity shortcut"
                left.plot(*zip(*at, strict=True), marker, color=colour, mfc=filling, ms=8, label=words)
        expected = poisson_binomial([rate for block, rate, _ in plan if block.branches])
        counts = np.bincount(active_blocks(model, depth, PICTURES), minlength=len(expected))
        axes.bar(range(len(expected)), counts / counts.sum(), color=colour, label="measured")
        axes.plot(expected, "_", color="black", ms=22, mew=2, label="expected")
        mean = expected @ np.arange(len(expected))
        axes.set_title(f"{label}: {mean:.1f} of {len(expected) - 1} on average", size=12, loc="left")
        axes.set(xlim=(2.4, 12.6), ylim=(0, 0.45), xticks=range(3, 13), yticks=(0, 0.2, 0.4))
        axes.yaxis.set_major_formatter("{x:.0%}")
    right[0].legend(frameon=False, loc="upper left", fontsize=11)
    right[1].set_ylabel(f"share of {PICTURES:,} pictures")
    right[-1].set_xlabel("residual blocks that a picture goes through")
    left.set_title("Survival of each block at a rate of 0.2", size=13, loc="left", weight="bold")
    left.set(xlabel="block, counted from 0", ylabel="probability that its branch stays", ylim=(0.7, 1.01))
    left.set(xticks=range(0, 16, 2), yticks=(0.8, 0.85, 0.9, 0.95, 1))
    left.yaxis.set_major_formatter("{x:.0%}")
    left.legend(frameon=False, loc="lower left", fontsize=11)
    save(figure, "depth")


def main() -> None:
    for scale in SCALES:
        draw_operations(scale)
    draw_draws()
    draw_depth()


if __name__ == "__main__":
    main()
