"""Corruptions of ImageNet-C on uint8 arrays of any size, gray or colour (Hendrycks & Dietterich, 1903.12261).

A score measured on pictures made here is a "C-style error"; never call it "ImageNet-C mCE": the released sets are JPEG
files, and the mCE divides by AlexNet's errors. `DEVIATIONS` lists what else differs.
"""

from nsfast.robustness.corruptions.apply import corrupt, corrupt_tensor
from nsfast.robustness.corruptions.cache import corruption_questions
from nsfast.robustness.corruptions.table import DEVIATIONS, SEVERITIES, table_for
from nsfast.robustness.names import CORRUPTIONS, EXTRA_CORRUPTIONS, FAMILIES

__all__ = [
    "CORRUPTIONS",
    "DEVIATIONS",
    "EXTRA_CORRUPTIONS",
    "FAMILIES",
    "SEVERITIES",
    "corrupt",
    "corrupt_tensor",
    "corruption_questions",
    "table_for",
]
