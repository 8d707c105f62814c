"""The stages of a run in order: what each is made from, what it leaves, and whether what it left still stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nsfast
from nsfast.errors import NsfastError
from nsfast.files import checksum, fingerprint, read_json, write_json
from nsfast.pipeline.notebooks import HOW, NOTEBOOKS, code_fingerprint
from nsfast.pipeline.profile import Profile
from nsfast.streams import stream_seed

if TYPE_CHECKING:
    from nsfast.labels.decisions import Lines

MODEL = ("model.safetensors", "model.json", "history.csv", "metrics.json")
OUTPUTS = {
    "teacher": MODEL,
    "labeling": (
        *("labels/manifest.json", "labels/leaked.csv", "labels/duplicates.csv"),
        *("validation/manifest.json", "labeling.json"),
    ),
    "balancing": (
        "selection.parquet",
        "selection.labels.npy",
        "balance.csv",
        "balancing.json",
        "decisions.csv",
        "quality.json",
    ),
    "student": MODEL,
    "iterate": ("rounds.csv",),
    "analysis": ("tables/*.csv", "figures/*.png", "report.html"),
}


@dataclass(frozen=True)
class Stage:
    """One execution of a notebook.

    Args:
        kind: "teacher", "labeling", "balancing", "student", "iterate" or "analysis"; the control is a teacher.
        folder: relative to the run folder.
        parameters: of the notebook, without those that only say where.
        round: 1 for the first, 0 for stages outside the rounds.
        needs: names of the stages it is made from.
        consumes: files (patterns relative to the run folder) whose contents it reads.
    """

    kind: str
    folder: str
    parameters: dict[str, Any]
    round: int = 0
    needs: tuple[str, ...] = ()
    consumes: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """ "teacher", "control", "round-2/student", ... as `nsfast status` lists it."""
        return f"{self.folder}/{self.kind}" if self.round else self.folder

    @property
    def notebook(self) -> str:
        """File name of the executed notebook."""
        return f"{NOTEBOOKS[self.kind]}.ipynb"

    def answers_to(self, name: str) -> bool:
        """Whether a name given by the user means this stage: its own name, its kind or its folder."""
        return name in (self.name, self.folder) or (name == self.kind and self.folder != "control")


def stages_of(profile: Profile) -> list[Stage]:
    """Return every stage of a run, each after those it needs."""
    groups = profile.groups

    def seeded(parameters: dict[str, Any], folder: str) -> dict[str, Any]:
        return {**parameters, "seed": stream_seed(profile.seed, folder) % 2**31}

    about, labeled, unlabeled = "images/images.json", "images/labeled.*", "images/unlabeled.*"
    training = (
        about,
        labeled,
        unlabeled,
        "images/validation.*",
    )  # the unlabeled ones for mean and deviation
    known = ("images/truth.npy", "images/labeled.labels.npy", "images/validation.labels.npy")
    held_out = ("images/validation.*", "images/test.npy", "images/test.files.parquet")
    stages = [
        Stage("teacher", "teacher", seeded(groups["teacher"], "teacher"), consumes=training),
        Stage("teacher", "control", seeded(profile.control(), "control"), consumes=training),
    ]
    teacher = stages[0]
    for number in range(1, profile.rounds + 1):
        folder, model = f"round-{number}", f"{teacher.folder}/model.safetensors"
        table = tuple(f"{folder}/{name}" for name in OUTPUTS["labeling"][:-1])
        table += known if number == 1 else (*known, f"round-{number - 1}/labels/manifest.json")
        selection = (f"{folder}/selection.parquet", f"{folder}/selection.labels.npy")
        names = [f"{folder}/{kind}" for kind in ("labeling", "balancing", "student")]
        stages += [
            Stage(
                "labeling",
                folder,
                dict(groups["labeling"]),
                number,
                (teacher.name,),
                (about, unlabeled, model, *held_out),
            ),
            Stage("balancing", folder, seeded(groups["balancing"], folder), number, (names[0],), table),
            Stage(
                *("student", folder, seeded(profile.student(number), folder), number),
                *((names[0], names[1]), (*training, *selection)),
            ),
        ]
        teacher = stages[-1]
    students = tuple(s.name for s in stages if s.kind == "student")
    rounds = {"rounds": profile.rounds, **{k: v for k, v in groups["iterate"].items() if k != "rounds"}}
    everything = ("*/model.safetensors", "*/balance.csv", "*/labels/manifest.json", "*/selection.parquet")
    everything += ("*/quality.json", "*/balancing.json")
    scores = tuple(f"{model}/{file}" for model in ("teacher", "control", "round-*") for file in MODEL[2:])
    measured = ("images/truth.npy", *everything, *scores)
    stages.append(Stage("iterate", "iterate", rounds, needs=(*students, "control"), consumes=measured))
    analysis = {**groups["analysis"], "seed": stream_seed(profile.seed, "analysis") % 2**31}
    measured = ("images/*.npy", "images/*.parquet", "iterate/rounds.csv", "*/decisions.csv", *everything)
    stages.append(Stage("analysis", "analysis", analysis, needs=("iterate",), consumes=measured))
    return stages


def matching(stages: list[Stage], name: str) -> list[Stage]:
    """Return the stages that a user's name means; raise `NsfastError` with the nearest valid name if none."""
    from nsfast.errors import nearest

    found = [stage for stage in stages if stage.answers_to(name)]
    if not found:
        valid = {stage.name for stage in stages} | {stage.kind for stage in stages}
        raise NsfastError(f"unknown stage {name!r}{nearest(name, valid)}")
    return found


