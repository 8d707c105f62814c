"""What must hold before the first stage of a run starts; what does not is said now, not hours later."""

from __future__ import annotations

from pathlib import Path

from nsfast.errors import NsfastError
from nsfast.pipeline.profile import Profile
from nsfast.pipeline.stages import Records, Stage


def check_analysis(profile: Profile) -> None:
    """Raise `NsfastError` where the analysis would miss a released set or a package, hours before it begins."""
    parameters = profile.groups["analysis"]
    if "autoattack" in parameters["attacks"]:
        from nsfast.robustness.attacks.autoattack import require_autoattack

        require_autoattack()
    if parameters["sets"]:
        from nsfast.robustness.protocol import read_sets
        from nsfast.robustness.sets.about import require_folder

        for name, path in read_sets(parameters["sets"]):
            require_folder(name, path)


def check_sizes(profile: Profile, stages: list[Stage], records: Records, images) -> None:
    """Build every network's shape, and refuse a student smaller than its teacher unless that is asked for."""
    if stages and all(records.stands(stage, stages) for stage in stages):
        return
    from nsfast.models import check_resolution, parameter_count
    from nsfast.pipeline.launch import check_processes
    from nsfast.pipeline.round_labels import check_labels
    from nsfast.training import Recipe

    check_labels(profile, images, records.run)
    shape, tried = (len(images.classes), images.channels), set()
    as_files = hasattr(images.labeled.pixels, "crops")

    def count(parameters: dict) -> int:
        recipe = Recipe.from_parameters(parameters)
        check_processes(recipe, parameters["num_processes"], parameters["engine"])
        if recipe.crop == "inception" and not as_files:
            raise NsfastError("crop 'inception' needs pictures kept as files; set crop to 'pad' or 'none'")
        side, more = parameters["resolution"] or images.size, parameters["finetune_resolution"]
        start = parameters["start"]
        if start not in ("scratch", "teacher", "timm") and not Path(start).is_file():
            raise NsfastError(f"no weights at start={start!r}; give a .safetensors file, 'timm' or 'scratch'")
        for pixels in {side, more or side} if parameters["finetune_epochs"] else {side}:
            network = (parameters["architecture"], *shape, parameters["size"], pixels)
            if network not in tried:
                check_resolution(*network)
                tried.add(network)
        return parameter_count(parameters["architecture"], *shape, parameters["size"], side)

    count(profile.control())
    teacher, who = count(profile.groups["teacher"]), "the teacher"
    for number in range(1, profile.rounds + 1):
        student = profile.student(number)
        parameters = count(student)
        if parameters < teacher:
            what = f"the student of round {number} has {parameters:,} parameters, {who} {teacher:,}"
            if not student["allow_smaller"]:
                raise NsfastError(f"{what}; make it equal or larger, or set student.allow_smaller=true")
            print(f"warning: {what}; Noisy Student wants it equal or larger")
        teacher, who = parameters, f"its teacher (round {number})"
