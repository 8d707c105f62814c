"""A model file is the whole network, and no pickle."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch

from nsfast.errors import NsfastError
from nsfast.files import checksum
from nsfast.training import Recipe
from nsfast.training.model_file import load_model, read_about, save_model
from nsfast.training.train import Trained, train


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory) -> tuple[Trained, Recipe]:
    recipe = Recipe(size=1, epochs=2, steps_per_epoch=3, batch=6, ema=0.5)
    path = tmp_path_factory.mktemp("training") / "c.safetensors"
    return train(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, folder=path.parent), recipe


@pytest.fixture
def folder(trained, tmp_path, tiny):
    save_model(tmp_path / "teacher", *trained, tiny.classes, tiny.size, "abc")
    return tmp_path / "teacher"


def test_both_weights_come_back_to_the_bit_in_eval_mode(trained, folder, tiny):
    x = torch.from_numpy(tiny.test.pixels).permute(0, 3, 1, 2).float() / 255
    for name, network in (("ema", trained[0].average), ("raw", trained[0].model)):
        again = load_model(folder, name)
        assert not any(module.training for module in again.modules())
        ours, theirs = network.state_dict(), again.state_dict()
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
        assert torch.equal(again(x), network(x))
    assert not torch.equal(load_model(folder, "raw")(x), load_model(folder)(x))


def test_model_json_names_everything(trained, folder, tiny):
    about = read_about(folder)
    assert about["fingerprint"] == checksum(folder / "model.safetensors") and about["teacher"] == "abc"
    assert about["classes"] == ["ant", "bee", "cat"] and about["pixels"] == 8 and about["channels"] == 1
    assert about["parameters"] == sum(p.numel() for p in trained[0].model.parameters())
    assert Recipe.from_parameters(about["recipe"]) == trained[1]
    mean, std = tiny.statistics()
    assert about["mean"] == pytest.approx(mean) and about["std"] == pytest.approx(std)


def test_the_same_network_has_the_same_fingerprint_and_another_another(trained, folder, tmp_path, tiny):
    again = save_model(tmp_path / "b", *trained, tiny.classes, tiny.size)
    assert again == read_about(folder)["fingerprint"]
    swapped = Trained(trained[0].average, trained[0].model, [])
    assert save_model(tmp_path / "c", swapped, trained[1], tiny.classes, tiny.size) != again


def test_nothing_in_the_folder_is_a_pickle(folder, monkeypatch):
    import pickle

    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "model.safetensors"]

    def refuse(*arguments, **options):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    load_model(folder)


def flip(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "weights missing": lambda f: (f / "model.safetensors").unlink(),
    "weights empty": lambda f: (f / "model.safetensors").write_bytes(b""),
    "weights cut": lambda f: (f / "model.safetensors").write_bytes(
        (f / "model.safetensors").read_bytes()[:-9]
    ),
    "one bit of the weights": lambda f: flip(f / "model.safetensors"),
    "json missing": lambda f: (f / "model.json").unlink(),
    "json cut": lambda f: (f / "model.json").write_text((f / "model.json").read_text()[:-9]),
    "json of something else": lambda f: (f / "model.json").write_text("{}"),
    "json no object": lambda f: (f / "model.json").write_text("[1]"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_file_is_one_line_that_names_it(folder, damage):
    DAMAGE[damage](folder)
    with pytest.raises(NsfastError) as caught:
        load_model(folder)
    said = str(caught.value)
    assert "\n" not in said and str(folder) in said
    assert ("model.json" if "json" in damage else "model.safetensors") in said


def test_weights_of_another_architecture_are_refused(folder):
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**about, "size": 2}))
    with pytest.raises(NsfastError, match="model.safetensors is damaged"):
        load_model(folder)


def test_unknown_weights_are_named(folder):
    with pytest.raises(NsfastError, match="unknown weights 'em'"):
        load_model(folder, "em")


def test_a_timm_network_comes_back_too(tmp_path):
    from nsfast.models import build_model

    torch.manual_seed(0)
    recipe = Recipe(architecture="test_efficientnet", dropout=0.5, stochastic_depth=0.5)
    network = build_model("test_efficientnet", 2, 3, 1, 0.5, [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]).eval()
    save_model(tmp_path, Trained(network, deepcopy(network), []), recipe, ("a", "b"), 32)
    x = torch.from_numpy(np.random.default_rng(0).random((2, 3, 32, 32), np.float32))
    assert torch.equal(load_model(tmp_path)(x), network(x))
