"""The costs of a run in words: a table, and what to change so that it fits."""

from __future__ import annotations

from dataclasses import replace

from nsfast.errors import NsfastError
from nsfast.pipeline.cost.cards import FIGURES, CardSpeed, several_known
from nsfast.pipeline.cost.costs import Cost, Costs
from nsfast.pipeline.cost.footprint import training_memory
from nsfast.pipeline.cost.work import DECODED_BY_A_CORE, TrainingWork, number_is_known, selected_pictures

ROOM = 0.9  # share of a device's memory that is planned for; the libraries' own takes some


def cost_rows(found: Costs) -> list[dict[str, str]]:
    """Return the costs as a table's rows, the last of them the totals; all is text, with equal columns."""
    rows = [_row(row, found) for row in found.rows]
    whole = Cost(
        stage="in all",
        steps=sum(row.steps for row in found.rows),
        pictures=sum(row.pictures for row in found.rows),
        seconds=found.seconds,
        memory=max(row.memory for row in found.rows),
        kept=sum(row.kept for row in found.rows),
        passing=max(row.passing for row in found.rows),
    )
    return [*rows, _row(whole, found)]


def _row(row: Cost, found: Costs) -> dict[str, str]:
    network, hours = row.network, row.seconds * found.count / 3600
    text = {
        "stage": row.stage,
        "network": network.name if network else "",
        "parameters": scaled(network.parameters) if network else "",
        "pixels": str(network.pixels) if network else "",
        "multiply-adds": scaled(network.multiply_adds) if network else "",
        "steps": f"{row.steps:,}" if row.steps else "",
        "pictures": f"{row.pictures:,}" if row.pictures else "",
        "time": duration(row.seconds),
        "device-hours": f"{hours:.2g}" if hours < 100 else f"{hours:,.0f}",
        "memory": f"{scaled(row.memory)}B" if row.memory else "",
        "disk": f"{scaled(row.kept)}B" if row.kept else "",
        "checkpoints": f"{scaled(row.passing)}B" if row.passing else "",
    }
    if found.price is not None:
        text["price"] = f"{hours * found.price:,.2f}"
    return text


def scaled(number: float) -> str:
    """Return a number with three digits and k, M, G, T or P, the powers of a thousand."""
    for letter in (" ", " k", " M", " G", " T"):
        if number < 999.5:
            return f"{number:.3g}{letter}"
        number /= 1000
    return f"{number:,.3g} P"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, least, one in (
        ("years", 365 * 86400, 365 * 86400),
        ("days", 2 * 86400, 86400),
        ("h", 5400, 3600),
        ("min", 90, 60),
    ):
        if seconds >= least:
            return f"{seconds / one:,.3g} {unit}"
    return f"{seconds:.3g} s"


def advice(found: Costs) -> list[str]:
    """Return what the figures are of, what they leave out, and what to change so that the run fits; a sentence each."""
    works = {row.stage: row.work for row in found.rows if row.work is not None}
    return [
        f"pictures: {found.counts.source}; {_drawn(found)}",
        *(f"time: {source}" for source in found.speed.sources),
        *_limits_of_figures(found, works),
        *_fitting(found, works),
        *_feeding(found, works),
    ]


def _drawn(found: Costs) -> str:
    pseudo = selected_pictures(found.profile, found.counts)
    known = number_is_known(found.profile)
    where = "balancing.per_class" if known else "as many as are unlabeled, for labeling decides"
    return f"a student draws from {pseudo:,} pseudo-labeled ones ({where})"


def _limits_of_figures(found: Costs, works: dict[str, TrainingWork]) -> list[str]:
    """What is not in the figures."""
    said = []
    if isinstance(found.speed, CardSpeed):
        least = min(figure.multiply_adds for figure in FIGURES)
        networks = {w.network.name: w.network for w in works.values()}
        small = [name for name, network in networks.items() if network.multiply_adds < least / 4]
        if small:
            said.append(
                f"time: {', '.join(small)} has far fewer multiply-adds for a picture than any network with a public "
                "figure, and small ones leave a card idle: a lower bound; on such a machine, run this without --gpu"
            )
        if found.count > 1 and not several_known(found.speed.card):
            said.append(
                f"time: no figure of several {found.speed.card} together is public, so {found.count} count as "
                f"{found.count} times one: a lower bound"
            )
        if found.count > 8:
            said.append(
                f"time: {found.count} are counted each as fast as one of eight, the most with a public figure"
            )
    elif found.count > 1:
        said.append(
            f"time: one device was tried, and {found.count} count as {found.count} times it: a lower bound"
        )
    if found.count > 1:
        number = found.profile.groups["labeling"]["num_processes"]
        said.append(
            f"time: labeling uses {number} of the {found.count} devices (labeling.num_processes), analysis one of them"
        )
    return said


