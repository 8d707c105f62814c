"""Robustness of models without a run: what `nsfast robustness MODEL ...` does."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nsfast.errors import NsfastError, choice
from nsfast.files import atomic, read_csv, write_csv
from nsfast.images import ImageProblem, Split, load_images
from nsfast.pipeline.notebooks import COMMON, declared_parameters
from nsfast.pipeline.profile import typed

if TYPE_CHECKING:
    from nsfast.analysis.measurement import Measurement
    from nsfast.models import Network
    from nsfast.robustness.protocol import RobustnessProtocol

TIMM = "timm/"


@dataclass(frozen=True)
class Opened:
    """A model ready to be asked.

    Args:
        network: in eval mode.
        classes: their names.
        fingerprint: of its weights.
        recipe: it was trained with, as far as that is known.
    """

    network: Network
    classes: tuple[str, ...]
    fingerprint: str
    recipe: dict[str, Any] = field(default_factory=dict)


def protocol_of(changes: Mapping[str, Any]) -> RobustnessProtocol:
    """Return the protocol of the analysis' defaults with some parameters changed, texts read as YAML."""
    from nsfast.robustness.protocol import RobustnessProtocol

    declared = {n: p for n, p in declared_parameters("analysis").items() if n not in COMMON}
    values = {name: parameter.default for name, parameter in declared.items()}
    values |= {name: typed("robustness", declared[name], value) for name, value in changes.items()}
    return RobustnessProtocol.of(values)


def open_models(given: Sequence[str]) -> dict[str, Opened]:
    """Open models by name.

    Args:
        given: each the folder of a model file, named by its last part, or NAME=FOLDER; "timm/NAME" for trained weights
            of timm on ImageNet, from the Hugging Face cache; or a run folder, for all of its models.

    Raises:
        NsfastError: none is given, one is missing, a name twice, or their classes differ.
    """
    models: dict[str, Opened] = {}
    for text in given:
        name, equals, place = text.partition("=") if not Path(text).exists() else ("", "", text)
        place = place if equals or not name else text
        if (Path(place) / "profile.yaml").is_file():
            found = _of_run(Path(place))
        elif place.startswith(TIMM) and not Path(place).exists():
            found = {place.removeprefix(TIMM): _of_timm(place.removeprefix(TIMM))}
        else:
            found = {Path(place).resolve().name: _of_folder(Path(place))}
        if equals:
            if len(found) > 1:
                raise NsfastError(f"{place} is a run with several models; give it without a name")
            found = {name: next(iter(found.values()))}
        twice = sorted(set(found) & set(models))
        if twice:
            raise NsfastError(f"two models are called {twice[0]!r}; name one of them, as in other={place}")
        models |= found
    if not models:
        raise NsfastError("no model is given; give the folder of one, as runs/digits/teacher")
    first = next(iter(models))
    for name, model in models.items():
        if model.classes != models[first].classes:
            raise NsfastError(
                f"{name} has other classes than {first}; only models of the same classes can be compared"
            )
    return models


def _of_run(run: Path) -> dict[str, Opened]:
    rounds = run / "iterate" / "rounds.csv"
    if not rounds.is_file():
        raise NsfastError(f"{run} is not finished (no iterate/rounds.csv); give the folders of single models")
    return {str(row["model"]): _of_folder(run / row["folder"]) for row in read_csv(rounds)}


def _of_folder(folder: Path) -> Opened:
    from nsfast.models import default_device
    from nsfast.training.model_file import load_model, read_about

    about = read_about(folder)
    network = load_model(folder).to(default_device())
    return Opened(network, tuple(about["classes"]), about["fingerprint"], about.get("recipe", {}))


def _of_timm(name: str) -> Opened:
    from nsfast.models import build_model, default_device
    from nsfast.models.catalogue import resolutions
    from nsfast.models.weights import load_weights, weights_statistics
    from nsfast.robustness.sets import imagenet_wnids

    mean, std = weights_statistics(name)
    _, pixels = resolutions(name)
    network = build_model(name, 1000, mean=mean, std=std, pixels=pixels)
    load_weights(network, "timm", name)
    network.pixels = pixels
    digest = hashlib.sha256()
    for key, tensor in network.state_dict().items():
        digest.update(key.encode() + tensor.contiguous().numpy().tobytes())
    return Opened(network.to(default_device()).eval(), imagenet_wnids(), digest.hexdigest())


