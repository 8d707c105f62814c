"""ImageNet (ILSVRC 2012) and its ten-class parts Imagenette and Imagewoof, decoded picture by picture as needed.

The official validation pictures are the test split here: what chooses epochs and thresholds is set aside from the
training pictures, by the hash of their ids.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np

from nsfast.errors import within
from nsfast.images.devkit import DEVKIT, LAYOUT, flat_val, read_devkit
from nsfast.images.download import require
from nsfast.images.files import PictureFiles
from nsfast.images.folder import class_names, open_all
from nsfast.images.image_set import ImageSet, Split
from nsfast.images.listing import File, list_split
from nsfast.images.pool import list_pool
from nsfast.images.problem import ImageProblem
from nsfast.images.shards import open_shards
from nsfast.images.subsets import share_of_each, without
from nsfast.streams import hash_order

NAMES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
    "n02086240": "Shih-Tzu",
    "n02087394": "Rhodesian ridgeback",
    "n02088364": "beagle",
    "n02089973": "English foxhound",
    "n02093754": "Border terrier",
    "n02096294": "Australian terrier",
    "n02099601": "golden retriever",
    "n02105641": "Old English sheepdog",
    "n02111889": "Samoyed",
    "n02115641": "dingo",
}
"""Of Imagenette and Imagewoof; the thousand of ImageNet are not unique ("crane" is a bird and a machine)."""


def imagenet(
    path: str = "data/imagenet",
    unlabeled: str = "",
    labeled_share: float = 1.0,
    validation: int = 25022,
    limit: int = 0,
    size: int = 224,
    verify: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ImageSet:
    """Return ImageNet; its official validation pictures are the test split.

    Args:
        path: folder that holds train/ and val/ (folders of wnids or WebDataset shards), or a flat val/ with the devkit.
        unlabeled: folder of any pictures and .tar shards that is the unlabeled pool. Without one it is what
            `labeled_share` leaves of train/; with one that is not used. It may hold no folder of train/ or val/:
            the paper takes ImageNet's validation pictures out of its pool.
        labeled_share: part of each class's training pictures that is labeled, above 0 and up to 1.
        validation: training pictures set aside to validate (the paper's code has 25,022 of 1,281,167).
        limit: pictures of the unlabeled pool, drawn by the seed; 0 for all. Of a folder `unlabeled` no more are opened
            than it takes to find so many that can be read.
        size: height and width in pixels, 1..4096.
        verify: whether every picture is opened once, so that damaged ones are left out and do not end the training.
        seed: of every choice above.
        progress: called with the number of pictures opened so far and of all that there are.

    Raises:
        ImageProblem: a part of the layout is missing, no picture would be unlabeled, or `unlabeled` holds pictures of
            train/ or val/.
    """
    within("data.validation", validation, 1)
    within("data.limit", limit, 0)
    if not unlabeled and labeled_share >= 1:
        raise ImageProblem(
            "data.unlabeled is empty and data.labeled_share is 1, so no picture is unlabeled; give a folder of "
            "pictures, or a share below 1"
        )
    parts = _Parts(path, unlabeled, size, verify, progress, limit, seed)
    train = parts.split("train")
    n, order = len(train), hash_order(train.ids, seed, "imagenet")
    if validation >= n:
        raise ImageProblem(f"validation={validation} takes all of {n} training pictures; ask for less")
    set_aside = np.sort(np.argsort(order)[:validation])
    pool = parts.split("unlabeled") if unlabeled else None
    return _image_set("imagenet", parts, train, set_aside, order, labeled_share, pool, limit, seed, {})


def imagenette(
    path: str = "data/imagenette2",
    woof: bool = False,
    labeled_share: float = 0.1,
    validation_share: float = 0.1,
    size: int = 160,
    download: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ImageSet:
    """Return Imagenette or Imagewoof, ten classes of ImageNet; their val/ is the test split.

    Args:
        path: folder that holds train/ and val/; the name imagenette2-320 or -160 fetches smaller pictures.
        woof: whether it is Imagewoof, ten breeds of dogs; its usual folder is data/imagewoof2.
        labeled_share: part of each class's training pictures that is labeled, above 0 and below 1; the others are the
            unlabeled pool.
        validation_share: part of each class's training pictures that is set aside first to validate.
        size: height and width in pixels, 1..4096.
        download: whether missing files are fetched, to the folder that `path` lies in.
        seed: of the choice of labeled and validation pictures.
        progress: called with the number of pictures opened so far and of all that there are.

    Raises:
        ImageProblem: a part of the layout is missing, or a class is too small to split.
    """
    if not 0 < validation_share < 1:
        raise ImageProblem(f"data.validation_share is {validation_share}; it must be above 0 and below 1")
    if labeled_share >= 1:
        raise ImageProblem(
            f"data.labeled_share is {labeled_share}; give one below 1: the others are the unlabeled pool"
        )
    name = "imagewoof" if woof else "imagenette"
    root = Path(imagenette_folder(path, woof)).expanduser()
    top = root.name if root.name in {f"{name}2", f"{name}2-320", f"{name}2-160"} else f"{name}2"
    if download and top != root.name:
        raise ImageProblem(
            f"data.path is {path!r}; to be downloaded it must end in {name}2, {name}2-320 or -160"
        )
    needed = [f"{top}/train", f"{top}/val"] if top == root.name else ["train", "val"]
    base = root.parent if top == root.name else root
    layout = " and ".join(f"{folder}/<wnid>/*.JPEG" for folder in needed)
    require(base, needed, [_archive(top)], download, layout)
    parts = _Parts(str(root), "", size, True, progress)
    train = parts.split("train")
    order = hash_order(train.ids, seed, "imagenette")
    set_aside = share_of_each(train.labels, order, validation_share, len(parts.classes))
    return _image_set(name, parts, train, set_aside, order, labeled_share, None, 0, seed, NAMES)


def imagenette_folder(path: str, woof: bool) -> str:
    """Return the folder that is read: Imagewoof does not lie in Imagenette's usual one."""
    return "data/imagewoof2" if woof and path == "data/imagenette2" else path


def _archive(top: str) -> tuple[str, str | None]:
    """Return URL and md5 of an archive; torchvision knows Imagenette's, nobody publishes Imagewoof's."""
    md5 = {
        "imagenette2": "fe2fc210e6bb7c5664d602c3cd71e612",
        "imagenette2-320": "3df6f0d01a2c9592104656642f5e78a3",
        "imagenette2-160": "e793b78cc4c9e9a4ccc0c1155377a412",
    }
    return f"https://s3.amazonaws.com/fast-ai-imageclas/{top}.tgz", md5.get(top)


class _Parts:
    """What train/, val/ and the folder of unlabeled pictures hold, listed before a picture is opened."""

    def __init__(
        self,
        path: str,
        unlabeled: str,
        size: int,
        verify: bool,
        progress: Callable | None,
        limit: int = 0,
        seed: int = 0,
    ):
        self.root, self.size, self.verify = (
            Path(path).expanduser(),
            within("data.size", size, 1, 4096),
            verify,
        )
        for folder in ("train", "val"):
            if not (self.root / folder).is_dir():
                raise ImageProblem(f"no {self.root / folder}; expected {LAYOUT}")
        names = class_names(self.root / "classes.txt")
        train = list_split(self.root, "train", in_classes=True, shards=True)
        test = list_split(self.root, "val", in_classes=True, shards=True)
        flat = not test.classes and not test.shards
        known = flat or (self.root / DEVKIT[0]).is_file()
        truth = read_devkit(self.root) if known else {}
        names = names or sorted(train.classes or test.classes or set(truth.values())) or None
        self.listings = {"train": open_shards(train, True, names)}
        self.listings["test"] = flat_val(self.root, truth) if flat else open_shards(test, True, names)
        self.roots = {"train": self.root, "test": self.root}
        self.classes = self.listings["train"].classes
        if len(self.classes) < 2:
            raise ImageProblem(f"{self.root}/train has {len(self.classes)} class(es); expected {LAYOUT}")
        extra = sorted(set(self.listings["test"].classes) - set(self.classes))
        if extra:
            raise ImageProblem(
                f"val/ has class {extra[0]!r}, which train/ lacks; add {self.root}/train/{extra[0]}"
            )
        if unlabeled:
            self.listings["unlabeled"], self.roots["unlabeled"] = list_pool(
                unlabeled, self.root, [self.listings["test"], self.listings["train"]]
            )
        self.left_out = [(f.id, f.problem) for listing in self.listings.values() for f in listing.others]
        self.draw: np.ndarray | None = None
        if limit and unlabeled:
            ids = [file.id for file in self.listings["unlabeled"].pictures]
            self.draw, self.limit = np.argsort(hash_order(ids, seed, "limit")), min(limit, len(ids))
        self.total, done = sum(len(listing.pictures) for listing in self.listings.values()), count(1)
        if self.draw is not None:
            self.total += self.limit - len(self.draw)
        self.advance = (lambda: progress(next(done), self.total)) if progress else (lambda: None)

    def split(self, name: str) -> Split:
        """Return one of them; what cannot be opened is added to `left_out`."""
        files, root = self.listings[name].pictures, self.roots[name]
        if name == "unlabeled" and self.draw is not None:
            good, pixels = self._drawn(files, root)
        else:
            good, pixels, bad = open_all(files, root, self.size, 3, self.advance, self.verify)
            self.left_out += bad
        if not good:
            said = "; " + ": ".join(self.left_out[-1]) if self.left_out else ""
            raise ImageProblem(f"no {name} picture below {root} can be read{said}")
        labels = None
        if name != "unlabeled":
            index = {wnid: number for number, wnid in enumerate(self.classes)}
            labels = np.array([index[file.class_name] for file in good], np.int64)
        return Split(np.array([file.id for file in good], dtype=str), pixels, labels)

    def _drawn(self, files: list[File], root: Path) -> tuple[list[File], PictureFiles]:
        """Return the first `limit` of the draw that can be read; for each that cannot the next one is opened."""
        kept: list[File] = []
        at = 0
        while len(kept) < self.limit and at < len(self.draw):
            rows = self.draw[at : at + self.limit - len(kept)]
            at += len(rows)
            drawn = [files[row] for row in rows]
            good, _, bad = open_all(drawn, root, self.size, 3, self.advance, self.verify)
            kept += good
            self.left_out += bad
            self.total += min(len(bad), len(self.draw) - at)
        kept.sort()
        return kept, open_all(kept, root, self.size, 3, look=False)[1]


def _image_set(
    name: str,
    parts: _Parts,
    train: Split,
    set_aside: np.ndarray,
    order: np.ndarray,
    labeled_share: float,
    pool: Split | None,
    limit: int,
    seed: int,
    names: dict[str, str],
) -> ImageSet:
    """Split the training pictures that do not validate into labeled ones and, without a pool, unlabeled ones."""
    if not 0 < labeled_share <= 1:
        raise ImageProblem(f"data.labeled_share is {labeled_share}; it must be above 0 and at most 1")
    rest = without(len(train), set_aside)
    chosen = rest[share_of_each(train.labels[rest], order[rest], labeled_share, len(parts.classes))]
    truth = None
    if pool is None:
        left = train.take(without(len(train), set_aside, chosen))
        pool, truth = Split(left.ids, left.pixels), left.labels
    if limit:
        rows = np.sort(np.argsort(hash_order(pool.ids, seed, "limit"))[:limit])
        pool, truth = pool.take(rows), truth if truth is None else truth[rows]
    return ImageSet(
        name,
        tuple(names.get(wnid, wnid) for wnid in parts.classes),
        labeled=train.take(chosen),
        unlabeled=pool,
        validation=train.take(set_aside),
        test=parts.split("test"),
        truth=truth,
        left_out=tuple(sorted(parts.left_out)),
    )
