"""Adversarial pictures: FGSM and PGD, random signs as their control, and checks whether the result can be believed.

Everything here works on pixels in [0, 1] and counts epsilon in steps of 1/255, as the paper does in its study
of adversarial robustness (1911.04252: FGSM and PGD, epsilon on the scale 0 to 255). `PixelModel` holds the
normalisation of networks that expect normalised pixels.
"""

from nsfast.robustness.attacks.autoattack import auto_attack
from nsfast.robustness.attacks.ball import random_sign, sign_step
from nsfast.robustness.attacks.gradient import fgsm, input_gradient, zero_gradient_share
from nsfast.robustness.attacks.pgd import pgd
from nsfast.robustness.attacks.pixels import PixelModel
from nsfast.robustness.attacks.questions import attack_questions
from nsfast.robustness.attacks.sanity import Check, order_checks, sanity

__all__ = [
    "Check",
    "PixelModel",
    "attack_questions",
    "auto_attack",
    "fgsm",
    "input_gradient",
    "order_checks",
    "pgd",
    "random_sign",
    "sanity",
    "sign_step",
    "zero_gradient_share",
]