def open_pictures(folder: str | Path, models: Mapping[str, Opened]) -> Split:
    """Return the labeled pictures of a folder with a folder for each class, decoded as they are needed.

    Raises:
        ImageProblem: there is no such folder, no picture, or a class that the models do not know.
    """
    from nsfast.images.folder import open_all
    from nsfast.images.listing import list_split

    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise ImageProblem(f"no folder {str(folder)!r}; give one that holds <class>/*")
    listing = list_split(root.parent, root.name, in_classes=True)
    one = next(iter(models.values()))
    unknown = sorted({file.class_name for file in listing.pictures} - set(one.classes))
    if unknown:
        raise ImageProblem(
            f"{root} has class {unknown[0]!r}, which the models do not know: {_few(one.classes)}"
        )
    side = max(model.network.pixels or 224 for model in models.values())
    channels = one.network.normalize.mean.shape[1]
    files, pixels, bad = open_all(listing.pictures, root.parent, side, channels, whole=True)
    for where, why in bad:
        print(f"left out: {where} ({why})")
    if not files:
        raise ImageProblem(f"no picture below {root} can be read; give a folder that holds <class>/*")
    number = {name: index for index, name in enumerate(one.classes)}
    labels = np.array([number[file.class_name] for file in files], np.int64)
    return Split(np.array([file.id for file in files], dtype=str), pixels, labels)


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def run_of(given: Sequence[str]) -> Path | None:
    """Return the run folder that all models lie in, or that is given itself; None where there is no such one."""
    runs = set()
    for text in given:
        place = Path(text if Path(text).exists() else text.partition("=")[2])
        runs |= {next((f for f in (place, place.resolve().parent) if (f / "profile.yaml").is_file()), None)}
    return runs.pop() if len(runs) == 1 else None


def write_measurement(measured: Measurement, out: Path) -> Path:
    """Write every table, figure and the page `robustness.html` below a folder in place of old ones; return the page."""
    from nsfast.analysis.measured_figures import FIGURES, figure_of
    from nsfast.analysis.measurement import TABLES
    from nsfast.pipeline.report_robustness import write_page

    for name in TABLES:
        path = out / "tables" / f"{name}.csv"
        path.unlink(missing_ok=True)
        if rows := measured.table(name):
            write_csv(path, rows)
    for name in FIGURES:
        path = out / "figures" / f"{name}.png"
        path.unlink(missing_ok=True)
        if figure := figure_of(measured, name):
            with atomic(path) as temporary:
                figure.savefig(temporary, format="png", dpi=130)
    return write_page(out)


def measure_robustness(
    given: Sequence[str],
    out: Path,
    pictures: str = "",
    sets: Sequence[str] = (),
    control: str = "",
    teacher: str = "",
    changes: Mapping[str, Any] | None = None,
    cache: Path | None = None,
) -> tuple[Measurement, Path]:
    """Measure models and write tables, figures, answers and `robustness.html` below a folder.

    Args:
        given: models, as for `open_models`.
        out: the folder; answers that it holds already are not asked again.
        pictures: folder of labeled pictures; "" for the test pictures of the run that the models lie in.
        sets: released sets as "name=folder".
        control, teacher: names of models; "control" and "teacher" where there are such, else the first.
        changes: of the analysis' parameters, by name.
        cache: folder that keeps corrupted pictures.

    Raises:
        NsfastError: nothing to measure on, and whatever `open_models`, `open_pictures` and `Measurement` refuse.
    """
    from nsfast.analysis.measurement import Measurement

    changes = dict(changes or {})
    sets = [*sets, *changes.pop("sets", [])]
    protocol, seed = protocol_of({**changes, "sets": sets}), max(0, changes.get("seed", 0))
    run = run_of(given)
    if not (pictures or sets or run):
        raise NsfastError("there are no pictures to measure on; give --pictures FOLDER or --set NAME=FOLDER")
    models = open_models(given)
    test = open_pictures(pictures, models) if pictures else run and load_images(run / "images").test
    first = next(iter(models))
    measured = Measurement(
        {name: model.network for name, model in models.items()},
        test,
        protocol,
        models[first].classes,
        control or ("control" if "control" in models else first),
        teacher or ("teacher" if "teacher" in models else first),
        folder=out / "answers",
        fingerprints={name: model.fingerprint for name, model in models.items()},
        recipes={name: model.recipe for name, model in models.items() if model.recipe},
        seed=seed,
        cache=cache,
    )
    return measured, write_measurement(measured, out)


def read_changes(settings: Sequence[str]) -> dict[str, Any]:
    """Return parameters of the analysis written as "name=value", the value in YAML.

    Raises:
        NsfastError: no "=", or no such parameter.
    """
    import yaml

    declared = [name for name in declared_parameters("analysis") if name not in COMMON]
    found: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals:
            raise NsfastError(f"{text!r} has no value; write it as severities=[1,2]")
        found[choice("parameter", name.strip(), declared)] = yaml.safe_load(value)
    return found
