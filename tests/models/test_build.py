"""Networks by name: size, normalisation, dropout, errors."""

import pytest
import timm
import torch

from nsfast.errors import NsfastError
from nsfast.models import Network, SmallNet, build_model, parameter_count


def pictures(n=6, channels=1, seed=0):
    return torch.rand(n, channels, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("architecture", ["small", "test_efficientnet"])
def test_dropout_is_inert_outside_training(architecture):
    torch.manual_seed(0)
    noisy = build_model(architecture, 4, 1, dropout=0.9)
    plain = build_model(architecture, 4, 1)
    plain.load_state_dict(noisy.state_dict())
    x = pictures()
    assert torch.equal(noisy.eval()(x), noisy(x)) and torch.equal(noisy(x), plain.eval()(x))
    torch.manual_seed(1)
    assert not torch.equal(noisy.train()(x), noisy(x))


def test_dropout_is_on_the_features_of_the_final_layer():
    net = SmallNet(3, dropout=0.5, size=1).train()
    net.eval(), net.dropout.train()
    x = pictures(400, seed=1)
    features = net.forward_head(net.forward_features(x), pre_logits=True)
    net.dropout.eval()
    whole = net.forward_head(net.forward_features(x), pre_logits=True)
    dropped = (features == 0) & (whole != 0)
    assert abs(dropped.float().sum() / (whole != 0).sum() - 0.5) < 0.05
    assert torch.allclose(features[~dropped], 2 * whole[~dropped], atol=1e-5)


def test_a_network_normalises_its_own_pixels():
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]
    model = build_model("small", 3, 3, mean=mean, std=std).eval()
    x = pictures(channels=3)
    by_hand = torch.stack([(x[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    assert torch.allclose(model(x), model.body(by_hand), atol=1e-5)
    assert not torch.allclose(model(x), model.body(x), atol=1e-2)
    state = model.state_dict()
    assert state["normalize.mean"].ravel().tolist() == pytest.approx(mean)
    assert state["normalize.std"].ravel().tolist() == pytest.approx(std)
    assert {"normalize.mean", "normalize.std"}.isdisjoint(name for name, _ in model.named_parameters())


@pytest.mark.parametrize("channels", [1, 3])
def test_a_size_more_is_more_parameters_and_the_count_is_the_real_one(channels):
    counts = [parameter_count("small", 10, channels, size) for size in range(1, 6)]
    assert counts == sorted(set(counts)) and 3 < counts[1] / counts[0] < 4.5
    for size in (1, 3):
        model = build_model("small", 10, channels, size)
        assert counts[size - 1] == sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_resnet"])
def test_the_count_of_a_timm_network_is_the_real_one_whatever_the_size(architecture):
    real = sum(p.numel() for p in build_model(architecture, 7, 1).parameters())
    assert parameter_count(architecture, 7, 1, 1) == parameter_count(architecture, 7, 1, 9) == real


def test_known_networks_have_their_published_sizes():
    for name, millions in (("efficientnet_b0", 5.29), ("efficientnet_b7", 66.35)):
        assert parameter_count(name, 1000, 3, 1) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("architecture", ["small", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_network_gives_a_logit_a_class(architecture, channels):
    model = build_model(architecture, 5, channels).eval()
    assert isinstance(model, Network) and model(torch.rand(2, channels, 32, 32)).shape == (2, 5)


def test_the_seed_decides_the_weights():
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat([p.ravel() for p in build_model("small", 3, 1).parameters()])

    assert torch.equal(weights(0), weights(0)) and not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("efficientnt_b0", 3), r"unknown architecture 'efficientnt_b0'; did you mean 'efficientnet_b0'\?"),
     (("smal", 3), "did you mean 'small'"), (("zzzzqqq", 3), "any name of timm.list_models"),
     (("small", 3, 1, 0), "size is 0; it must be at least 1")],
)  # fmt: skip
def test_a_wrong_name_or_size_is_named_in_one_short_line(arguments, said):
    with pytest.raises(NsfastError, match=said) as caught:
        build_model(*arguments)
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


def test_dropout_that_a_network_does_not_take_is_refused_not_dropped(monkeypatch):
    make = timm.create_model

    def without_dropout(name, **options):
        if "drop_rate" in options:
            raise TypeError("unexpected keyword argument 'drop_rate'")
        return make(name, **options)

    monkeypatch.setattr(timm, "create_model", without_dropout)
    with pytest.raises(NsfastError, match="'test_resnet' takes no dropout .*drop_rate.*set dropout to 0"):
        build_model("test_resnet", 3, dropout=0.2)
    build_model("test_resnet", 3)
