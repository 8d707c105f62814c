"""RandAugment of batches: what is drawn has the right distribution, and happens to each picture as PIL would do it."""

import operator
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from sklearn.datasets import load_sample_image
from torch.utils._python_dispatch import TorchDispatchMode

from nsfast.errors import NsfastError
from nsfast.noise import RandAugment, RandAugmentItem, RandAugmentSettings, RandAugmentTransform, rand_augment
from nsfast.noise.items import apply_to_item
from nsfast.noise.operations import MOVES
from nsfast.noise.randaugment import apply


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def identical(count, channels=1, size=16):
    picture = torch.randint(256, (1, channels, size, size), dtype=torch.uint8, generator=seeded(9))
    return picture.repeat(count, 1, 1, 1)


def photographs(count, channels, height, width) -> torch.Tensor:
    """Crops of a photograph, uint8."""
    random, whole = np.random.default_rng(0), Image.fromarray(load_sample_image("china.jpg"))
    crops = []
    for _ in range(count):
        left, top = random.integers(0, 300), random.integers(0, 200)
        crop = whole.crop((left, top, left + 200, top + 200)).resize((width, height))
        crops.append(np.asarray(crop.convert("L" if channels == 1 else "RGB")))
    return torch.from_numpy(np.stack(crops)).view(count, height, width, channels).permute(0, 3, 1, 2)


def one_by_one(x: torch.Tensor, settings: RandAugmentSettings, draw) -> torch.Tensor:
    """PIL's outcome, picture by picture."""
    out = []
    for i, picture in enumerate(x.permute(0, 2, 3, 1).numpy()):
        image = Image.fromarray(picture.squeeze(-1) if x.shape[1] == 1 else picture)
        out.append(np.asarray(apply_to_item(image, draw, settings.grey, i)).reshape(picture.shape))
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("operations", ["paper", "all"])
def test_operations_are_drawn_evenly_and_independently_of_the_turn_and_of_the_neighbour(operations):
    settings = RandAugmentSettings(2, 9, operations=operations)
    first, second = settings.draw(40000, 32, 32, seeded()).which.numpy()
    count = len(settings.rows)
    for which in (first, second):
        assert stats.chisquare(np.bincount(which, minlength=count)).pvalue > 0.01
    for before, after in ((first, second), (first[:-1], first[1:])):
        table = np.bincount(before * count + after, minlength=count**2)
        assert stats.chisquare(table).pvalue > 0.01


@pytest.mark.parametrize("scale", ["official", "torchvision"])
def test_signs_are_balanced_for_every_signed_operation(scale):
    settings = RandAugmentSettings(1, 9, scale=scale)
    draw = settings.draw(40000, 32, 32, seeded(1))
    signed = 0
    for i, row in enumerate(settings.rows):
        values, counts = np.unique(draw.argument[draw.which == i].numpy(), return_counts=True)
        assert len(values) == 1 + row.signed
        if row.signed:
            signed += 1
            assert np.isclose(values[0] - row.middle, row.middle - values[1])
            assert stats.binomtest(int(counts[0]), int(counts.sum())).pvalue > 0.005
    assert signed == {"official": 5, "torchvision": 9}[scale]


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.5, 1.0])
def test_an_operation_is_applied_with_its_probability(probability):
    settings = RandAugmentSettings(1, 9, operations="paper,Cutout", probability=probability)
    which = settings.draw(20000, 32, 32, seeded(2)).which[0]
    applied = which[which < 15]
    if probability in (0, 1):
        assert len(applied) == 20000 * probability
    else:
        assert stats.binomtest(len(applied), 20000, probability).pvalue > 0.01
        assert stats.chisquare(np.bincount(applied, minlength=15)).pvalue > 0.01
    x = identical(1000)
    out = rand_augment(x, 1, 9, operations=("Invert",), probability=probability, generator=seeded(3))
    changed = int((out != x).flatten(1).any(1).sum())
    assert stats.binomtest(changed, 1000, probability).pvalue > 0.01
    assert torch.equal(torch.unique(out[(out != x).flatten(1).any(1)], dim=0), ~x[: min(1, changed)])


def test_the_magnitude_has_the_given_spread_and_stays_on_0_to_30():
    def magnitudes(m, std):
        settings = RandAugmentSettings(1, m, operations=("Rotate",), magnitude_std=std)
        return settings.draw(5000, 32, 32, seeded(4)).argument.abs().numpy().ravel() / 3

    assert np.allclose(magnitudes(9, 0), 9)
    assert stats.kstest(magnitudes(15, 2), stats.norm(15, 2).cdf).pvalue > 0.01
    for m, std in ((1, 2), (27, 4)):
        drawn = magnitudes(m, std)
        assert drawn.min() >= 0 and drawn.max() <= 30 + 1e-12
        for edge, beyond in ((0, stats.norm(m, std).cdf(0)), (30, stats.norm(m, std).sf(30))):
            at_edge = int(np.isclose(drawn, edge, atol=1e-9).sum())
            assert stats.binomtest(at_edge, 5000, beyond).pvalue > 0.01


