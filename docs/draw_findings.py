"""Writes docs/findings.md from benchmarks/findings/: python docs/draw_findings.py [STUDIES].

With STUDIES, a folder that `nsfast study` wrote, its tables and figures are copied to benchmarks/findings/ first. Every
sentence with a number is made from the tables, but those on what was seen and asked anew.
"""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nsfast.files import read_csv, read_json, write_csv, write_text
from nsfast.pipeline.report_studies import claim_row, made_how, signed, title
from nsfast.robustness.answers import Version, read_answers

HERE = Path(__file__).parent
FINDINGS = HERE.parent / "benchmarks" / "findings"
FILES = ("comparisons.csv", "points.csv", "study.json", "figure.png")
ORDER = ("rq1", "rq2", "rq3", "rq4", "rq5", "findings", "longer")
BY_CORRUPTION = "by_corruption.csv"
QUICK = 5
"""Seeds of the quick form."""
ASKED_ANEW = (
    "",
    "A first rq2 on digits, ten seeds on another processor, took the noise off the labeled pictures, too: without "
    "augmentation -3.2, without any noise -3.6, with a noised teacher -1.4 (the same arms as now), each reproduced; "
    "sizes undecided. It was seen, then asked as the paper has it.",
    "Processors round otherwise, and training takes another course after it: where studies were made on different "
    "ones, equal arms differ a little.",
    "A first rq1 on letters was seen and thrown away: its controls were spread from 22 to 69 % over the seeds. The "
    "letters then got a lighter ground and the profile a higher rate, and all of it was run anew.",
)
GREYS = ("brightness", "contrast", "fog", "frost", "snow")
"""The corruptions that move the grey levels of a whole picture."""


def main(studies: Path | None) -> None:
    """Copy the studies, and write the page."""
    if studies:
        for about in sorted(studies.glob("*/study.json")):
            target = FINDINGS / about.parent.name
            target.mkdir(parents=True, exist_ok=True)
            for name in FILES:
                shutil.copyfile(about.parent / name, target / name)
            if rows := residual_rows(about.parent):
                write_csv(target / BY_CORRUPTION, rows)
    write_text(HERE / "findings.md", page(folders()))


def folders() -> list[Path]:
    """Return the folders of the committed studies, in the order of the page."""
    found = [path.parent for path in FINDINGS.glob("*/study.json")]
    return sorted(found, key=lambda folder: (ORDER.index(folder.name.split("-")[0]), folder.name))


def page(folders: list[Path]) -> str:
    """Return docs/findings.md."""
    studies = [
        (folder, read_json(folder / "study.json"), read_csv(folder / "comparisons.csv")) for folder in folders
    ]
    claims = [
        (about["data"], row["verdict"])
        for _, about, rows in studies
        for row in rows
        if row["verdict"] != "not measured" and row["claim"] == "paper"
    ]
    sets = list(dict.fromkeys(name for name, _ in claims))
    lines = [
        "# The paper's questions, asked again",
        "",
        "Written by [draw_findings.py](draw_findings.py) from the tables in `benchmarks/findings/`, which "
        "`nsfast study` makes.",
        "",
        "The paper's claims were tried on small pictures, on CPUs, with several seeds: "
        + "; ".join(outcome(claims, name) for name in sets)
        + ". What is undecided is no refutation: the table says how large an effect would have been seen. The paper's "
        "own effects are of ImageNet and stand there for orientation.",
        "",
        studies[0][1]["rule"] if studies else "",
        *extended(about for _, about, _ in studies),
        *ASKED_ANEW,
    ]
    for folder, about, found in studies:
        lines += [
            "",
            f"## {title(about)}",
            "",
            f"![{about['question']}]({picture(folder)})",
            "",
        ]
        lines += ["| claim | difference | the paper's | verdict |", "|---|---|---|---|"]
        for row in found:
            shown = claim_row(row)
            lines.append(
                f"| {row['comparison']} | {shown['difference']} | {shown['paper']} | {shown['verdict']} |"
            )
        lines += ["", f"{made_how(about, found)}."]
        if any(row["unit"] != "points" for row in found):
            other = ", ".join(row["comparison"] for row in found if row["unit"] != "points")
            lines.append(f"Differences are in points (of 100), in log-odds: {other}.")
        sources = {row["comparison"]: row for row in found if row["source"] or row["differs"]}
        if sources:
            lines += ["", "What the paper has beside it:", ""]
            lines += [
                f"- {name}: {'. '.join(part.rstrip('.') for part in (row['source'], row['differs']) if part)}."
                for name, row in sources.items()
            ]
        lines += [line for said in cautions(found) for line in ("", said)]
        against = [row["comparison"] for row in found if row["verdict"] in ("contradicted", "worse")]
        lines += [line for name in against for line in ("", f"**{name}**: {why(name, folder, found)}")]
        lines += ["", "Arms: " + "; ".join(arm_words(name, arm) for name, arm in about["arms"].items()) + "."]
    return "\n".join(lines) + "\n"


def outcome(claims: list[tuple[str, str]], data: str) -> str:
    """Return how many claims on an image set came out how."""
    verdicts = [verdict for name, verdict in claims if name == data]
    counts = (f"{verdicts.count(word)} {word}" for word in ("reproduced", "undecided", "contradicted"))
    return f"on {data}, of {len(verdicts)} comparisons {', '.join(counts)}"


def extended(abouts: Iterable[dict]) -> list[str]:
    """Return what has to be said of studies with more seeds than the quick form has: it was run, and seen, first."""
    more = [
        f"{about['study']}, {about['data']} ({len(about['seeds'])})"
        for about in abouts
        if len(about["seeds"]) > QUICK
    ]
    said = f"Looked at with {QUICK} seeds before more were run, which the p-values do not know: {'; '.join(more)}."
    return ["", said] if more else []


