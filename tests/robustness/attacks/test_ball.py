"""The ball: nothing outside after rounding, the whole of it reached, random starts fair and seeded."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsfast.robustness.attacks import random_sign, sign_step
from nsfast.robustness.attacks.ball import Ball


def images(n=6, channels=1, size=4, seed=0):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def assert_within(moved, pixels, epsilon, norm):
    """As a user would check it: in float32 and in float64."""
    assert moved.dtype == torch.float32 and moved.min() >= 0 and moved.max() <= 1
    for changes in ((moved - pixels).flatten(1), (moved.double() - pixels.double()).flatten(1)):
        size = changes.abs().amax(1) if norm == "linf" else changes.norm(dim=1)
        assert size.max().item() <= epsilon / 255


@pytest.mark.parametrize("epsilon", [0, 0.3, 1, 2, 16, 255, 300])
def test_stays_within_the_ball_and_the_range_exactly(epsilon):
    pixels = images(n=50)
    pixels[0], pixels[1] = 0, 1
    direction = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(1))
    for moved in (sign_step(pixels, direction, epsilon), random_sign(pixels, epsilon, torch.Generator())):
        assert_within(moved, pixels, epsilon, "linf")
        inner = (pixels >= epsilon / 255) & (pixels <= 1 - epsilon / 255)
        change = (moved.double() - pixels.double()).abs()
        assert torch.allclose(change[inner], torch.tensor(epsilon / 255).double(), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    epsilon=st.floats(0, 300) | st.integers(1, 64),
    norm=st.sampled_from(["linf", "l2"]),
    scale=st.sampled_from([1.0, 1e-3, 1e-9]),
    step=st.floats(0, 1000),
    seed=st.integers(0, 99),
)
def test_no_walk_leaves_the_ball(epsilon, norm, scale, step, seed):
    generator = torch.Generator().manual_seed(seed)
    pixels = images(n=8, size=5, seed=seed) * scale
    ball = Ball(pixels, epsilon, norm)
    at = ball.start(generator)
    assert_within(at, pixels, epsilon, norm)
    for _ in range(3):
        direction = torch.randn(pixels.shape, generator=generator) * 10.0 ** torch.randint(
            -30, 30, (8, 1, 1, 1)
        )
        at = ball.step(at, direction, step)
        assert_within(at, pixels, epsilon, norm)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pictures_of_eight_bits_and_of_many_pixels_stay_within(norm):
    pixels = torch.randint(0, 256, (3, 3, 224, 224), generator=torch.Generator().manual_seed(0)) / 255
    for epsilon in (1, 2, 8, 100):
        direction = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(1))
        moved = Ball(pixels, epsilon, norm).step(pixels, direction, epsilon)
        assert_within(moved, pixels, epsilon, norm)


def test_a_long_step_in_l2_ends_on_the_sphere():
    pixels, epsilon = images(n=20, size=8) * 0.2 + 0.4, 50
    direction = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(1)) * 1e-35
    moved = Ball(pixels, epsilon, "l2").step(pixels, direction, 3 * epsilon)
    change = (moved - pixels).flatten(1)
    assert torch.allclose(change.norm(dim=1), torch.tensor(epsilon / 255), rtol=1e-4)
    assert torch.cosine_similarity(change, direction.flatten(1) * 1e35).min() > 1 - 1e-5


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pixels_without_a_gradient_stay(norm):
    pixels = images()
    assert torch.equal(Ball(pixels, 8, norm).step(pixels, torch.zeros_like(pixels), 8), pixels)


def test_random_signs_are_fair_and_seeded():
    pixels = torch.full((20, 1, 20, 20), 0.5)
    moved = random_sign(pixels, 2, torch.Generator().manual_seed(5))
    assert torch.equal(moved, random_sign(pixels, 2, torch.Generator().manual_seed(5)))
    assert not torch.equal(moved, random_sign(pixels, 2, torch.Generator().manual_seed(6)))
    assert (moved > 0.5).float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_random_signs_in_l2_have_the_norm_epsilon():
    pixels = torch.full((4, 3, 10, 10), 0.5)
    change = (random_sign(pixels, 60, torch.Generator().manual_seed(5), "l2") - pixels).flatten(1)
    assert torch.allclose(change.norm(dim=1), torch.tensor(60 / 255), rtol=1e-4)
    assert torch.allclose(change.abs(), torch.tensor(60 / 255 / math.sqrt(300)), rtol=1e-4)


def test_random_starts_fill_the_ball():
    pixels = torch.full((2000, 1, 2, 2), 0.5)
    inside = (Ball(pixels, 51).start(torch.Generator().manual_seed(0)) - pixels) / 0.2
    assert inside.abs().max() > 0.999 and inside.mean().abs() < 0.02
    assert inside.pow(2).mean().item() == pytest.approx(1 / 3, abs=0.01)
    inside = (Ball(pixels, 51, "l2").start(torch.Generator().manual_seed(0)) - pixels).flatten(1) / 0.2
    distance = inside.norm(dim=1)
    assert distance.mean().item() == pytest.approx(0.5, abs=0.02) and distance.max() > 0.99
    # directions uniform on the sphere: no mean, no correlation, and equal squares in each of the four pixels
    way = inside / distance[:, None]
    assert torch.allclose(way.T @ way / len(way), torch.eye(4) / 4, atol=0.02)
    assert way.mean(0).abs().max() < 0.03 and way.pow(4).mean().item() == pytest.approx(1 / 8, abs=0.01)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_random_start_does_not_depend_on_the_batch(norm):
    pixels, stream = images(n=7, size=5), torch.Generator().manual_seed(3)
    whole = Ball(pixels, 8, norm).start(torch.Generator().manual_seed(3))
    parts = [Ball(part, 8, norm).start(stream) for part in pixels.split(3)]
    assert torch.equal(torch.cat(parts), whole)


def test_part_of_a_ball_is_the_ball_of_that_part():
    pixels, rows = images(n=7), torch.tensor([4, 2])
    direction = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    taken = Ball(pixels, 8).take(rows).step(pixels[rows], direction, 20)
    assert torch.equal(taken, Ball(pixels[rows], 8).step(pixels[rows], direction, 20))
