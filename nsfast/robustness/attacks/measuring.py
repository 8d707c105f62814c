"""Accuracies under attack that sanity checks compare: counted, nothing kept, and fooled pictures left alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from nsfast.images import Split
from nsfast.robustness.attacks.ball import Ball, random_sign
from nsfast.robustness.attacks.gradient import Aim, logits_of, look
from nsfast.robustness.attacks.pgd import Descent
from nsfast.robustness.attacks.pixels import at_once, device_of, held_still
from nsfast.streams import stream_seed


class Measuring:
    """Measures models on the same pictures with the same random numbers.

    Args:
        split: pictures with labels, few enough to be held as floats.
        descent: of PGD; its epsilon and norm hold for all attacks.
        seed: of random starts and signs.
        batch: pictures in one backward pass; 0 for 128 of up to 224 pixels.
    """

    def __init__(self, split: Split, descent: Descent, seed: int, batch: int):
        self.split, self.descent, self.seed, self.batch = split, descent, seed, batch
        self.labels = torch.from_numpy(np.array(split.labels, np.int64))

    def images_of(self, model: nn.Module) -> Tensor:
        """Return the pictures as the model takes them, float32 (n, channels, height, width) in [0, 1]."""
        pixels = self.split.pixels
        if hasattr(pixels, "at") and getattr(model, "pixels", None):
            pixels = pixels.at(model.pixels)
        return torch.from_numpy(np.array(pixels[:])).permute(0, 3, 1, 2).float().div_(255)

    def generator(self, *names: object) -> torch.Generator:
        """Return a random stream, the same for every model."""
        return torch.Generator().manual_seed(stream_seed(self.seed, "sanity", *names))

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return what a model says of pictures, (n, classes)."""
        device, step = device_of(model), at_once(self.batch, images.shape[-1])
        with held_still(model):
            return torch.cat([logits_of(model, part.to(device)).cpu() for part in images.split(step)])

    def accuracy(self, logits: Tensor) -> float:
        """Return the share of pictures that logits are right about."""
        return (logits.argmax(1) == self.labels).double().mean().item()

    def random_signs(self, images: Tensor) -> Tensor:
        """Return the pictures moved by random signs."""
        return random_sign(images, self.descent.epsilon, self.generator("random_sign"), self.descent.norm)

    def one_step(self, images: Tensor, gradient: Tensor) -> Tensor:
        """Return the pictures moved by one step of epsilon along the gradient: FGSM's."""
        ball = Ball(images, self.descent.epsilon, self.descent.norm)
        return ball.step(images, gradient, self.descent.epsilon)

    def under_steps(self, model: nn.Module, images: Tensor, descent: Descent) -> float:
        """Return the accuracy under PGD from one random start; a picture that any step fools is wrong."""
        step, right = at_once(self.batch, images.shape[-1]), 0
        generator = self.generator("pgd", descent.epsilon, descent.steps)
        with held_still(model) as device:
            for part, labels in zip(images.split(step), self.labels.split(step), strict=True):
                aim = Aim(labels.to(device), loss=descent.loss)
                right += _still_right(model, part.to(device), aim, descent, generator)
        return right / len(self.labels)

    def gradient(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the gradient of the loss at the pictures, of their shape."""
        device, step, found = device_of(model), at_once(self.batch, images.shape[-1]), []
        with held_still(model):
            for part, labels in zip(images.split(step), self.labels.split(step), strict=True):
                aim = Aim(labels.to(device), loss=self.descent.loss)
                found.append(look(model, part.to(device), aim).gradient.cpu())
        return torch.cat(found)


def _still_right(
    model: nn.Module, images: Tensor, aim: Aim, descent: Descent, generator: torch.Generator
) -> int:
    """Return how many pictures of a batch no step of PGD fools."""
    ball = Ball(images, descent.epsilon, descent.norm)
    pictures = ball.start(generator)
    for number in range(descent.steps):
        seen = look(model, pictures, aim)
        if number:  # a random start is no attack
            right = (~aim.reached(seen.logits)).nonzero().flatten()
            if len(right) < len(pictures):
                ball, aim, pictures = ball.take(right), aim.take(right), pictures[right]
                seen = seen._replace(gradient=seen.gradient[right])
            if not len(right):
                return 0
        pictures = ball.step(pictures, seen.gradient, descent.size)
    return int((~aim.reached(logits_of(model, pictures))).sum())