def test_cutouts_have_their_centre_anywhere():
    centre = RandAugmentSettings(2, 9, operations="all").draw(5000, 32, 32, seeded(5)).centre.reshape(-1, 2)
    assert all(stats.kstest(centre[:, axis].numpy(), "uniform").pvalue > 0.01 for axis in (0, 1))
    assert abs(np.corrcoef(centre.T.numpy())[0, 1]) < 0.04


def test_a_generator_decides_everything_and_torch_s_own_one_by_default():
    x = identical(32)
    assert torch.equal(rand_augment(x, generator=seeded(1)), rand_augment(x, generator=seeded(1)))
    assert not torch.equal(rand_augment(x, generator=seeded(1)), rand_augment(x, generator=seeded(2)))
    torch.manual_seed(4)
    one = rand_augment(x)
    torch.manual_seed(4)
    assert torch.equal(one, rand_augment(x))
    state = torch.random.get_rng_state()
    rand_augment(x, operations="all", probability=0.5, magnitude_std=1, generator=seeded())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("m", [5, 9, 27])
@pytest.mark.parametrize("options", [{"operations": "all"}, {"operations": "all", "increasing": True},
                                     {"scale": "torchvision"}], ids=str)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_what_a_slow_loop_with_pil_gives(channels, options, m):
    settings = RandAugmentSettings(2, m, magnitude_std=1, probability=0.9, **options)
    noise = torch.randint(256, (60, channels, 28, 36), dtype=torch.uint8, generator=seeded(6))
    x = torch.cat([noise, photographs(60, channels, 28, 36)])
    draw = settings.draw(len(x), 28, 36, seeded(7))
    out, expected = apply(x, draw, settings.grey), one_by_one(x, settings, draw)
    assert out.dtype == torch.uint8 and out.shape == x.shape
    assert ((out.int() - expected.int()).abs() <= 1).float().mean() > 0.995


@pytest.mark.parametrize("size", [(8, 8), (13, 15), (224, 224)])
def test_without_moves_a_batch_is_the_slow_loop_s_to_a_level(size):
    settings = RandAugmentSettings(1, 27, operations=["all", *(f"-{name}" for name in MOVES)])
    x = photographs(48, 3, *size)
    draw = settings.draw(len(x), *size, seeded(8))
    difference = apply(x, draw, settings.grey).int() - one_by_one(x, settings, draw).int()
    assert len(settings.rows) == 11 and difference.abs().max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_identical_pictures_in_a_batch_get_different_outcomes(channels):
    out = rand_augment(identical(64, channels), generator=seeded())
    assert len(torch.unique(out.flatten(1), dim=0)) > 40


