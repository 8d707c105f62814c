"""ImageNet's development kit, which says the classes of validation pictures that lie in one flat folder."""

from __future__ import annotations

import re
from pathlib import Path

from nsfast.images.listing import File, Listing, list_split
from nsfast.images.problem import ImageProblem

DEVKIT = tuple(
    f"ILSVRC2012_devkit_t12/data/{name}" for name in ("meta.mat", "ILSVRC2012_validation_ground_truth.txt")
)
LAYOUT = "train/<wnid>/*.JPEG or train/*.tar, and val/ likewise or val/*.JPEG with ILSVRC2012_devkit_t12/"


def flat_val(root: Path, truth: dict[int, str]) -> Listing:
    """List a val/ without class folders; the number in a file's name is its line in the devkit's ground truth."""
    listing = list_split(root, "val", in_classes=False)
    pictures: list[File] = []
    for file in listing.pictures:
        number = re.search(r"_(\d+)\.[A-Za-z]+$", file.id)
        if number and int(number[1]) in truth:
            pictures.append(file._replace(label=truth[int(number[1])]))
        else:
            listing.others.append(file._replace(problem="the devkit's ground truth has no line for it"))
    return listing._replace(pictures=pictures, classes=sorted({file.label for file in pictures}))


def read_devkit(root: Path) -> dict[int, str]:
    """Return the wnid of each official validation picture by its number, 1 for the first."""
    for name in DEVKIT:
        if not (root / name).is_file():
            raise ImageProblem(f"no {root / name}, which says the classes of val/*.JPEG; expected {LAYOUT}")
    from scipy.io import loadmat

    try:
        synsets = loadmat(root / DEVKIT[0], squeeze_me=True, struct_as_record=False)["synsets"]
        wnids = {int(s.ILSVRC2012_ID): str(s.WNID) for s in synsets if not int(s.num_children)}
        lines = (root / DEVKIT[1]).read_text(encoding="utf-8").split()
        return {number: wnids[int(line)] for number, line in enumerate(lines, 1)}
    except Exception as error:  # the reader of a damaged file raises nearly everything
        said = " ".join(str(error).split()) or type(error).__name__
        raise ImageProblem(f"the devkit in {root / DEVKIT[0]} is damaged ({said}); unpack it anew") from None