class Records:
    """What the stages of a run folder left: `stage.json` of each folder, one entry a stage.

    An entry has `fingerprint` (parameters, code of the notebook, nsfast's version, contents of what was consumed),
    `outputs` (checksum of each file, by path within the run), `parameters`, `finished` and `seconds`.
    """

    def __init__(self, run: str | Path):
        self.run = Path(run)
        self._checksums: dict[tuple, str] = {}
        self._decisions: dict[tuple, Lines] = {}

    def _path(self, stage: Stage) -> Path:
        return self.run / stage.folder / "stage.json"

    def entries(self, stage: Stage) -> dict[str, dict]:
        """Return all entries of the stage's folder; raise `NsfastError` naming the file when it is damaged."""
        path = self._path(stage)
        if not path.is_file():
            return {}
        content = read_json(path)
        if not isinstance(content, dict) or not all(map(_whole, content.values())):
            raise NsfastError(
                f"{path} is damaged (not a record of stages); restore it, or delete it to run its stages anew"
            )
        return content

    def entry(self, stage: Stage) -> dict | None:
        """Return what the stage left, if it finished."""
        return self.entries(stage).get(stage.kind)

    def checksum(self, path: Path) -> str:
        """Return a file's checksum, computed once for each size and time stamp in this process."""
        state = path.stat()
        key = (str(path), state.st_size, state.st_mtime_ns)
        if key not in self._checksums:
            self._checksums[key] = checksum(path)
        return self._checksums[key]

    def contents(self, patterns: tuple[str, ...]) -> dict[str, str]:
        """Return the checksum of every file that matches, by path within the run."""
        paths = sorted({path for pattern in patterns for path in self.run.glob(pattern) if path.is_file()})
        return {path.relative_to(self.run).as_posix(): self.checksum(path) for path in paths}

    def fingerprint(self, stage: Stage, run_stages: list[Stage] | None = None) -> str:
        """Return the fingerprint of what goes into the stage now."""
        consumed = self.contents(stage.consumes)
        if run_stages is not None:
            folders = {s.folder for s in run_stages} | {"images"}
            consumed = {path: sum_ for path, sum_ in consumed.items() if path.split("/")[0] in folders}
        what = {name: value for name, value in stage.parameters.items() if name not in HOW}
        if (file := Path(what.get("start") or "")).is_file():
            what["start"] = self.checksum(file)
        if "decisions" in what:
            what["decisions"] = self._decided(what["decisions"], stage.round) or ""
        models = [Path(folder) / "model.json" for folder in what.get("also", ())]
        what |= (
            {"also": [self.checksum(path) if path.is_file() else str(path) for path in models]}
            if models
            else {}
        )
        parts = {"stage": stage.kind, "parameters": what, "code": code_fingerprint(stage.kind)}
        return fingerprint({**parts, "version": nsfast.__version__, "consumed": consumed})

    def _decided(self, given: str, round: int) -> dict[str, tuple]:
        """What the decisions of a round make of each picture, however and by whom that was said."""
        from nsfast.labels.decisions import read_lines
        from nsfast.pipeline.balancing import decisions_file

        path = decisions_file(self.run, given)
        if path is None:
            return {}
        state = path.stat()
        key = (str(path), state.st_size, state.st_mtime_ns)
        if key not in self._decisions:
            self._decisions[key] = read_lines(path)
        verdicts = self._decisions[key].decisions(round).verdicts
        return {name: (verdict.action, verdict.meaning[1]) for name, verdict in verdicts.items()}

    def stands(self, stage: Stage, run_stages: list[Stage]) -> bool:
        """Whether the stage finished, from what goes into it now, and everything it left is still there."""
        entry = self.entry(stage)
        if entry is None or entry["fingerprint"] != self.fingerprint(stage, run_stages):
            return False
        return all((self.run / path).is_file() and not self._short(path) for path in entry["outputs"])

    def verify(self, stage: Stage) -> None:
        """Raise `NsfastError` when a file that the stage left is not what it left."""
        for path, expected in ((self.entry(stage) or {}).get("outputs") or {}).items():
            if (self.run / path).is_file() and self.checksum(self.run / path) != expected:
                raise NsfastError(
                    f"{self.run / path} is damaged (its checksum is not the one in stage.json); restore it, "
                    f"or delete it to have {stage.name} run again"
                )
            if (short := self._short(path)) and short.is_file():
                raise NsfastError(
                    f"{short} is damaged (not as long as its manifest says); restore it, or delete it to have "
                    f"{stage.name} run again"
                )

    def _short(self, path: str) -> Path | None:
        """The first file of a manifest that is missing or of another length; their bytes are checked when read."""
        manifest = self.run / path
        if manifest.name != "manifest.json" or not manifest.is_file():
            return None
        for shard in read_json(manifest).get("shards", ()):
            part = manifest.with_name(shard["file"])
            if not part.is_file() or part.stat().st_size != shard["bytes"]:
                return part
        return None

    def forget(self, stage: Stage) -> None:
        """Take the stage's entry out, because what it left is about to be made anew."""
        entries = self.entries(stage)
        if entries.pop(stage.kind, None) is not None:
            write_json(self._path(stage), entries)

    def finish(self, stage: Stage, fingerprint_: str, seconds: float) -> None:
        """Write the stage's entry: it has finished, and these are its files."""
        import datetime

        patterns = tuple(f"{stage.folder}/{pattern}" for pattern in OUTPUTS[stage.kind])
        entry = {
            "fingerprint": fingerprint_,
            "parameters": stage.parameters,
            "version": nsfast.__version__,
            "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "outputs": self.contents(patterns),
        }
        write_json(self._path(stage), {**self.entries(stage), stage.kind: entry})


def _whole(entry: Any) -> bool:
    """Whether an entry of `stage.json` has what is read of it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("fingerprint"), str):
        return False
    outputs = entry.get("outputs")
    return isinstance(outputs, dict) and isinstance(entry.get("parameters"), dict)
