import time

import pytest
import torch

from noldo.ring_loader import RingLoader
from noldo.training.prefetch import Prefetch, on_device

CPU = torch.device("cpu")
with_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Numbers:
    """Sample i holds i, at the size that copies take a while for."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> dict[str, object]:
        return {"pixels": torch.full((64, 64, 16), index, dtype=torch.int16), "id": index}


def ring() -> RingLoader:
    batches = [list(range(start, start + 4)) for start in range(0, 24, 4)]
    return RingLoader(Numbers(), batches=batches, batch_size=4, num_slots=3)


def test_on_a_cpu_batches_are_handed_on_as_they_are_and_in_order():
    given = [{"pixels": torch.full((2,), one), "id": torch.tensor([one])} for one in range(5)]
    found = list(Prefetch(CPU).batches(given))
    for (host, moved), batch in zip(found, given, strict=True):
        assert host is batch
        assert moved["pixels"] is batch["pixels"]
        assert moved["id"] is batch["id"]


def test_ids_stay_on_the_host_in_batches_within_a_batch_too():
    meta = torch.device("meta")
    batch = {"id": torch.arange(2), "x": torch.ones(2), "target": {"id": torch.arange(2), "x": torch.ones(2)}}
    moved = on_device(batch, meta)
    assert moved["x"].device == moved["target"]["x"].device == meta
    assert moved["id"].device == moved["target"]["id"].device == CPU


def test_batches_of_a_ring_are_whole_while_they_are_worked_on():
    loader, prefetch = ring(), Prefetch(CPU)
    for _ in range(2):
        for number, (host, moved) in enumerate(prefetch.batches(loader)):
            assert host["id"].tolist() == list(range(4 * number, 4 * number + 4))
            assert (moved["pixels"][:, 0, 0, 0] == host["id"]).all()
    loader.close()


def test_the_share_of_time_that_batches_are_waited_for_is_told():
    def slow():
        for one in range(3):
            time.sleep(0.05)
            yield {"id": torch.tensor([one])}

    prefetch = Prefetch(CPU)
    prefetch.start_counting()
    for _ in prefetch.batches(slow()):
        time.sleep(0.01)
    assert prefetch.waited_s >= 0.15
    assert 0 < prefetch.share_waited() < 1
    prefetch.start_counting()
    assert prefetch.waited_s == 0


@with_gpu
def test_on_a_gpu_slots_are_not_filled_anew_before_they_are_copied_nor_memory_reused_before_it_is_read():
    device, sums = torch.device("cuda"), []
    prefetch = Prefetch(device)
    work = torch.randn(4096, 4096, device=device)
    loader = ring()
    for _ in range(4):
        for host, moved in prefetch.batches(loader):
            assert host["id"].device == CPU
            for _ in range(4):
                work = (work @ work).clamp(-1, 1)  # the host is ahead
            sums.append(moved["pixels"].float().mean(dim=(1, 2, 3)))
    found = torch.cat(sums).cpu()
    assert torch.equal(found, torch.arange(24.0).repeat(4))
    loader.close()
