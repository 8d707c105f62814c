"""One thread, no display, no settings of the caller; a tiny image set; what "required" browser tests mean."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"
for name in ("NSFAST_DISPLAY", "NSFAST_PROGRESS", "NSFAST_RUNNER"):
    os.environ.pop(name, None)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from nsfast.images import ImageSet, Split  # noqa: E402

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """The longest files first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: ("smoke" not in item.path.name, "runs" not in item.path.parts))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    required = os.environ.get("NSFAST_BROWSER_TESTS") == "required"
    if required and report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("browser"):
        report.outcome = "failed"
        report.longrepr = f"NSFAST_BROWSER_TESTS=required, but this was skipped: {report.longrepr[-1]}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    required = os.environ.get("NSFAST_BROWSER_TESTS") == "required"
    if required and report.skipped and "browser" in collector.path.parts:
        report.outcome = "failed"
        report.longrepr = f"NSFAST_BROWSER_TESTS=required, but this was skipped: {report.longrepr[-1]}"
    return report


@pytest.fixture(scope="session")
def tiny() -> ImageSet:
    """Three classes of 8x8 grey pictures that are easily told apart; the unlabeled pool is uneven and has a truth."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 256, (3, 8, 8, 1))

    def split(name, labels, known=True):
        noise = random.normal(0, 40, (len(labels), 8, 8, 1))
        pixels = (patterns[labels] + noise).clip(0, 255).astype(np.uint8)
        ids = np.array([f"{name}-{i:03}" for i in range(len(labels))])
        return Split(ids, pixels, labels.astype(np.int64) if known else None)

    truth = np.repeat([0, 1, 2], [30, 20, 10])
    return ImageSet(
        "tiny",
        ("ant", "bee", "cat"),
        labeled=split("labeled", np.tile([0, 1, 2], 4)),
        unlabeled=split("unlabeled", truth, known=False),
        validation=split("validation", np.tile([0, 1, 2], 4)),
        test=split("test", np.tile([0, 1, 2], 2)),
        truth=truth.astype(np.int64),
    )
