"""Random streams derived by name from one seed, so that no step depends on how much randomness another one drew."""

from __future__ import annotations

import hashlib


def stream_seed(seed: int, *names: object) -> int:
    """Return a 63-bit seed that depends on `seed` and every name, the same on every machine and Python.

    >>> stream_seed(0, "train", 3) != stream_seed(0, "train", 4)
    True
    """
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_stream(seed: int, *names: object):
    """Return a `numpy.random.Generator` for the named stream."""
    import numpy as np

    return np.random.default_rng(stream_seed(seed, *names))


def seed_everything(seed: int, *names: object) -> None:
    """Seed Python's, numpy's and torch's (every device) global generators with the named stream."""
    import random

    import numpy as np
    import torch

    value = stream_seed(seed, *names)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def hash_order(ids, seed: int, *names: object):
    """Return for every id a uint64 that orders the ids at random, whatever order they come in.

    Args:
        ids: sequence of n strings.
        seed, names: the stream.
    """
    import numpy as np

    prefix = f"{stream_seed(seed, *names)}\x1f".encode()
    digests = (hashlib.blake2b(prefix + str(i).encode(), digest_size=8).digest() for i in ids)
    return np.fromiter((int.from_bytes(d, "big") for d in digests), dtype=np.uint64, count=len(ids))


def integer_hash(ids, seed: int, *names: object):
    """Return for every integer id a uint64 that orders the ids at random, whatever order they come in.

    Of different ids they are different: it is the output number `id` of splitmix64 whose state begins at the stream's
    seed (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).

    Args:
        ids: (n,) int64 or uint64.
        seed, names: the stream.
    """
    return _splitmix64(ids, stream_seed(seed, *names))


def _splitmix64(numbers, state: int):
    """The outputs of these numbers (0 for the first) of splitmix64 begun at `state`."""
    import numpy as np

    z = numbers.astype(np.uint64)
    z += np.uint64(1)
    z *= np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(state)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    return z
