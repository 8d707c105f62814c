"""Trained weights from files and from a cache made here; nothing is ever fetched."""

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from nsfast.errors import NsfastError
from nsfast.models import build_model, load_weights, weights_statistics
from nsfast.models.weights import timm_weights_name

TINY = "test_efficientnet"  # timm's; about 0.4 million parameters


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty Hugging Face cache, and no network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put(cache, repository, tensors):
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(tensors, folder / "snapshots" / ("0" * 40) / "model.safetensors")


def made(name, classes=1000, channels=3, seed=1, **options):
    torch.manual_seed(seed)
    return timm.create_model(name, num_classes=classes, in_chans=channels, **options).state_dict()


def written(path, tensors):
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    return path


def same(model, tensors):
    mine = model.body.state_dict()
    return all(torch.equal(mine[key], value) for key, value in tensors.items())


def test_a_file_of_the_same_classes_and_channels_is_taken_whole(tmp_path):
    tensors = made(TINY, 5)
    model = build_model(TINY, 5)
    assert load_weights(model, written(tmp_path / "w.safetensors", tensors), TINY) == []
    assert same(model, tensors)


def test_another_number_of_classes_keeps_a_fresh_final_layer_and_says_so(tmp_path):
    tensors, model = made(TINY, 9), build_model(TINY, 5)
    fresh = model.body.classifier.weight.clone()
    (note,) = load_weights(model, written(tmp_path / "w.safetensors", tensors), TINY)
    assert "'classifier' is fresh, for 5 classes" in note and "9 classes" in note
    assert torch.equal(model.body.classifier.weight, fresh)
    assert same(model, {k: v for k, v in tensors.items() if not k.startswith("classifier")})


def test_color_weights_in_a_grey_network_do_to_grey_what_they_did_to_its_color_copy(tmp_path):
    tensors = made(TINY, 5)
    grey, color = build_model(TINY, 5, 1).eval(), build_model(TINY, 5).eval()
    path = written(tmp_path / "w.safetensors", tensors)
    (note,) = load_weights(grey, path, TINY)
    assert "conv_stem.weight is summed" in note and load_weights(color, path, TINY) == []
    x = torch.rand(2, 1, 32, 32)
    assert torch.allclose(grey(x), color(x.expand(-1, 3, -1, -1)), atol=1e-5)
    from timm.models import adapt_input_conv

    adapted = adapt_input_conv(1, tensors["conv_stem.weight"])
    assert torch.equal(grey.body.conv_stem.weight, adapted)


def test_a_model_file_of_ours_gives_its_averaged_weights_and_normalisation(tmp_path):
    trained = build_model("small", 3, 1, 1, mean=[0.1], std=[0.2]).eval()
    state = trained.state_dict()
    tensors = {f"ema.{k}": v for k, v in state.items()} | {f"raw.{k}": v * 0 for k, v in state.items()}
    path, model = written(tmp_path / "model.safetensors", tensors), build_model("small", 3, 1, 1).eval()
    (note,) = load_weights(model, path, "small")
    assert "normalisation" in note
    x = torch.rand(2, 1, 16, 16)
    assert torch.equal(model(x), trained(x))
    # raw weights are no others than asked for
    assert load_weights(build_model("small", 3, 1, 1, mean=[0.1], std=[0.2]), path, "small") == []


def test_older_files_do_not_count_batches_and_may_be_in_half_precision(tmp_path):
    tensors = {k: v for k, v in made(TINY, 5).items() if not k.endswith("num_batches_tracked")}
    half = {k: v.half() for k, v in tensors.items()}
    model = build_model(TINY, 5)
    assert load_weights(model, written(tmp_path / "w.safetensors", half), TINY) == []
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert same(model, {k: v.float() for k, v in half.items()})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(lambda t: t.pop("blocks.1.0.bn2.weight"), "it has no blocks.1.0.bn2.weight"),
     (lambda t: t.update(extra=torch.zeros(1)), "which has no extra"),
     (lambda t: t.update({"bn1.bias": torch.zeros(3)}), r"bn1.bias is \(3,\) in the file and \(\d+,\)"),
     (lambda t: t.update({"conv_stem.weight": torch.zeros(8, 2, 3, 3)}), "conv_stem.weight is")],
)  # fmt: skip
def test_the_first_key_that_does_not_fit_is_named_and_nothing_changes(tmp_path, spoil, said):
    tensors, model = made(TINY, 5), build_model(TINY, 5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    spoil(tensors)
    with pytest.raises(NsfastError, match=said) as caught:
        load_weights(model, written(tmp_path / "w.safetensors", tensors), TINY)
    assert "w.safetensors does not fit EfficientNet" in str(caught.value) and "\n" not in str(caught.value)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_another_network_is_refused(tmp_path):
    path = written(tmp_path / "w.safetensors", made("test_resnet", 5))
    with pytest.raises(NsfastError, match="does not fit EfficientNet"):
        load_weights(build_model(TINY, 5), path, TINY)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".pth.tar"])
