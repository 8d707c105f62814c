"""The published scores of errors and flips that are known already: mCE, relative mCE, mFR, against a named baseline.

`nsfast.analysis.robustness` takes the same scores of answers, with intervals. A score of pictures that were made here
is a C-style error, whatever it is divided by; "ImageNet-C mCE" is of the released pictures and AlexNet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nsfast.errors import NsfastError
from nsfast.robustness.alexnet import ALEXNET_CLEAN, ALEXNET_ERRORS, ALEXNET_FLIPS
from nsfast.robustness.names import CORRUPTIONS, PERTURBATIONS

Errors = Mapping[str, float | Sequence[float]]
"""By corruption: the errors by severity, or their mean; 0 to 1."""


def corruption_errors(errors: Errors, baseline: Errors = ALEXNET_ERRORS) -> dict[str, float]:
    """Return the CE of each corruption: a model's errors over the severities divided by the baseline's.

    Args:
        errors: of the model. baseline: of the same severities, AlexNet by default.

    Raises:
        NsfastError: the baseline lacks a corruption, has other severities, or makes no error.
    """
    return {name: _ratio(name, *_pair(name, errors, baseline)) for name in errors}


def mean_corruption_error(errors: Errors, baseline: Errors = ALEXNET_ERRORS) -> float:
    """Return the mCE, 1 for a model as bad as the baseline (published: times 100): the mean of ImageNet-C's 15 CEs.

    Args:
        errors, baseline: as for `corruption_errors`; those of validation corruptions are left out.

    Raises:
        NsfastError: as there, and when one of the 15 is missing.
    """
    wanted = _all_of(errors, CORRUPTIONS, "corruption")
    return float(np.mean(list(corruption_errors(wanted, baseline).values())))


def relative_mean_corruption_error(
    errors: Errors, clean: float, baseline: Errors = ALEXNET_ERRORS, baseline_clean: float = ALEXNET_CLEAN
) -> float:
    """Return the relative mCE: as the mCE, with each model's clean error (0 to 1) taken off its errors first.

    Raises:
        NsfastError: as `mean_corruption_error`; a baseline that is not worse on corrupted pictures.
    """
    wanted = _all_of(errors, CORRUPTIONS, "corruption")
    clean, below = _share("the clean error", clean), _share("the baseline's clean error", baseline_clean)
    pairs = {name: _pair(name, wanted, baseline) for name in wanted}
    return float(np.mean([_ratio(n, own - clean, base - below) for n, (own, base) in pairs.items()]))


def mean_flip_rate(flips: Mapping[str, float], baseline: Mapping[str, float] = ALEXNET_FLIPS) -> float:
    """Return the mFR, 1 for a model as unsteady as the baseline (published: times 100): the mean of ten flip rates.

    Args:
        flips: flip probability by perturbation, 0 to 1. baseline: the same of the baseline, AlexNet by default.

    Raises:
        NsfastError: one of the ten is missing, the baseline lacks it or never flips.
    """
    wanted = _all_of(flips, PERTURBATIONS, "perturbation")
    return float(np.mean([_ratio(name, *_pair(name, wanted, baseline)) for name in wanted]))


def _all_of(given: Mapping, names: Sequence[str], what: str) -> dict:
    missing = [name for name in names if name not in given]
    if missing:
        raise NsfastError(
            f"{what} {', '.join(missing)} missing; the published mean is over all {len(names)}, so measure them too"
        )
    return {name: given[name] for name in names}


def _pair(name: str, own: Errors, baseline: Errors) -> tuple[float, float]:
    """The means over severities of a model and of the baseline; a single number is a mean already."""
    if name not in baseline:
        raise NsfastError(f"the baseline has no {name}; measure it, or leave {name} out")
    first, second = (np.asarray(errors[name], np.float64) for errors in (own, baseline))
    if first.ndim and second.ndim and len(first) != len(second):
        raise NsfastError(
            f"{name} has {len(first)} severities and {len(second)} of the baseline; give the same ones"
        )
    return _share(name, first), _share(name, second)


def _share(name: str, values: float | np.ndarray) -> float:
    values = np.asarray(values)
    if not values.size or not ((values >= 0) & (values <= 1)).all():
        raise NsfastError(f"{name} is {values.tolist()}; give shares from 0 to 1, not percent")
    return float(values.mean())


def _ratio(name: str, own: float, base: float) -> float:
    if base <= 0:
        raise NsfastError(
            f"what the baseline loses on {name} is {base:g}, and nothing can be divided by it; take another baseline"
        )
    return own / base
