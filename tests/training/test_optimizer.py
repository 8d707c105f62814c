"""The optimizers against slow references, and which parameters decay."""

import numpy as np
import pytest
import timm
import torch
from fastai.optimizer import OptimWrapper
from torch import nn

from nsfast.errors import NsfastError
from nsfast.training.optimizer import optimizer_function, weight_groups
from nsfast.training.recipe import OPTIMIZERS

RATES = [0.0, 0.004, 0.008, 0.016, *[0.016 * 0.97 ** (i // 3) for i in range(16)]]


def gradients(shape, steps=20):
    random = np.random.default_rng(1)
    return [random.normal(0, 10.0 ** random.integers(-4, 1), shape) for _ in range(steps)]


def run(function, start, grads, rates, decay):
    """Weights after every step, of a decaying copy and of one that does not."""
    pair = [nn.Parameter(torch.tensor(start)) for _ in range(2)]
    opt = function([[pair[0]], [pair[1]]], lr=1.0)
    opt.set_hypers(wd=[decay, 0.0])
    trace = []
    for grad, rate in zip(grads, rates, strict=True):
        opt.set_hyper("lr", rate)
        for p in pair:
            p.grad = torch.tensor(grad)
        opt.step()
        trace.append([p.detach().numpy().copy() for p in pair])
    return trace


def tensorflow_rmsprop(weight, grads, rates, decay):
    """tf.train.RMSPropOptimizer(rate, 0.9, 0.9, 0.001), one number after the other; L2 loss in the gradient."""
    weight, trace = weight.copy(), []
    mean_square, moment = np.ones_like(weight), np.zeros_like(weight)
    for grad, rate in zip(grads, rates, strict=True):
        for i in np.ndindex(weight.shape):
            g = grad[i] + decay * weight[i]
            mean_square[i] = 0.9 * mean_square[i] + (1 - 0.9) * g * g
            moment[i] = 0.9 * moment[i] + rate * g / np.sqrt(mean_square[i] + 0.001)
            weight[i] -= moment[i]
        trace.append(weight.copy())
    return trace


START = np.random.default_rng(0).normal(size=(3, 4))


@pytest.mark.parametrize("decay", [0.0, 1e-5, 0.1])
def test_rmsprop_is_tensorflows_step_by_step(decay):
    grads = gradients(START.shape)
    trace = run(optimizer_function("rmsprop"), START, grads, RATES, decay)
    slow = tensorflow_rmsprop(START, grads, RATES, decay)
    plain = tensorflow_rmsprop(START, grads, RATES, 0.0)
    for (decaying, other), expected, undecayed in zip(trace, slow, plain, strict=True):
        np.testing.assert_allclose(decaying, expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(other, undecayed, rtol=1e-12, atol=1e-14)
    if decay == 0.1:
        assert abs(slow[-1] - plain[-1]).max() > 1e-4


def test_torchs_rmsprop_is_another_optimizer():
    grads = gradients(START.shape)

    def torchs(groups, lr):
        return OptimWrapper(groups, opt=torch.optim.RMSprop, lr=lr, alpha=0.9, momentum=0.9, eps=1e-3)

    ours = run(optimizer_function("rmsprop"), START, grads, RATES, 0.0)
    theirs = run(torchs, START, grads, RATES, 0.0)
    assert abs(ours[-1][0] - theirs[-1][0]).max() > 0.01


def test_sgd_is_nesterovs_with_the_decay_in_the_gradient():
    grads, rate, decay = gradients(START.shape), 0.02, 0.1
    weight, moment = START.copy(), np.zeros_like(START)
    trace = run(optimizer_function("sgd"), START, grads, [rate] * 20, decay)
    for step, grad in enumerate(grads):
        g = grad + decay * weight
        moment = 0.9 * moment + g if step else g
        weight = weight - rate * (g + 0.9 * moment)
        np.testing.assert_allclose(trace[step][0], weight, rtol=1e-12)


def test_adamw_is_torchs_fused_one_to_the_bit():
    grads = gradients(START.shape)
    trace = run(optimizer_function("adamw"), START, grads, RATES, 0.05)
    weight = nn.Parameter(torch.tensor(START))
    opt = torch.optim.AdamW([weight], weight_decay=0.05, fused=True)
    for step, (grad, rate) in enumerate(zip(grads, RATES, strict=True)):
        opt.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor(grad)
        opt.step()
        assert np.array_equal(trace[step][0], weight.detach().numpy())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_goes_on_to_the_bit_from_a_state_of_flat_tensors(name):
    grads = gradients(START.shape)
    weight = nn.Parameter(torch.tensor(START))
    twin = nn.Parameter(torch.tensor(START))

    def steps(parameter, opt, which):
        for grad in grads[which]:
            parameter.grad = torch.tensor(grad)
            opt.step()

    first = optimizer_function(name)([[weight], []], lr=0.01)
    first.set_hypers(wd=[1e-4, 0.0])
    steps(weight, first, slice(0, 10))
    twin.data.copy_(weight.data)
    flat = {k: torch.as_tensor(v).clone() for k, v in first.opt.state_dict()["state"][0].items()}
    second = optimizer_function(name)([[twin], []], lr=0.01)
    second.set_hypers(wd=[1e-4, 0.0])
    groups = second.opt.state_dict()["param_groups"]
    second.opt.load_state_dict({"state": {0: flat}, "param_groups": groups})
    for parameter, opt in ((weight, first), (twin, second)):
        steps(parameter, opt, slice(10, 20))
    assert torch.equal(weight, twin) and not np.array_equal(weight.detach().numpy(), START)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fastai_sets_rate_momentum_and_decay_by_its_own_names(name):
    opt = optimizer_function(name)([[nn.Parameter(torch.zeros(2, 2))], [nn.Parameter(torch.zeros(2))]], lr=1)
    opt.set_hypers(lr=0.5, mom=0.8, wd=[0.3, 0.0])
    groups = opt.opt.param_groups
    assert [g["lr"] for g in groups] == [0.5, 0.5] and [g["weight_decay"] for g in groups] == [0.3, 0.0]
    assert [g["betas"][0] if "betas" in g else g["momentum"] for g in groups] == [0.8, 0.8]


def test_an_unknown_optimizer_is_named():
    with pytest.raises(NsfastError, match="unknown optimizer 'rmsprob'; did you mean 'rmsprop'?"):
        optimizer_function("rmsprob")


@pytest.fixture(scope="module")
def efficientnet():
    return timm.create_model("tf_efficientnet_b0", num_classes=3)


def names(model, decay_biases):
    named = {id(p): n for n, p in model.named_parameters()}
    return [[named[id(p)] for p in group] for group in weight_groups(model, decay_biases)]


def test_as_released_all_but_batch_normalisation_decays(efficientnet):
    decay, rest = names(efficientnet, decay_biases=True)
    # TensorFlow's names of the same variables hold "batch_normalization"; timm's are bn1, bn2, bn3
    expected = [n for n, _ in efficientnet.named_parameters() if ".bn" not in f".{n}"]
    assert decay == expected and len(decay) + len(rest) == len(list(efficientnet.parameters()))
    assert len(rest) == 2 * 49  # scale and shift of the 49 batch normalisations of B0
    biases = {n for n in decay if n.endswith(".bias")}
    assert "classifier.bias" in biases and sum(".se." in n for n in biases) == 2 * 16


def test_otherwise_weights_of_two_dimensions_decay(efficientnet):
    decay, rest = names(efficientnet, decay_biases=False)
    shapes = {n: p.ndim for n, p in efficientnet.named_parameters()}
    assert decay == [n for n, d in shapes.items() if d > 1] and rest == [
        n for n, d in shapes.items() if d <= 1
    ]


@pytest.mark.parametrize("layer", [
    nn.BatchNorm1d(4), nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4), nn.LayerNorm((4, 2, 2)), nn.RMSNorm(4),
    nn.SyncBatchNorm(4), timm.layers.BatchNormAct2d(4), timm.layers.LayerNorm2d(4), timm.layers.RmsNorm(4),
], ids=lambda layer: type(layer).__name__)  # fmt: skip
def test_no_kind_of_normalisation_decays(layer):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), layer, nn.Linear(4, 2))
    decay, rest = names(model, decay_biases=True)
    assert (
        decay == ["0.weight", "0.bias", "2.weight", "2.bias"]
        and all(n.startswith("1.") for n in rest)
        and rest
    )


@pytest.mark.parametrize("decay_biases", [False, True])
def test_frozen_parameters_are_in_no_group(decay_biases):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    model[0].weight.requires_grad_(False)
    model[1].bias.requires_grad_(False)
    assert sorted(sum(names(model, decay_biases), [])) == ["0.bias", "1.weight"]