def test_a_pickle_is_refused_unread(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    torch.save(made(TINY, 5), path)
    with pytest.raises(NsfastError, match="is a pickle.*convert it with safetensors"):
        load_weights(build_model(TINY, 5), path, TINY)


def test_a_missing_file_a_damaged_one_and_another_kind_are_named(tmp_path):
    model = build_model(TINY, 5)
    with pytest.raises(NsfastError, match=r"no weights at .*gone\.safetensors"):
        load_weights(model, tmp_path / "gone.safetensors", TINY)
    path = written(tmp_path / "w.safetensors", made(TINY, 5))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(NsfastError, match=r"w\.safetensors is damaged"):
        load_weights(model, path, TINY)
    with pytest.raises(NsfastError, match=r"'imagenet' are neither 'timm' nor a \.safetensors file"):
        load_weights(model, "imagenet", TINY)


def test_timms_weights_come_from_the_cache(cache):
    tensors = made(TINY)
    put(cache, "timm/test_efficientnet.r160_in1k", tensors)
    model = build_model(TINY, 1000)
    assert load_weights(model, "timm", TINY) == [] and same(model, tensors)


def test_without_cache_and_network_the_file_and_the_way_to_it_are_named():
    with pytest.raises(NsfastError) as caught:
        load_weights(build_model(TINY, 5), "timm", TINY)
    said = str(caught.value)
    assert "hf download timm/test_efficientnet.r160_in1k model.safetensors" in said and "\n" not in said


def test_the_released_weights_of_b5_fit_and_say_what_they_are(cache):
    tensors = made("tf_efficientnet_b5")
    put(cache, "timm/tf_efficientnet_b5.ns_jft_in1k", {k: v.half() for k, v in tensors.items()})
    model = build_model("efficientnet-b5", 10)
    fresh, note = load_weights(model, "timm", "efficientnet-b5")
    assert "'classifier' is fresh" in fresh and "130 million pseudo-labeled pictures" in note
    assert same(model, {k: v.half().float() for k, v in tensors.items() if not k.startswith("classifier")})


@pytest.mark.parametrize("named", ["in the architecture", "in the path"])
def test_the_released_weights_are_known_by_their_tag(tmp_path, named):
    tensors, architecture = made("tf_efficientnet_b0", 3), "tf_efficientnet_b0"
    path = tmp_path / "w.safetensors"
    if named == "in the path":
        (tmp_path / "tf_efficientnet_b0.ns_jft_in1k").mkdir()
        path = tmp_path / "tf_efficientnet_b0.ns_jft_in1k" / "model.safetensors"
    else:
        architecture += ".ns_jft_in1k"
    (note,) = load_weights(build_model(architecture, 3), written(path, tensors), architecture)
    assert "does not measure it" in note


def test_a_transformer_for_another_resolution_takes_its_positions_resized(tmp_path):
    name = "test_vit"
    path = written(tmp_path / "w.safetensors", made(name, 5))
    model = build_model(name, 5, pixels=64)
    assert load_weights(model, path, name) == []
    file = load_file(path)
    assert file["pos_embed"].shape[1] > model.body.pos_embed.shape[1]
    assert torch.equal(model.body.cls_token, file["cls_token"])


def test_torchvisions_keys_fit_torchvisions_networks(tmp_path):
    import torchvision

    torch.manual_seed(3)
    tensors = torchvision.models.squeezenet1_1(num_classes=9).state_dict()
    model = build_model("torchvision/squeezenet1_1", 4, 1)
    summed, fresh = load_weights(
        model, written(tmp_path / "w.safetensors", tensors), "torchvision/squeezenet1_1"
    )
    assert "features.0.weight is summed" in summed and "'classifier.1' is fresh" in fresh


def test_the_name_of_the_weights_is_the_released_ones_where_there_are():
    assert timm_weights_name("efficientnet-b5") == "tf_efficientnet_b5.ns_jft_in1k"
    assert timm_weights_name("efficientnet-l2") == "tf_efficientnet_l2.ns_jft_in1k"
    assert timm_weights_name("tf_efficientnet_b4.aa_in1k") == "tf_efficientnet_b4.aa_in1k"
    assert timm_weights_name("efficientnet-l0") is None and timm_weights_name("small") is None
    for architecture in ("efficientnet-l1", "small", "torchvision/resnet18"):
        with pytest.raises(NsfastError, match=f"timm has no weights for '{architecture}'"):
            load_weights(build_model("small", 2), "timm", architecture)
    with pytest.raises(NsfastError, match="did you mean 'tf_efficientnet_b4.ns_jft_in1k'"):
        build_model("tf_efficientnet_b4.ns_jft_1k", 2, pixels=32)


def test_statistics_are_those_the_weights_were_trained_with():
    imagenet = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert weights_statistics("efficientnet-b3") == weights_statistics("efficientnet-l0") == imagenet
    assert weights_statistics("small") == weights_statistics("torchvision/resnet18") == imagenet
    assert weights_statistics("vit_base_patch16_224") == ([0.5] * 3, [0.5] * 3)
    mean, std = weights_statistics("efficientnet-b3", channels=1)
    assert mean == pytest.approx([0.449]) and std == pytest.approx([0.226])
