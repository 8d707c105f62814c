"""The probe of this machine."""

import pytest
import torch

from nsfast.errors import NsfastError
from nsfast.pipeline.cost import probe
from nsfast.pipeline.cost.footprint import state_bytes
from nsfast.pipeline.cost.probe import Probe
from nsfast.pipeline.cost.work import NetworkAt
from nsfast.training import Recipe

SMALL = NetworkAt("small", 1, 3, 1, 8)


def test_the_probe_measures_what_it_is_asked_once_and_leaves_the_random_numbers_as_they_were(work):
    machine, fit = Probe(seconds=0.1, batch=8), work(Recipe(size=1, batch=4, ratio=2, crop="inception"))
    state = torch.get_rng_state()
    step = machine.step(fit)
    assert step > machine.look(SMALL) > 0 and machine.epoch_end(fit) >= 0
    assert (
        machine.step(work(Recipe(size=1, batch=8, accumulate=2, ratio=2, crop="inception", seed=3)))
        == 2 * step
    )
    assert machine.step(work(Recipe(size=1, batch=8, ratio=2), processes=2)) == step
    assert torch.equal(state, torch.get_rng_state())
    assert sum(source.startswith("training") for source in machine.sources) == 1


def test_the_probe_takes_a_smaller_part_when_memory_runs_out(monkeypatch, work):
    tried, fit = [], probe._time_fit

    def short(learner, recipe, steps, device):
        tried.append(learner.dls.train.bs)
        if learner.dls.train.bs > 6:
            raise torch.OutOfMemoryError
        return fit(learner, recipe, 2, device)

    monkeypatch.setattr(probe, "_time_fit", short)
    machine = Probe(seconds=2, batch=8)
    assert machine.step(work(Recipe(size=1, batch=8, ratio=2))) > 0
    assert tried == [24, 12, 6, 6] and any("(the run: 24)" in source for source in machine.sources)


def test_the_probe_refuses_what_is_too_large_and_says_how_else():
    giant = NetworkAt("resnet50", 1, 1000, 3, 2000)
    with pytest.raises(NsfastError, match="too large to be tried.*--gpu: RTX 3090"):
        Probe(device=torch.device("cpu")).look(giant)
    assert state_bytes(giant) > 4 * 25.5e6


def test_the_minute_is_shared_and_what_it_leaves_no_time_for_is_reckoned(monkeypatch, work):
    clock = [0.0]
    monkeypatch.setattr(probe.time, "perf_counter", lambda: clock[0])
    machine, fit = Probe(seconds=0.1, batch=8), work(Recipe(size=1, batch=4, ratio=2))
    machine._looks[SMALL, False] = 0.01
    assert machine._left() == probe.LONGEST
    monkeypatch.setattr(probe, "_time_fit", lambda *_: (7.0, 0.0))
    assert machine.step(fit) > 1
    clock[0] = probe.LONGEST + 1
    late = work(Recipe(size=1, batch=4, ratio=1))
    assert machine.step(late) == pytest.approx(3 * 0.01 * 2 * 4)
    assert [source for source in machine.sources if "3 forward passes" in source]
