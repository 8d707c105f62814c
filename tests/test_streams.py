"""Named streams: the same everywhere, independent of each other and of the order of the ids."""

import hashlib
import random
import subprocess
import sys

import numpy as np
import torch

from nsfast import streams
from nsfast.streams import hash_order, integer_hash, numpy_stream, seed_everything, stream_seed


def test_a_stream_seed_is_the_documented_hash_and_fits_63_bits():
    for seed, names in ((0, ()), (3, ("train", 4)), (-1, ("ü",))):
        digest = hashlib.sha256("\x1f".join([str(seed), *map(str, names)]).encode()).hexdigest()
        assert stream_seed(seed, *names) == int(digest[:16], 16) // 2 < 2**63


def test_a_stream_seed_is_the_same_in_another_process():
    code = "from nsfast.streams import stream_seed; print(stream_seed(5, 'epoch', 2))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(said) == stream_seed(5, "epoch", 2)


def test_streams_differ_by_seed_and_by_every_name():
    seeds = [
        stream_seed(s, *names) for s in (0, 1, 11) for names in ((), ("a",), ("a", 1), ("a1",), (1, "a"))
    ]
    assert len(set(seeds)) == len(seeds)


def test_a_numpy_stream_starts_anew_each_time():
    assert (numpy_stream(1, "x").random(5) == numpy_stream(1, "x").random(5)).all()
    assert (numpy_stream(1, "x").random(5) != numpy_stream(1, "y").random(5)).all()


def test_seed_everything_seeds_python_numpy_and_torch():
    def draw():
        return random.random(), np.random.random(), torch.rand(1).item()

    seed_everything(0, "a")
    first = draw()
    seed_everything(0, "a")
    assert draw() == first
    seed_everything(0, "b")
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_hash_order_belongs_to_the_id_not_to_its_place():
    ids = np.array([f"picture/{i}.png" for i in range(500)])
    order = hash_order(ids, 3, "x")
    shuffle = np.random.default_rng(0).permutation(500)
    assert (hash_order(ids[shuffle], 3, "x") == order[shuffle]).all()
    assert order.dtype == np.uint64 and len(np.unique(order)) == 500


def test_hash_order_is_uniform_and_independent_between_streams():
    ids = [str(i) for i in range(4000)]
    one, two = (hash_order(ids, 0, name) / 2.0**64 for name in "ab")
    assert abs(one.mean() - 0.5) < 0.02 and abs(np.corrcoef(one, two)[0, 1]) < 0.06
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.06


def test_hash_order_of_nothing_is_empty():
    assert hash_order([], 0).shape == (0,)


def test_an_integer_hash_is_the_output_of_splitmix64():
    """The outputs of the reference implementation (prng.di.unimi.it/splitmix64.c) begun at 1234567, and at 0."""
    known = {
        1234567: [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431,
                  16408922859458223821],
        0: [16294208416658607535, 7960286522194355700, 487617019471545679],
    }  # fmt: skip
    for state, outputs in known.items():
        assert streams._splitmix64(np.arange(len(outputs)), state).tolist() == outputs
    ids = np.array([0, 7, 2**40, 2**62])
    expected = streams._splitmix64(ids, stream_seed(3, "x", 1))
    assert (integer_hash(ids, 3, "x", 1) == expected).all() and expected.dtype == np.uint64
    assert ids.tolist() == [0, 7, 2**40, 2**62] and integer_hash(ids[:0], 0).shape == (0,)


def test_an_integer_hash_belongs_to_the_id_and_no_two_ids_share_one():
    ids = np.concatenate([np.arange(100_000), np.arange(10**12, 10**12 + 100_000)])
    found = integer_hash(ids, 0, "x")
    assert len(np.unique(found)) == len(ids)
    shuffle = np.random.default_rng(0).permutation(len(ids))
    assert (integer_hash(ids[shuffle], 0, "x") == found[shuffle]).all()


def test_an_integer_hash_is_uniform_and_independent_between_streams_and_neighbours():
    n = 1 << 16
    for start in (0, 10**9):
        one, two = (integer_hash(np.arange(start, start + n), 0, name) for name in "ab")
        share = one / 2.0**64
        for shift in (
            0,
            28,
            56,
        ):  # chi-square of the lowest, a middle and the highest byte: 255 within 5 deviations
            count = np.bincount(((one >> np.uint64(shift)) & np.uint64(255)).astype(int), minlength=256)
            assert abs(((count - n / 256) ** 2).sum() / (n / 256) - 255) < 5 * np.sqrt(2 * 255)
        assert abs(np.corrcoef(share, two / 2.0**64)[0, 1]) < 5 / np.sqrt(n)
        assert abs(np.corrcoef(share[:-1], share[1:])[0, 1]) < 5 / np.sqrt(n)
