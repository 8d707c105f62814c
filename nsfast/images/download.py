"""Getting an official data set where it is missing, and saying what to do where it may not be fetched."""

from __future__ import annotations

from pathlib import Path

from nsfast.images.problem import ImageProblem


def require(
    root: Path, files: list[str], sources: list[tuple[str, str | None]], download: bool, layout: str
) -> None:
    """Return when every file is there; fetch the missing ones if allowed.

    Args:
        root: folder of the data set.
        files: paths below it that are needed; folders too.
        sources: URL and md5 (None where none is published) of each archive that holds them, or of the files
            themselves, in their order.
        download: whether missing files may be fetched.
        layout: what stands below `root`, in words.

    Raises:
        ImageProblem: a file is missing and may not be fetched, or cannot be.
    """
    missing = [name for name in files if not (root / name).exists()]
    if missing and download:
        each = len(sources) == len(files) and not any(_archive(url) for url, _ in sources)
        for name, (url, md5) in zip(files, sources, strict=True) if each else [("", s) for s in sources]:
            if not each or name in missing:
                _fetch(url, md5, root)
        missing = [name for name in files if not (root / name).exists()]
        if missing:
            raise ImageProblem(f"what was downloaded into {root} lacks {missing[0]}; expected {layout}")
    if missing:
        raise ImageProblem(
            f"no {root / missing[0]}; expected {layout} in {root}: put them there, or set data.download=true"
        )


def _archive(url: str) -> bool:
    return url.endswith((".tar.gz", ".tgz"))


def _fetch(url: str, md5: str | None, root: Path) -> None:
    from torchvision.datasets import utils

    try:
        if _archive(url):
            utils.download_and_extract_archive(url, str(root), md5=md5)
        else:
            utils.download_url(url, str(root), md5=md5)
    except (OSError, RuntimeError) as error:  # URLError is an OSError
        said = " ".join(str(error).split())
        raise ImageProblem(f"cannot download {url} ({said}); fetch it by hand into {root}") from None
