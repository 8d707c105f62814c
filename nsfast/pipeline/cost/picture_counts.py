"""How many pictures a profile's run will have, before one of them is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nsfast.errors import NsfastError
from nsfast.pipeline.profile import Profile

PAPERS_POOL = (
    130_000_000  # pseudo-labeled pictures after balancing, 81 million of them unique (v2, section 3.1)
)

ASSUMED = f"{PAPERS_POOL:,} unlabeled pictures are assumed, the paper's balanced pool"

# of the official files: classes, training, test and further unlabeled pictures, height and width (0: data.size)
PUBLISHED = {
    "cifar10": (10, 50_000, 10_000, 0, 32),
    "cifar100": (100, 50_000, 10_000, 0, 32),
    "svhn": (10, 73_257, 26_032, 531_131, 32),
    "stl10": (10, 5_000, 8_000, 100_000, 0),
    "imagenet": (1000, 1_281_167, 50_000, 0, 0),
    "imagenette": (10, 9_469, 3_925, 0, 0),
    "imagewoof": (10, 9_025, 3_929, 0, 0),
}


@dataclass(frozen=True)
class PictureCounts:
    """Pictures of each split, and where the numbers are from.

    Args:
        classes: number of classes.
        channels: 1 or 3.
        size: height and width in pixels, as they are prepared.
        labeled, unlabeled, validation, test: pictures.
        as_files: whether they stay in their files and are decoded as needed; else they lie on the device.
        source: a sentence that says where the numbers are from, and what is assumed.
    """

    classes: int
    channels: int
    size: int
    labeled: int
    unlabeled: int
    validation: int
    test: int
    as_files: bool
    source: str

    @property
    def prepared_bytes(self) -> int:
        """Bytes of the pictures that a run keeps as arrays; none where they stay in their files."""
        pictures = self.labeled + self.unlabeled + self.validation + self.test
        return 0 if self.as_files else pictures * self.size**2 * self.channels


def picture_counts(profile: Profile, run: str | Path | None = None) -> PictureCounts:
    """Return how many pictures a run of the profile has.

    The pictures that were prepared in `run` for these very parameters are counted if there are any. Otherwise
    digits and letters are made, a folder is listed (no picture is opened, so one that cannot be read counts too), and
    of the official sets the published sizes are taken; of imagenet without a pool of unlabeled pictures, the paper's.

    Raises:
        NsfastError: a folder that lacks a part of its layout, or more pictures asked for than there are.
    """
    data = profile.groups["data"]
    if run is not None and (found := _prepared(Path(run), profile)):
        return found
    if data["name"] in ("digits", "letters"):
        from nsfast.images.readers import READERS

        made = {name: value for name, value in data.items() if name != "name"}
        images = READERS[data["name"]](**made, seed=profile.seed)
        return _of_images(images, f"the {data['name']}, made with these parameters")
    if data["name"] == "folder":
        return _of_folder(data)
    return _of_published(data)


def _prepared(run: Path, profile: Profile) -> PictureCounts | None:
    from nsfast.images import load_images
    from nsfast.pipeline.run_folder import images_stand

    if not (run / "images" / "made_from.json").is_file() or not images_stand(run, profile):
        return None
    return _of_images(load_images(run / "images"), f"the pictures prepared in {run}")


def _of_images(images, source: str) -> PictureCounts:
    splits = {n: len(getattr(images, n)) for n in ("labeled", "unlabeled", "validation", "test")}
    as_files = any(hasattr(getattr(images, name).pixels, "crops") for name in splits)
    shape = dict(classes=len(images.classes), channels=images.channels, size=images.size)
    return PictureCounts(**shape, **splits, as_files=as_files, source=source)


def _of_folder(data: Mapping[str, Any]) -> PictureCounts:
    from nsfast.images import SPLITS
    from nsfast.images.listing import list_split
    from nsfast.images.shards import open_shards

    root, kept = Path(data["path"]).expanduser(), data.get("decode") == "as_needed"
    if not (root / "labeled").is_dir():
        raise NsfastError(f"no labeled/ folder in {root}; expected labeled/<class>/* and unlabeled/**")
    listings = {name: list_split(root, name, name != "unlabeled", kept) for name in SPLITS}
    if kept:
        listings = {name: open_shards(part, name != "unlabeled") for name, part in listings.items()}
    counts = {name: len(listing.pictures) for name, listing in listings.items()}
    for name, share in (("validation", data["validation_share"]), ("test", data["test_share"])):
        if not counts[name]:  # set aside from the labeled ones
            counts[name] = round(share * len(listings["labeled"].pictures))
            counts["labeled"] -= counts[name]
    classes = len(listings["labeled"].classes)
    shape = dict(classes=classes, channels=data["channels"], size=data["size"], as_files=kept)
    return PictureCounts(**shape, **counts, source=f"a listing of {root}; what cannot be read is counted too")


def _of_published(data: Mapping[str, Any]) -> PictureCounts:
    name = "imagewoof" if data["name"] == "imagenette" and data.get("woof") else data["name"]
    classes, train, test, more, size = PUBLISHED[name]
    source = f"the published sizes of {name}"
    if name.startswith("image"):
        validation = data.get("validation") or round(data["validation_share"] * train)
        rest = train - validation
        labeled = round(data["labeled_share"] * rest)
        unlabeled = rest - labeled
        if data.get("unlabeled"):
            unlabeled, said = _pool(Path(data["unlabeled"]).expanduser())
            source += f"; {said}"
        elif name == "imagenet" and not unlabeled:  # a run refuses it, but what it would cost may be asked
            unlabeled, said = PAPERS_POOL, f"data.unlabeled is not set, so {ASSUMED}"
            source += f"; {said}"
        unlabeled = min(unlabeled, data.get("limit") or unlabeled)
    else:
        validation = data["validation"]
        rest = train - validation
        labeled = data.get("labeled") or rest
        more = more if data.get("extra", True) else 0
        unlabeled = rest - labeled + more
        unlabeled = min(unlabeled, data.get("unlabeled") or unlabeled)
    if min(validation, labeled, unlabeled) < 1:
        raise NsfastError(
            f"of {name}'s {train:,} training pictures {validation:,} validate and {labeled:,} are labeled, which "
            f"leaves {unlabeled:,} unlabeled; ask for fewer of them"
        )
    splits = dict(labeled=labeled, unlabeled=unlabeled, validation=validation, test=test)
    size, as_files = size or data["size"], name.startswith("image")
    return PictureCounts(classes, 3, size, **splits, as_files=as_files, source=source)


def _pool(folder: Path) -> tuple[int, str]:
    """Pictures in a folder of unlabeled ones, or those of the paper where it is not there."""
    if not folder.is_dir():
        return PAPERS_POOL, f"{folder} is not there, so {ASSUMED}"
    from nsfast.images.listing import list_split
    from nsfast.images.shards import open_shards

    folder = folder.resolve()
    listing = open_shards(list_split(folder.parent, folder.name, in_classes=False, shards=True), False)
    return len(listing.pictures), f"a listing of {folder}"