def _fitting(found: Costs, works: dict[str, TrainingWork]) -> list[str]:
    """What does not divide, and what does not fit into a device's memory, with the way out; each change once."""
    said: dict[str, list[str]] = {}
    for stage, work in works.items():
        try:
            work.recipe.per_part(work.processes)
        except NsfastError as error:
            said.setdefault(str(error), []).append(stage)
            continue
        if text := _memory(work, found):
            said.setdefault(text, []).append(stage)
    lines = [f"{', '.join(stages)}: {text}" for text, stages in said.items()]
    limit = found.speed.memory
    for row in found.rows:
        if row.work is None and limit and row.memory > ROOM * limit:
            lines.append(
                f"{row.stage}: needs about {scaled(row.memory)}B, a device has {scaled(limit)}B; "
                "lower labeling.batch_size"
            )
    return lines


def _memory(work: TrainingWork, found: Costs) -> str:
    """What to change so that a fit needs less memory than a device has; nothing where it does already."""
    limit = found.speed.memory and ROOM * found.speed.memory
    parts = training_memory(work, found.counts)
    if not limit or sum(parts.values()) <= limit:
        return ""
    needs = (
        f"{work.pictures_at_once} pictures at once in {work.recipe.precision} need about "
        f"{scaled(sum(parts.values()))}B of a device's {scaled(found.speed.memory)}B"
    )
    if parts["pictures"] > limit / 2:
        pictures = f"{scaled(parts['pictures'])}B of them for the pictures"
        return f"{needs}, {pictures}; keep these as files (data.decode=as_needed) or take fewer"
    ways = []
    for precision in dict.fromkeys((work.recipe.precision, "bfloat16")):
        if accumulate := accumulate_that_fits(work, found, precision):
            change = "" if precision == work.recipe.precision else "precision=bfloat16"
            pictures = work.recipe.batch // (accumulate * work.processes) * work.kinds
            more = f"accumulate={accumulate} (batch normalisation then sees {pictures} pictures)"
            more = more if accumulate != work.recipe.accumulate else ""
            ways.append(" with ".join(filter(None, (change, more))))
    if ways:
        return f"{needs}; set {', or '.join(ways)}"
    return (
        f"{needs}, and too much with the smallest part too; train at a smaller resolution (and fine-tune at this one, "
        "as the paper does: finetune_resolution), choose a smaller network, a lower ratio or a device with more memory"
    )


def accumulate_that_fits(work: TrainingWork, found: Costs, precision: str) -> int | None:
    """Return the least `accumulate`, from the recipe's on, with which a part of the batch fits into a device.

    Args:
        work: a fit.
        found: says how much memory a device has.
        precision: in which it would be trained.
    """
    recipe, limit = work.recipe, ROOM * found.speed.memory
    for parts in range(recipe.accumulate, recipe.batch + 1):
        if (
            recipe.batch % (parts * work.processes)
            or recipe.batch // (parts * work.processes) * work.kinds < 2
        ):
            continue
        changed = replace(recipe, accumulate=parts, precision=precision)
        tried = replace(work, phase=replace(work.phase, recipe=changed))
        if sum(training_memory(tried, found.counts).values()) <= limit:
            return parts
    return None


def _feeding(found: Costs, works: dict[str, TrainingWork]) -> list[str]:
    """How many cores decode what the devices eat, where pictures stay in their files."""
    if not found.counts.as_files:
        return []
    threads = found.profile.groups["labeling"]["workers"]
    said = (
        f"labeling decodes JPEG with {threads} threads (labeling.workers), about {threads * DECODED_BY_A_CORE} "
        "pictures per second where there are as many cores; the slower of decoding and network is counted"
    )
    if not works:
        return [said]
    stage, fastest = max(
        ((stage, work.pictures_in_a_step / found.speed.step(work)) for stage, work in works.items()),
        key=lambda pair: pair[1],
    )
    cores = max(1, round(fastest / DECODED_BY_A_CORE))
    return [
        said,
        f"{stage} sees {fastest:,.0f} pictures per second, which {cores} core(s) decode and crop from JPEG (at "
        f"{DECODED_BY_A_CORE} of 500 x 375 pixels for a core, measured on an AMD EPYC); with fewer cores or workers it "
        "waits for them, which is not in the times",
    ]
