"""Profiles: the parameters of a whole run, from notebooks, YAML file and `--set`, checked before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from nsfast.errors import NsfastError, choice, nearest, within
from nsfast.pipeline.notebooks import COMMON, NOTEBOOKS, Parameter, declared_parameters, notebooks_folder

GROUPS = ("data", "control", *NOTEBOOKS)
TOP = {"seed": 0, "threads": 1, "jobs": 1}  # what belongs to the run and to no stage
ENGINES = ("local", "ray")
PER_ROUND = (
    "architecture",
    "size",
    "ratio",
    "epochs",
)  # lists of 05_iterate: one value a round, the last one repeats


@dataclass(frozen=True)
class Profile:
    """A resolved profile.

    Args:
        name: "digits", or the stem of the YAML file.
        seed: of the run; every stage derives its streams from it.
        threads: CPU threads of a stage.
        jobs: stages that may run at once.
        groups: every parameter of every group (data, control, teacher, ... analysis) by name.
    """

    name: str
    seed: int
    threads: int
    jobs: int
    groups: dict[str, dict[str, Any]]

    @property
    def rounds(self) -> int:
        """How many rounds of labeling, balancing and student there are."""
        return self.groups["iterate"]["rounds"]

    def student(self, number: int) -> dict[str, Any]:
        """Return the student's parameters in round `number`, 1 for the first."""
        changes = {}
        for name in PER_ROUND:
            values = self.groups["iterate"][name]
            if values:
                changes[name] = values[min(number, len(values)) - 1]
        return {**self.groups["student"], **changes}

    def control(self) -> dict[str, Any]:
        """Return the control's parameters: the last student's architecture and noise, without pseudo-labels.

        It never has fewer epochs, steps or pictures in a step: the control must not lose for want of training.
        """
        names = set(declared_parameters("teacher"))
        last = {name: value for name, value in self.student(self.rounds).items() if name in names - {"start"}}
        if self.student(self.rounds)["order"] == "pretrain":
            last["epochs"] *= 2  # it trains twice: on pseudo-labels, then on labels
        chosen = {**self.groups["teacher"], **last, **self.groups["control"]}
        return {
            **chosen,
            **{name: max(chosen[name], last[name]) for name in ("epochs", "steps_per_epoch", "batch")},
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the profile as the plain data that `profile.yaml` of a run holds."""
        return {
            "profile": self.name,
            "seed": self.seed,
            "threads": self.threads,
            "jobs": self.jobs,
            **self.groups,
        }


def data_parameters(name: str) -> dict[str, Parameter]:
    """Return the parameters of an image set: those of the function that makes it."""
    from nsfast.images.readers import READERS

    found = READERS[choice("data.name", name if isinstance(name, str) else str(name), READERS)]
    parameters = {"name": Parameter("name", "str", name, "which image set")}
    for argument in inspect.signature(found).parameters.values():
        if argument.name not in ("seed", "progress"):
            default = None if argument.default is inspect.Parameter.empty else argument.default
            kind = "str" if argument.name == "path" else str(argument.annotation)
            parameters[argument.name] = Parameter(
                argument.name, kind, default, argument_help(found, argument.name)
            )
    return parameters


def argument_help(function: Callable, name: str) -> str:
    """Return the first sentence that a docstring's Args section says of an argument."""
    lines = [line.strip() for line in (inspect.getdoc(function) or "").splitlines()]
    for number, line in enumerate(lines):
        names, _, text = line.partition(":")
        if text and name in [part.strip() for part in names.split(",")]:
            rest = [text.strip()]
            for following in lines[number + 1 :]:
                if not following or ":" in following.split(" ")[0]:
                    break
                rest.append(following)
            return " ".join(rest)
    return ""


def stage_parameters(group: str, data: str = "digits") -> dict[str, Parameter]:
    """Return what may be set in a group of a profile: name, type, default and help."""
    if group not in GROUPS:
        raise NsfastError(f"unknown stage {group!r}{nearest(group, GROUPS)}")
    if group == "data":
        return data_parameters(data)
    declared = declared_parameters("teacher" if group == "control" else group)
    return {name: value for name, value in declared.items() if name not in (*COMMON, "seed")}


@lru_cache
def _adapter(kind: str):
    from pydantic import TypeAdapter

    return TypeAdapter(eval(kind, {}, {}))


def typed(group: str, parameter: Parameter, value: Any) -> Any:
    """Return `value` as the parameter's type; raise `NsfastError` naming parameter, value and type if it is none."""
    from pydantic import ValidationError

    if parameter.type == "float" and isinstance(value, str):
        value = _number(value)
    if parameter.type.startswith("dict[str") and isinstance(value, dict):
        value = {
            key if isinstance(key, bool) else str(key): found for key, found in value.items()
        }  # a class may be 4
    try:
        return _adapter(parameter.type).validate_python(value, strict=True)
    except ValidationError:
        raise NsfastError(
            f"{group}.{parameter.name} is {value!r}; it must be of type {parameter.type}"
        ) from None


def _number(text: str) -> float | str:
    """YAML reads 1e-3 as text; take it as the number it is."""
    try:
        return float(text)
    except ValueError:
        return text


def profile_names() -> dict[str, Path]:
    """Return the profiles that come with nsfast, by name."""
    return {path.stem: path for path in sorted((notebooks_folder() / "profiles").glob("*.yaml"))}


def read_profile(name_or_path: str) -> tuple[str, dict[str, Any]]:
    """Return a profile's name and what its YAML file says."""
    import yaml

    known = profile_names()
    path = known.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        hint = "" if "/" in name_or_path or "." in name_or_path else nearest(name_or_path, known)
        raise NsfastError(
            f"no profile {name_or_path!r}{hint or '; give a name of `nsfast profiles` or a YAML file'}"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise NsfastError(f"{path} is no YAML ({' '.join(str(error).split())}); put it right") from None
    if not isinstance(content, dict):
        raise NsfastError(f"{path} holds a {type(content).__name__}; it must map stages to parameters")
    for group, given in content.items():
        if group in GROUPS and given is not None and not isinstance(given, dict):
            raise NsfastError(f"{group} of {path} is {given!r}; it must map parameters to values")
    return str(content.pop("profile", path.stem)), content


def resolve(name_or_path: str, settings: tuple[str, ...] = (), seed: int | None = None) -> Profile:
    """Return the profile with every parameter filled in and checked.

    Args:
        name_or_path: "digits" or another name of `nsfast profiles`, or a YAML file.
        settings: "stage.name=value" each; they win over the file.
        seed: wins over the file's.

    Raises:
        NsfastError: an unknown stage or parameter (with the nearest valid name), a wrong type, a value out of range.
    """
    name, content = read_profile(name_or_path)
    content = _merge(content, settings)
    top = {key: content.pop(key, default) for key, default in TOP.items()}
    for key, low in (("seed", 0), ("threads", 1), ("jobs", 1)):
        if not isinstance(top[key], int) or isinstance(top[key], bool):
            raise NsfastError(f"{key} is {top[key]!r}; it must be of type int")
        within(key, top[key], low)
    data = (content.get("data") or {}).get("name", "digits")
    groups: dict[str, dict[str, Any]] = {}
    for group in content:
        if group not in GROUPS:
            raise NsfastError(f"unknown stage {group!r} in profile {name!r}{nearest(str(group), GROUPS)}")
    for group in GROUPS:
        valid, given = stage_parameters(group, data), dict(content.get(group) or {})
        for key in given:
            if key not in valid:
                raise NsfastError(f"unknown parameter {key!r} of {group}{nearest(str(key), valid)}")
        chosen = {key: typed(group, valid[key], value) for key, value in given.items()}
        defaults = {} if group == "control" else {key: parameter.default for key, parameter in valid.items()}
        groups[group] = {**defaults, **chosen}
    if data == "folder" and not groups["data"]["path"]:
        raise NsfastError("data.path is not set; give the folder of your pictures: --set data.path=DIR")
    for key in ("path", "unlabeled"):
        if isinstance(given := groups["data"].get(key), str) and given:
            groups["data"][key] = str(Path(given).expanduser().resolve())
    for group in ("teacher", "control", "student"):
        if str(start := groups[group].get("start", "")).endswith(".safetensors"):
            groups[group]["start"] = str(Path(start).expanduser().resolve())
    groups["labeling"]["also"] = [str(Path(p).expanduser().resolve()) for p in groups["labeling"]["also"]]
    if Path(decisions := groups["balancing"]["decisions"]).name != decisions:  # else it is in the run folder
        groups["balancing"]["decisions"] = str(Path(decisions).expanduser().resolve())
    if seed is not None:
        top["seed"] = within("seed", seed, 0)
    profile = Profile(name, **top, groups=groups)
    _check(profile)
    return profile


def _merge(content: dict[str, Any], settings: tuple[str, ...]) -> dict[str, Any]:
    """Lay "stage.name=value" settings over what the file says."""
    import yaml

    for setting in settings:
        path, equals, text = setting.partition("=")
        group, _, key = path.strip().partition(".")
        if not equals or not group:
            raise NsfastError(f"cannot read --set {setting!r}; write --set stage.name=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise NsfastError(f"cannot read --set {setting!r}; its value is no YAML, quote it") from None
        if not key and group in TOP:
            content[group] = value
        elif not key:
            raise NsfastError(
                f"cannot read --set {setting!r}; write --set stage.name=value, for example balancing.threshold=0.5"
            )
        else:
            content[group] = {**(content.get(group) or {}), key: value}
    return content


def _check(profile: Profile) -> None:
    """Build what each stage will build from its parameters, so that a value out of range is an error now."""
    from nsfast.pipeline.balancing import balancing_of
    from nsfast.pipeline.labeling import PRECISIONS
    from nsfast.robustness.protocol import RobustnessProtocol
    from nsfast.training.recipe import Recipe

    def checked(group: str, check: Callable, *arguments, **keywords) -> None:
        try:
            check(*arguments, **keywords)
        except NsfastError as error:
            raise NsfastError(f"{group}: {error}") from None

    checked("iterate", within, "rounds", profile.rounds, 1)
    trainings = {"teacher": profile.groups["teacher"], "control": profile.control()}
    trainings |= {f"student of round {n}": profile.student(n) for n in range(1, profile.rounds + 1)}
    for who, parameters in trainings.items():
        checked(who, within, "num_processes", parameters["num_processes"], 1)
        checked(who, within, "workers", parameters["workers"], 0)
        checked(who, within, "checkpoint_minutes", parameters["checkpoint_minutes"], 0)
        checked(who, choice, "engine", parameters["engine"], ENGINES)
        checked(who, lambda p: Recipe.from_parameters(p).per_part(p["num_processes"]), parameters)
        if parameters["start"] == "teacher" and not who.startswith("student"):
            raise NsfastError(f"{who}: start is 'teacher', but only a student has one; set it to 'scratch'")
    last = profile.student(profile.rounds)
    unknown = last["epoch_by"] == "pseudo" and not last["steps_per_epoch"]
    if unknown and not profile.groups["control"].get("steps_per_epoch"):
        raise NsfastError(
            "student.epoch_by is 'pseudo', so how long the control must train to match it is not known before "
            "labeling; set control.steps_per_epoch"
        )
    checked("balancing", balancing_of, profile.groups["balancing"])
    labeling = profile.groups["labeling"]
    for name, low in {"batch_size": 0, "shard_size": 1, "workers": 1, "num_processes": 1, "top": -1}.items():
        checked("labeling", within, name, labeling[name], low)
    checked("labeling", within, "near", labeling["near"], -1, 8)
    checked("labeling", choice, "engine", labeling["engine"], ENGINES)
    checked("labeling", choice, "precision", labeling["precision"], PRECISIONS)
    checked("analysis", RobustnessProtocol.of, profile.groups["analysis"])
