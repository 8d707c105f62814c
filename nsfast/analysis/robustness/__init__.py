"""From what models answered to the rows that are written, drawn and printed, with an interval at each number.

`asked` is {Version: {model: Answers}} of `nsfast.robustness.answers`; `flips` is {perturbation: {model: FlipAnswers}}.
Every function returns a list of dictionaries with the same keys, ready for `write_csv`. All shares are 0 to 1, and so
are ratios (1 is the baseline; a published mCE is 100 times that). What is not known is "", and `note` says why.
Every row states n; low and high are the ends of a 95 % interval: Wilson for one share, else a bootstrap over pictures
that keeps all versions of a picture together. `minus_control*` is the paired difference to the control on the same
pictures; of errors, flips and NLL below 0 is better, of accuracies above 0. None of it says what another seed gives.

Clean pictures of a set (its severity 0 or epsilon 0) are `Version("clean", set)` where it was asked, else
`Version("clean")`; they count as the same pictures where their labels are the same in the same order.

error_rows(asked, set="corrupted")
    model, set, corruption, family, severity (0 is clean), n, error, low, high
corruption_score_rows(asked, baseline="control", control="control", set="corrupted")
    model, set, corruption ("mean" is the mean over those of ImageNet-C's 15 that were asked), family, severities, n,
    mean_error, low, high, baseline, ce, ce_low, ce_high, relative_ce, relative_ce_low, relative_ce_high,
    minus_control, minus_control_low, minus_control_high (of mean_error), ce_minus_control, ce_minus_control_low,
    ce_minus_control_high, p_value, p_holm (over the corruptions), note
    In the "mean" row ce is the mCE and relative_ce the relative mCE.
flip_rows(flips, baseline="control", control="control")
    model, set, perturbation, noise, sequences, comparisons, fp, low, high, baseline, fr, fr_low, fr_high, t5d, t5d_low,
    t5d_high, minus_control, minus_control_low, minus_control_high (of fp), fr_minus_control, fr_minus_control_low,
    fr_minus_control_high, p_value, p_holm, note
    and three rows more for each model: perturbation "mean_noise", "mean_other" (mFP over those of either kind) and
    "mean" (fr is the mFR; fp is "", as the two kinds of fp do not mean the same)
attack_rows(asked, control="control", steps={"pgd": 10})
    model, attack, norm, epsilon (in 1/255; 0 is clean), steps, n, accuracy, low, high, minus_control,
    minus_control_low, minus_control_high
natural_rows(asked, control="control", chosen={})
    model, set ("clean" first), name, n, classes, accuracy, low, high, top5, top5_low, top5_high, minus_control,
    minus_control_low, minus_control_high, mcnemar_p, chosen
calibration_rows(asked, control="control")
    model, set ("clean", "corrupted", "hard", ...), severity ("" is the mean over all), n, versions, nll, nll_low,
    nll_high, brier, brier_low, brier_high, ece, ece_low, ece_high, ece_calibrated, ece_calibrated_high (what a
    calibrated model would show on as few pictures: mean and 95th percentile), signed_gap (above 0: overconfident),
    nll_minus_control, nll_minus_control_low, nll_minus_control_high, ece_minus_control, ece_minus_control_low,
    ece_minus_control_high
line_rows(asked, control="control", set="corrupted")
    model, n, clean_error, clean_low, clean_high, corruption_error, low, high, expected_error (what the line through
    the control foretells), residual, residual_low, residual_high (log-odds above the line), note
headline_rows(natural, scores, flips, attacks, calibration, epsilon)
    model, natural_set, baseline, epsilon, and of each MEASURE in HEADLINE: MEASURE, MEASURE_low, MEASURE_high,
    MEASURE_n, MEASURE_minus_control, MEASURE_minus_control_low, MEASURE_minus_control_high
tidy_rows(errors=, scores=, flips=, attacks=, natural=, calibration=, seed=, protocol=)
    model, set, version, severity, n, metric, value, low, high, seed, protocol
warnings_of(asked, recipes, classes, set="corrupted", perturbations=())
    sentences
"""

from nsfast.analysis.robustness.accuracies import attack_rows, error_rows, natural_rows
from nsfast.analysis.robustness.calibration import calibration_rows
from nsfast.analysis.robustness.caution import overlaps, warnings_of
from nsfast.analysis.robustness.corruption_scores import corruption_score_rows
from nsfast.analysis.robustness.flips import flip_rows
from nsfast.analysis.robustness.headline import HEADLINE, headline_rows, tidy_rows
from nsfast.analysis.robustness.line import line_rows

__all__ = [
    "HEADLINE",
    "attack_rows",
    "calibration_rows",
    "corruption_score_rows",
    "error_rows",
    "flip_rows",
    "headline_rows",
    "line_rows",
    "natural_rows",
    "overlaps",
    "tidy_rows",
    "warnings_of",
]
