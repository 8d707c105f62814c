"""The state of all random generators, taken and put back."""

import json
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from nsfast.training.random_state import random_states, restore_random_states


def draws() -> list:
    return [
        random.random(),
        random.gauss(0, 1),
        *np.random.rand(3).tolist(),
        np.random.standard_normal(),
        *torch.randn(3).tolist(),
        *torch.randperm(50).tolist(),
    ]


@pytest.fixture(autouse=True)
def as_before():
    states = random_states()
    yield
    restore_random_states(states)


@pytest.mark.parametrize("gauss", [0, 1, 2])
def test_put_back_every_generator_draws_the_same_again(gauss):
    """Python and numpy keep the second of two normal draws: with it and without."""
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    for _ in range(gauss):
        random.gauss(0, 1), np.random.standard_normal()
    states = random_states()
    first = draws()
    assert draws() != first
    restore_random_states(states)
    assert draws() == first


def test_nothing_is_drawn_or_seeded_by_taking_the_state():
    torch.manual_seed(3), random.seed(1), np.random.seed(2)
    expected = draws()
    torch.manual_seed(3), random.seed(1), np.random.seed(2)
    random_states()
    assert draws() == expected


def test_the_states_come_back_from_a_safetensors_file_and_leave_the_generators_alone_meanwhile():
    states = load(save(random_states()))
    assert all(isinstance(value, torch.Tensor) for value in states.values())
    first = draws()
    restore_random_states(states)
    assert draws() == first


def test_the_states_are_plain_numbers_that_json_would_keep_too():
    """Python's words have 32 bits and numpy's cached normal 64: none is rounded."""
    random.seed(5), np.random.seed(6)
    random.gauss(0, 1), np.random.standard_normal()
    states = random_states()
    version, words, gauss = random.getstate()
    assert json.loads(json.dumps(states["python"].tolist())) == [version, *words]
    assert states["python_gauss"].item() == gauss and states["numpy_gauss"].item() == np.random.get_state()[4]


def test_a_gpu_s_state_is_left_out_on_a_machine_without_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    states = random_states()
    assert "cuda" not in states
    first = draws()
    restore_random_states({**states, "cuda": torch.zeros(16, dtype=torch.uint8)})
    assert draws() == first


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_s_generator_is_put_back_too():
    states = random_states()
    first = torch.rand(5, device="cuda")
    restore_random_states(states)
    assert torch.equal(torch.rand(5, device="cuda"), first)
