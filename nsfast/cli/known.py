"""Commands that say what there is: profiles, params, models, recipe."""

from __future__ import annotations

from typing import Annotated

import typer

from nsfast.cli import app, table


@app.command()
def profiles():
    """List the profiles that come with nsfast."""
    from nsfast.pipeline.profile import profile_names

    rows = []
    for name, path in profile_names().items():
        first = path.read_text(encoding="utf-8").splitlines()[0]
        rows.append({"profile": name, "what": first.lstrip("# ").partition(": ")[2]})
    table(rows)


@app.command()
def params(
    stage: Annotated[
        str, typer.Argument(help="data, control, teacher, labeling, balancing, student, iterate or analysis.")
    ],
    data: Annotated[str, typer.Option(help="Whose data parameters: digits, folder, cifar10, ...")] = "digits",
):
    """List what may be set in a stage: name, type, default, help."""
    from nsfast.pipeline.profile import stage_parameters

    rows = []
    for name, parameter in stage_parameters(stage, data).items():
        default = "" if parameter.default is None else repr(parameter.default)
        rows.append(
            {
                "parameter": f"{stage}.{name}",
                "type": parameter.type,
                "default": default,
                "help": parameter.help,
            }
        )
    table(rows)


@app.command()
def models(
    names: Annotated[list[str] | None, typer.Argument(help="Networks; by default the paper's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, every column.")] = False,
):
    """List networks: parameters, multiply-adds, resolutions, the paper's accuracy."""
    from nsfast.models import model_rows

    rows = model_rows(names or None)
    if as_json:
        import json

        print(json.dumps(rows, indent=1))
        return
    table([_network(row) for row in rows])
    print("Top-1 of the paper on ImageNet: supervised, then Noisy Student (teacher: EfficientNet-L2).")
    print("Any other classifier works too: names of timm, torchvision/NAME, and small with size=1, 2, ...")


def _network(row: dict) -> dict[str, str]:
    """A network's row as it is printed."""
    size = f" (size {row['size']})" if row["size"] else ""
    return {
        "network": f"{row['name']}{size}",
        "parameters": f"{row['parameters'] / 1e6:.2f} M",
        "multiply-adds": f"{row['multiply_adds'] / 1e9:.3g} G",
        "trained at": f"{row['train_pixels']} px",
        "tested at": f"{row['test_pixels']} px",
        "supervised": row["paper_top1_supervised"] or "",
        "noisy student": row["paper_top1"] or "",
    }


@app.command()
def recipe(
    name: Annotated[
        str | None, typer.Argument(help="imagenet-b0 .. imagenet-b7, imagenet-l2-1, svhn.")
    ] = None,
):
    """Print every number of a recipe of the paper, with where it comes from."""
    from nsfast.training.released import RECIPES, recipe_rows

    if name is None:
        for known in RECIPES:
            print(known)
        return
    table([{column: str(value) for column, value in row.items()} for row in recipe_rows(name)])