def test_pictures_keep_their_place_in_the_batch():
    """Sorted by operation for the work, they have to come back in their own order."""
    x = torch.arange(200, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    settings = RandAugmentSettings(3, 9, operations=("Invert", "Rotate", "Posterize", "TranslateX", "ShearY"))
    draw = settings.draw(200, 8, 8, seeded(1))
    bits = draw.argument[draw.which == 2].unique()
    expected = x[:, 0, 4, 4].numpy().copy()
    for which in draw.which.numpy():
        expected = np.where(which == 0, 255 - expected, expected)
        expected = np.where(which == 2, expected & (256 - 2 ** (8 - int(bits))), expected)
    assert (apply(x, draw, 0)[:, 0, 4, 4].numpy() == expected).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_come_out_as_the_whole_levels_that_uint8_gives(dtype):
    levels = photographs(40, 3, 16, 16)
    x = (levels.double() / 255).to(dtype)
    out = rand_augment(x, 2, 9, operations="all", generator=seeded())
    expected = rand_augment(levels, 2, 9, operations="all", generator=seeded())
    assert out.dtype == dtype and expected.dtype == torch.uint8
    if dtype == torch.bfloat16:  # its 8 bits do not hold every level, so it starts from other ones
        rounded = (x.float() * 255).round().to(torch.uint8)
        expected = rand_augment(rounded, 2, 9, operations="all", generator=seeded())
    assert torch.equal(out, expected.to(dtype) / 255) and out.min() >= 0 and out.max() <= 1


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_what_goes_in_is_left_alone_and_comes_out_in_its_shape(n, dtype):
    x = photographs(48, 3, 9, 13)
    x = x if dtype == torch.uint8 else x.to(dtype) / 255
    before = x.clone()
    out = rand_augment(x, n, 27, operations="all", generator=seeded())
    assert torch.equal(x, before) and out.shape == x.shape and out.dtype == x.dtype and out.device == x.device
    assert not torch.equal(out, x)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_zero_operations_and_empty_batches_are_the_identity_on_a_new_tensor(dtype):
    x = identical(4).to(dtype)
    out = rand_augment(x, 0)
    assert torch.equal(out, x) and out.data_ptr() != x.data_ptr()
    assert rand_augment(x[:0], 2, 9).shape == (0, 1, 16, 16)
    assert rand_augment(x[:0], 2, 9).dtype == dtype


def test_pixels_from_outside_have_the_fill_value_or_the_scale_s_own():
    def gone(**options):  # 100 pixels to the side: nothing of the picture is left
        return rand_augment(identical(8, 3, 64), 1, 10, operations=("TranslateX",), **options)

    for fill, level in ((0.0, 0), (0.5, 128), (1.0, 255), (None, 128)):
        assert (gone(fill=fill) == level).all()
    moved = rand_augment(identical(8, 3, 64) | 1, 1, 30, operations=("TranslateY",), scale="torchvision")
    assert ((moved == 0).all(1).all(2).sum(1) == 29).all()  # floor(64 * 150 / 331) rows


@pytest.mark.parametrize(
    ("options", "said"),
    [({"n": -1}, "randaugment_n is -1; it must be between 0 and 16"), ({"m": 31}, "randaugment_m is 31"),
     ({"fill": 1.5}, "randaugment_fill is 1.5"), ({"probability": 2}, "randaugment_probability is 2"),
     ({"magnitude_std": -1}, "randaugment_magnitude_std is -1"), ({"scale": "offical"}, "did you mean 'official'?"),
     ({"operations": ("Rotat",)}, "unknown operation 'Rotat' of scale 'official'; did you mean 'Rotate'?")],
)  # fmt: skip
def test_wrong_settings_are_named_before_any_training(options, said):
    for make in (RandAugmentSettings, RandAugment, RandAugmentTransform, RandAugmentItem):
        with pytest.raises(NsfastError, match=re.escape(said)):
            make(**options)
    with pytest.raises(NsfastError, match=re.escape(said)):
        rand_augment(identical(1), **options)


@pytest.mark.parametrize(
    "x", [torch.zeros(2, 2, 8, 8), torch.zeros(2, 4, 8, 8), torch.zeros(3, 8, 8), torch.zeros(2, 3, 8, 8).long(),
          torch.zeros(2, 1, 8, 8, dtype=torch.bool)], ids=lambda x: f"{x.dtype} {tuple(x.shape)}",
)  # fmt: skip
def test_what_is_no_batch_of_pictures_is_refused(x):
    with pytest.raises(NsfastError, match=re.escape(f"RandAugment got {x.dtype} of shape {tuple(x.shape)}")):
        rand_augment(x)


def test_a_generator_of_another_device_is_refused():
    elsewhere = SimpleNamespace(device=torch.device("cuda:0"))
    with pytest.raises(NsfastError, match="the generator is on cuda:0; give a torch.Generator of the CPU"):
        rand_augment(identical(2), generator=elsewhere)


def test_a_compiled_function_that_calls_it_gives_the_same_and_leaves_it_out_of_its_graphs():
    compiled_calls = set()

    def backend(graph, inputs):
        compiled_calls.update(node.target for node in graph.graph.nodes if node.op.startswith("call_"))
        return graph.forward

    def noised(x, seed):
        return rand_augment(x + 0, generator=seed) * 2

    x, compiled = identical(16) / 255, torch.compile(noised, backend=backend)
    for seed in (1, 2):
        assert torch.equal(compiled(x, seeded(seed)), noised(x, seeded(seed)))
    assert compiled_calls == {operator.add, operator.mul}


class Copies(TorchDispatchMode):
    """Notes for every copy to the meta device whether the host would go on at once."""

    def __init__(self):
        super().__init__()
        self.at_once = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._to_copy.default and str(kwargs.get("device")) == "meta":
            self.at_once.append(kwargs.get("non_blocking", False))
        return function(*args, **kwargs or {})


def test_the_host_needs_nothing_that_the_device_knows_and_waits_for_no_copy():
    """The meta device has no contents: it refuses what would make the host wait for a result."""
    settings = RandAugmentSettings(2, 9, operations="all")
    draw = settings.draw(200, 16, 16, seeded())
    with Copies() as copies:
        out = apply(torch.empty(200, 3, 16, 16, dtype=torch.uint8, device="meta"), draw, settings.grey)
    assert out.shape == (200, 3, 16, 16) and len(copies.at_once) > 4 and all(copies.at_once)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", [{"operations": "all"}, {"scale": "torchvision"}], ids=str)
def test_a_gpu_gives_what_the_cpu_gives_and_the_host_never_waits(options, channels):
    settings = RandAugmentSettings(2, 9, **options)
    x = photographs(96, channels, 32, 32)
    draw, on_gpu = settings.draw(96, 32, 32, seeded()), x.cuda()
    apply(on_gpu, draw, settings.grey)  # what is set up once may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        out = apply(on_gpu, draw, settings.grey)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert ((out.cpu().int() - apply(x, draw, settings.grey).int()).abs() <= 1).float().mean() > 0.999
    assert torch.equal(rand_augment(on_gpu, settings=settings, generator=seeded()), out)
