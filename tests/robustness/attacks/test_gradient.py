"""The gradient and FGSM: the closed form of a linear model, and what must be left as it was."""

import pytest
import torch
from torch import nn

from nsfast.errors import NsfastError
from nsfast.robustness.attacks import PixelModel, fgsm, input_gradient, random_sign, zero_gradient_share
from nsfast.robustness.attacks.gradient import Aim
from nsfast.robustness.attacks.pixels import held_still

torch.set_num_threads(1)


def images(n=6, channels=1, size=4, seed=0):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def linear(classes=2, inputs=16, seed=0):
    layer = nn.Linear(inputs, classes)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(classes, inputs, generator=torch.Generator().manual_seed(seed)))
    return nn.Sequential(nn.Flatten(), layer)


class Noisy(nn.Module):
    """A network with everything that acts differently in training, one batch norm frozen by the user."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 3)
        )

    def forward(self, pixels):
        return self.layers(pixels)


def test_pixel_model_normalises_each_channel():
    model = PixelModel(nn.Identity(), mean=[0.5, 0.25, 0], std=[0.5, 0.25, 2])
    pixels = torch.ones(1, 3, 2, 2)
    assert model(pixels)[0, :, 0, 0].tolist() == [1, 3, 0.5]


def test_two_classes_and_a_linear_model_have_a_closed_form():
    # the loss of the true class falls along w_true - w_other, so the attack moves by epsilon against its sign
    model, pixels = linear(), images() * 0.8 + 0.1
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    weight = model[1].weight.detach()
    towards = torch.where(labels[:, None] == 0, weight[1] - weight[0], weight[0] - weight[1]).reshape(
        pixels.shape
    )
    expected = pixels + 8 / 255 * towards.sign()
    assert torch.allclose(fgsm(model, pixels, labels, 8), expected, atol=1e-6)
    margin = (model(pixels)[range(6), labels] - model(pixels)[range(6), 1 - labels]).detach()
    attacked = model(fgsm(model, pixels, labels, 8)).detach()
    fall = margin - (attacked[range(6), labels] - attacked[range(6), 1 - labels])
    assert torch.allclose(fall, 8 / 255 * (weight[0] - weight[1]).abs().sum().expand(6), atol=1e-5)


def test_gradient_is_the_softmax_error_through_the_weights():
    model, pixels, labels = linear(classes=3), images(), torch.tensor([0, 1, 2, 0, 1, 2])
    error = model(pixels).softmax(1) - nn.functional.one_hot(labels, 3)
    expected = (error @ model[1].weight).reshape(pixels.shape)
    assert torch.allclose(input_gradient(model, pixels, labels), expected, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_the_batch_does_not_matter(batch):
    torch.manual_seed(0)
    model, pixels, labels = Noisy(), images(), torch.tensor([0, 1, 2, 0, 1, 2])
    whole = input_gradient(model, pixels, labels, batch=6)
    assert torch.allclose(input_gradient(model, pixels, labels, batch=batch), whole, atol=1e-7)


def test_every_mode_comes_back_and_nothing_is_left_behind():
    model, pixels, labels = Noisy(), images(), torch.tensor([0, 1, 2, 0, 1, 2])
    model.train()
    model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = fgsm(model, pixels, labels, 4), fgsm(model, pixels, labels, 4)
    assert torch.equal(first, second)  # dropout was off
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not first.requires_grad and not pixels.requires_grad


def test_a_target_takes_the_opposite_way():
    # of two classes, towards the other one is away from the true one
    model, pixels, labels = linear(), images(), torch.tensor([0, 1, 0, 1, 0, 1])
    away, towards = fgsm(model, pixels, labels, 8), fgsm(model, pixels, labels, 8, targets=1 - labels)
    assert torch.equal(away, towards) and not torch.equal(away, pixels)


def test_one_step_in_l2_follows_the_gradient():
    model, pixels = linear(), images() * 0.2 + 0.4
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    weight = model[1].weight.detach()
    towards = torch.where(labels[:, None] == 0, weight[1] - weight[0], weight[0] - weight[1])
    expected = pixels + 20 / 255 * (towards / towards.norm(dim=1, keepdim=True)).reshape(pixels.shape)
    assert torch.allclose(fgsm(model, pixels, labels, 20, norm="l2"), expected, atol=1e-6)


@pytest.mark.parametrize("targeted", [False, True])
def test_log_odds_point_where_cross_entropy_points(targeted):
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    labels, directions = torch.arange(50) % 5, []
    for loss in ("cross_entropy", "log_odds"):
        leaf = logits.clone().requires_grad_()
        aim = Aim(labels, targeted, loss)
        gradient = torch.autograd.grad(aim.losses(leaf).sum(), leaf)[0]
        directions.append(gradient / gradient.norm(dim=1, keepdim=True))
    assert torch.allclose(*directions, atol=1e-12)
    cross_entropy, odds = (Aim(labels, False, loss).losses(logits) for loss in ("cross_entropy", "log_odds"))
    assert torch.allclose(cross_entropy, odds.exp().log1p())


def test_layers_of_half_precision_are_attacked_in_full():
    class Half(nn.Module):
        autocast = torch.bfloat16

        def forward(self, pixels):
            seen.append(self.autocast)
            return pixels.flatten(1)

    seen, model = [], nn.Sequential(Half(), nn.Linear(16, 2))
    with torch.autocast("cpu", torch.bfloat16):
        assert input_gradient(model, images(), torch.zeros(6, dtype=torch.long)).dtype == torch.float32
        with held_still(model):
            assert model(images()).dtype == torch.float32
    assert seen == [None, None] and model[0].autocast is torch.bfloat16


def test_a_broken_network_leaves_no_pixel_that_is_not_a_number():
    class Broken(nn.Module):
        def forward(self, pixels):
            return pixels.flatten(1).sum(1, keepdim=True) * torch.tensor([1.0, torch.nan])

    assert torch.equal(fgsm(Broken(), images(), torch.zeros(6, dtype=torch.long), 8), images())


def test_the_mode_comes_back_after_an_error():
    model = Noisy().train()
    model.layers[0].weight.requires_grad_(False)
    with pytest.raises(RuntimeError):
        fgsm(model, images(size=9), torch.zeros(6, dtype=torch.long), 4)
    assert model.training and model.layers[2].training
    assert model.layers[0].bias.requires_grad and not model.layers[0].weight.requires_grad


def test_works_where_gradients_are_switched_off():
    model, pixels, labels = linear(), images(), torch.zeros(6, dtype=torch.long)
    expected = fgsm(model, pixels, labels, 4)
    with torch.no_grad():
        assert torch.equal(fgsm(model, pixels, labels, 4), expected)


def test_hurts_more_than_random_signs_of_the_same_size():
    model, pixels = linear(classes=3, inputs=256, seed=3), images(n=200, size=16)
    labels = model(pixels).argmax(1)
    attacked = model(fgsm(model, pixels, labels, 16)).argmax(1)
    shaken = model(random_sign(pixels, 16, torch.Generator().manual_seed(0))).argmax(1)
    assert (attacked == labels).float().mean() < (shaken == labels).float().mean() - 0.2


def test_counts_pictures_whose_gradient_is_zero():
    gradient = torch.zeros(4, 1, 2, 2)
    gradient[0, 0, 1, 1] = 1e-30
    assert zero_gradient_share(gradient) == 0.75


def test_an_overconfident_network_shows_zero_gradients():
    model, pixels = linear(), images()
    labels = model(pixels).argmax(1)
    with torch.no_grad():
        model[1].weight *= 1e4
    assert zero_gradient_share(input_gradient(model, pixels, labels)) > 0.5


def test_takes_fastai_tensors():
    fastai = pytest.importorskip("fastai.torch_core")
    model, pixels, labels = linear(), images(), torch.tensor([0, 1, 0, 1, 0, 1])
    attacked = fgsm(model, fastai.TensorImage(pixels), fastai.TensorCategory(labels), 4)
    assert type(attacked) is torch.Tensor and torch.equal(attacked, fgsm(model, pixels, labels, 4))


def call(**change):
    arguments = dict(model=linear(), images=images(), labels=torch.zeros(6, dtype=torch.long), epsilon=2)
    return fgsm(**(arguments | change))


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: call(images=images() * 255), "wrap the model in PixelModel"),
        (lambda: call(images=(images() * 255).to(torch.uint8)), "divide by 255"),
        (lambda: call(images=images()[0]), "n, channels, height, width"),
        (lambda: call(labels=torch.zeros(5, dtype=torch.long)), r"6 images need \(6,\)"),
        (lambda: call(epsilon=-1), "epsilon .* is -1"),
        (lambda: call(batch=-1), "batch .* is -1"),
        (lambda: call(labels=torch.full((6,), 2)), "model has 2 classes"),
        (lambda: call(labels=torch.full((6,), -1)), "class indices from 0"),
        (lambda: call(labels=torch.zeros(6)), "class indices from 0"),
        (lambda: call(targets=torch.zeros(6, dtype=torch.long)), "target of picture 0 is its true class 0"),
        (lambda: call(norm="l1"), "unknown norm"),
        (lambda: Aim(torch.zeros(6, dtype=torch.long), loss="hinge"), "unknown loss"),
        (lambda: PixelModel(linear(), [0.5], [0.5, 0.5]), "mean has 1 channels and std 2"),
        (lambda: PixelModel(linear(), [0.5], [0.0]), "must be positive"),
        (lambda: PixelModel(linear(), [0.5], [0.5])(images(channels=3)), "images have 3 channels"),
        (lambda: zero_gradient_share(torch.zeros(0, 1, 2, 2)), "at least 1"),
    ],
)
def test_says_what_is_wrong(wrong, message):
    with pytest.raises(NsfastError, match=message):
        wrong()
