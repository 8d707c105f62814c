"""A teacher that is noised while it labels: the noise of its training, drawn from the pictures alone."""

from dataclasses import replace

import pytest
import torch

from nsfast.labels.predict import predict
from nsfast.models import build_model
from nsfast.noise.depth import residual_blocks
from nsfast.training.noised import Noised
from nsfast.training.recipe import Recipe

NONE = replace(Recipe(), dropout=0.0, stochastic_depth=0.0, randaugment_n=0)


def network(seed=0):
    torch.manual_seed(seed)
    made = build_model("small", 4, 1, 2)
    made.train()
    made(torch.rand(64, 1, 16, 16))  # running statistics that are no longer 0 and 1
    return made.eval()


def pictures(n=6, seed=1):
    return torch.randint(
        0, 256, (n, 16, 16, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    ).numpy()


def test_without_noise_it_says_what_the_network_says():
    x = pictures()
    assert torch.equal(predict(Noised(network(), NONE), x), predict(network(), x))


@pytest.mark.parametrize("noise", [{"dropout": 0.5}, {"stochastic_depth": 0.5}, {"randaugment_n": 2}])
def test_each_noise_acts_and_is_drawn_from_the_pictures_alone(noise):
    x, plain = pictures(), predict(network(), pictures())
    noised = Noised(network(), replace(NONE, **noise))
    before = {name: value.clone() for name, value in noised.network.named_buffers()}
    torch.manual_seed(5)
    first, mark = predict(noised, x), torch.rand(1)
    assert not torch.equal(first, plain) and torch.isfinite(first).all()
    torch.manual_seed(9)
    predict(noised, pictures(3, seed=4))
    assert torch.equal(predict(noised, x), first)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), mark)  # the global stream is left alone
    assert all(torch.equal(value, before[name]) for name, value in noised.network.named_buffers())
    assert not any(module.training for module in noised.network.modules())


def test_dropout_is_right_on_average():
    x = pictures(1).repeat(4000, axis=0)
    plain = predict(network(), x[:1])[0]
    said = torch.cat([predict(Noised(network(), replace(NONE, dropout=0.4)), x, batch=4000)])
    error = said.std(0) / len(said) ** 0.5
    assert ((said.mean(0) - plain).abs() < 5 * error + 1e-5).all() and (said.std(0) > 0).all()


def test_stochastic_depth_leaves_out_as_many_branches_as_its_rate_says():
    noised = Noised(network(), replace(NONE, stochastic_depth=0.6))
    blocks = [block for block in residual_blocks(noised.network) if block.branches]
    seen = []
    blocks[-1].branches[0].register_forward_hook(lambda m, i, out: seen.append((out.flatten(1) == 0).all(1)))
    predict(noised, pictures(1).repeat(3000, axis=0), batch=3000)
    index = residual_blocks(noised.network).index(blocks[-1])
    rate = 0.6 * index / len(residual_blocks(noised.network))
    assert seen[-1].double().mean().item() == pytest.approx(rate, abs=5 * (rate * (1 - rate) / 3000) ** 0.5)
