"""Losses over all ranks: two processes give what one gives with the whole batch."""

from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from noldo.method.objective import CrossModal, CrossModalLoss, cross_modal_loss
from noldo.method.reduction import ONE_RANK, AllRanks, OneRank, Ranks, weighted_mean
from noldo.method.robust_losses import PixelMean, dfc2025_compat_sce, generalised_cross_entropy
from noldo.method.selection import Selection
from noldo.method.smoothing import Smoothing
from noldo.models.fusion import MiddleFusion

torch.set_num_threads(1)

NUM_RANKS = 2
SETTINGS = {
    "published": CrossModal(),
    "plain": CrossModal().plain(),
    "mse": CrossModal(consistency="mse", smoothing=None, selection=Selection(confidence="gini")),
    "uniform": CrossModal(consistency="kl", smoothing=Smoothing(prior=0, uniform=0.1)),
    "robust": CrossModal(smoothing=None, label_loss=PixelMean(generalised_cross_entropy)),
    "released": CrossModal(smoothing=None, selection=None, label_loss=dfc2025_compat_sce, with_dice=False),
}
TERMS = ("loss", "seg_s1", "seg_s2", "con_s1", "con_s2", "num_labelled")


def whole_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Four samples of which the first two have other classes, other confidence and fewer labels than the last two."""
    random = torch.Generator().manual_seed(11)
    logits = [torch.randn(4, 5, 8, 8, generator=random) for _ in range(2)]
    for one in logits:
        one[:2] *= 5
    labels = torch.randint(0, 4, (4, 8, 8), generator=random).to(torch.uint8)
    labels[:2] += 1
    labels[0, :6] = 255
    prior = torch.randn(4, 5, 8, 8, generator=random).softmax(1)
    return logits[0], logits[1], labels, prior


def losses_and_gradients(
    part: slice, ranks: Ranks, how: CrossModal
) -> tuple[CrossModalLoss, torch.Tensor, torch.Tensor]:
    s1, s2, labels, prior = (one[part] for one in whole_batch())
    s1.requires_grad_()
    s2.requires_grad_()
    found = cross_modal_loss(s1, s2, labels, settings=how, epoch=60, prior_NCHW=prior, ranks=ranks)
    found.loss.backward()
    assert s1.grad is not None
    assert s2.grad is not None
    return found, s1.grad, s2.grad


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=NUM_RANKS
    )
    part = slice(2 * rank, 2 * rank + 2)
    results = {}
    for name, how in SETTINGS.items():
        for over, ranks in (("all", AllRanks()), ("one", OneRank())):
            found, *gradients = losses_and_gradients(part, ranks, how)
            terms = {term: getattr(found, term).item() for term in TERMS}
            results[name, over] = (terms, found.weights.label_s1, gradients)
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(work, args=(str(folder),), nprocs=NUM_RANKS)
    return [torch.load(Path(folder, f"{rank}.pt")) for rank in range(NUM_RANKS)]


@pytest.mark.parametrize("name", SETTINGS)
def test_over_all_ranks_every_rank_has_the_loss_of_the_whole_batch(name: str, of_ranks: list[dict]) -> None:
    expected, *_ = losses_and_gradients(slice(None), ONE_RANK, SETTINGS[name])
    for one in of_ranks:
        terms, *_ = one[name, "all"]
        assert terms == pytest.approx({term: getattr(expected, term).item() for term in TERMS}, rel=1e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_over_all_ranks_averaged_gradients_are_those_of_one_process(name: str, of_ranks: list[dict]) -> None:
    """A rank's gradient is `NUM_RANKS` times that of the whole batch, which DistributedDataParallel divides away."""
    found, *expected = losses_and_gradients(slice(None), ONE_RANK, SETTINGS[name])
    for rank, one in enumerate(of_ranks):
        part = slice(2 * rank, 2 * rank + 2)
        _, label_weight, gradients = one[name, "all"]
        assert torch.equal(label_weight, found.weights.label_s1[part])
        for gradient, of_whole in zip(gradients, expected, strict=True):
            atol = 1e-5 * of_whole.abs().max().item()
            assert torch.allclose(gradient / NUM_RANKS, of_whole[part], rtol=0, atol=atol)


@pytest.mark.parametrize("name", SETTINGS)
def test_over_one_rank_other_processes_play_no_part(name: str, of_ranks: list[dict]) -> None:
    for rank, one in enumerate(of_ranks):
        expected, *gradients = losses_and_gradients(slice(2 * rank, 2 * rank + 2), ONE_RANK, SETTINGS[name])
        terms, _, found = one[name, "one"]
        assert terms == {term: getattr(expected, term).item() for term in TERMS}
        assert all(torch.equal(*pair) for pair in zip(found, gradients, strict=True))


def test_the_two_ways_differ_where_ranks_differ(of_ranks: list[dict]) -> None:
    (first, *_), (second, *_), (whole, *_) = (
        of_ranks[0]["published", "one"],
        of_ranks[1]["published", "one"],
        of_ranks[0]["published", "all"],
    )
    assert abs((first["loss"] + second["loss"]) / 2 - whole["loss"]) > 1e-2


def test_a_weighted_mean_without_weight_is_zero() -> None:
    values = torch.tensor([3.0, 5.0], requires_grad=True)
    assert weighted_mean(values, torch.tensor([1.0, 3.0])).item() == 4.5
    nothing = weighted_mean(values, torch.zeros(2))
    nothing.backward()
    assert nothing.item() == 0
    assert values.grad is not None
    assert values.grad.tolist() == [0, 0]


# ---- a whole network ------------------------------------------------------------------------------------------


def network_and_images() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """Middle fusion with BatchNorm in evaluation mode, where a rank's statistics play no part."""
    torch.manual_seed(3)
    network = MiddleFusion(encoder="tu-mobilenetv3_small_050", s1_bands=2, s2_bands=3, num_classes=5).eval()
    return network, torch.rand(4, 2, 64, 64), torch.rand(4, 3, 64, 64)


def gradients_of(network: torch.nn.Module, part: slice, ranks: Ranks) -> tuple[float, list[torch.Tensor]]:
    _, s1, s2 = network_and_images()
    labels = torch.randint(0, 5, (4, 64, 64), generator=torch.Generator().manual_seed(5)).to(torch.uint8)
    settings = CrossModal(smoothing=Smoothing(prior=0, uniform=0.1))
    found = cross_modal_loss(
        *network(s1[part], s2[part]), labels[part], settings=settings, epoch=60, ranks=ranks
    )
    found.loss.backward()
    return found.loss.item(), [one.grad for one in network.parameters() if one.grad is not None]


def work_on_network(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=NUM_RANKS
    )
    network = DistributedDataParallel(network_and_images()[0])
    result = gradients_of(network, slice(2 * rank, 2 * rank + 2), AllRanks())
    torch.save(result, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_a_whole_network_on_two_ranks_has_the_loss_and_gradients_of_one_process(tmp_path: Path) -> None:
    multiprocessing.spawn(work_on_network, args=(str(tmp_path),), nprocs=NUM_RANKS)
    loss, expected = gradients_of(network_and_images()[0], slice(None), ONE_RANK)
    for rank in range(NUM_RANKS):
        found_loss, found = torch.load(tmp_path / f"{rank}.pt")
        assert found_loss == pytest.approx(loss, rel=1e-5)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()) + 1e-9)