def residual_rows(study: Path) -> list[dict]:
    """Return for each corruption how far the student lies above the control's line, as mean over seeds; of rq3 only."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    clean = Version("clean", "corrupted")
    for folder in sorted(study.glob("seed-*/base/answers/robustness-round-3")):
        answers = {(version, model): a.right for version, model, _, a in read_answers(folder)}
        n, wrong = len(answers[clean, "control"]), {key: 1 - right.mean() for key, right in answers.items()}
        shift = log_odds(wrong[clean, "round-3"], n) - log_odds(wrong[clean, "control"], n)
        for name in dict.fromkeys(version.name for version, _ in wrong if version.set == "corrupted"):
            control, own = (
                np.mean(
                    [e for (v, m), e in wrong.items() if (v.set, v.name, m) == ("corrupted", name, model)]
                )
                for model in ("control", "round-3")
            )
            residual = log_odds(own, n) - log_odds(control, n) - shift
            found.setdefault(name, []).append((control, own, residual))
        found.setdefault("clean", []).append((wrong[clean, "control"], wrong[clean, "round-3"], 0.0))
    columns = ("control_error", "student_error", "residual")
    return [
        {"corruption": name, "seeds": len(values)}
        | dict(zip(columns, np.mean(values, axis=0).tolist(), strict=True))
        for name, values in found.items()
    ]


def log_odds(error: float, n: int) -> float:
    """Return the log-odds of being right, half a picture added on either side."""
    return float(np.log((n * (1 - error) + 0.5) / (n * error + 0.5)))


def why(claim: str, folder: Path, rows: list[dict]) -> str:
    """Return why a claim does not hold on small data, as far as it was found, with the numbers that say so."""
    found = {row["comparison"]: row for row in rows}
    if claim.endswith("more than clean accuracy explains") and (folder / BY_CORRUPTION).is_file():
        errors = {row["corruption"]: row for row in read_csv(folder / BY_CORRUPTION)}
        clean = errors.pop("clean")
        grey = [row for name, row in errors.items() if name in GREYS]
        rest = [row["residual"] for name, row in errors.items() if name not in GREYS]
        gains = [100 * (row["control_error"] - row["student_error"]) for row in grey]
        part = sum(row["residual"] for row in grey) / sum(row["residual"] for row in errors.values())
        return (
            f"{part:.0%} of it comes from the {len(grey)} corruptions that move the grey levels of the whole picture "
            f"({', '.join(row['corruption'] for row in grey)}; so grouped after the result was seen). Their mean "
            f"residual is {np.mean([row['residual'] for row in grey]):+.2f}: there the student is {min(gains):+.1f} to "
            f"{max(gains):+.1f} points better than the control, on clean pictures "
            f"{100 * (clean['control_error'] - clean['student_error']):+.1f}. On the other {len(rest)} it is "
            f"{np.mean(rest):+.2f}."
            + (
                " The digits stand on pure black, which those corruptions take away."
                if "digits" in folder.name
                else ""
            )
        )
    if claim.startswith("precision of round 4") and "labels of round 4 > of round 2" in found:
        labels = found["labels of round 4 > of round 2"]
        return (
            f"it is {found[claim]['mean_first']:.1f} against {found[claim]['mean_second']:.1f} %. The threshold stays "
            "where it is while students become surer, also of pictures of no class, whose labels are all wrong. Of "
            f"the pictures of a class {labels['mean_first']:.1f} % are labeled right in round 4, in round 2 "
            f"{labels['mean_second']:.1f} %."
        )
    longer = folder.parent / folder.name.replace("rq1", "longer") / "comparisons.csv"
    if claim == "student 1 > plain pseudo-labels" and longer.is_file():
        short, long = (
            row for row in read_csv(longer) if row["comparison"] in (claim, f"{claim}, three times as long")
        )
        return (
            f"with noise the student is right on {short['mean_first']:.1f} % of the test pictures, without on "
            f"{short['mean_second']:.1f} %. Trained three times as long, on {long['mean_first']:.1f} and "
            f"{long['mean_second']:.1f} %: a difference of {interval(long)} in place of {interval(short)}. "
            + (
                "The disadvantage goes with the few steps of this study."
                if long["difference"] > max(0, short["high"])
                else "More steps alone do not explain it."
            )
        )
    return "not yet looked into."


def cautions(rows: list[dict]) -> list[str]:
    """Return what has to be minded of a gain over the control that a control trained for longer has, too."""
    found = {row["comparison"]: row for row in rows}
    equal, longer = (found.get(f"student 3 > control{words}") for words in ("", " trained twice as long"))
    if not (equal and longer) or equal["verdict"] != "reproduced" or longer["verdict"] == "better":
        return []
    return [
        f"**Mind the length of training**: with as many labeled pictures seen as by a student the control is right on "
        f"{equal['mean_second']:.1f} % of the test pictures, with twice as many on {longer['mean_second']:.1f} %. The "
        f"student, on {longer['mean_first']:.1f} %, is {interval(longer)} points above that: what it gains over the "
        "control longer training gains, too."
    ]


def interval(row: dict) -> str:
    """Return a difference with its interval."""
    return f"{signed(row['difference'])} [{row['low']:+.1f}, {row['high']:+.1f}]"


def picture(folder: Path) -> str:
    """Return the address of a study's figure, from the page."""
    return f"../benchmarks/findings/{folder.name}/figure.png"


def arm_words(name: str, arm: dict) -> str:
    """Return what an arm is, with its settings."""
    settings = " ".join(f"`{setting}`" for setting in arm["settings"])
    return f"*{name}* ({arm['says']}{'; ' if arm['says'] and settings else ''}{settings})"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
