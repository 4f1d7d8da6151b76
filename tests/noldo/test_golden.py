"""Our method and networks against numbers of the authors' published code (`golden/README.md`)."""

from typing import Any

import numpy as np
import pytest
import torch

from noldo.method.confidence import ConfidenceKind
from noldo.method.objective import CrossModal, CrossModalLoss, cross_modal_loss
from noldo.method.selection import Selection
from noldo.method.smoothing import Smoothing, label_prior
from noldo.models.frameworks import segmentation_network
from noldo.models.fusion import fusion_network
from noldo.scores import scores_of
from tests.noldo.golden_numbers import array, facts, keyed

# ---- the method: losses, weights, gradients, priors, scores ----------------------------------------------------

CASES = range(len(facts()["cases"]))
TERMS = ("loss", "seg_s1", "seg_s2", "con_s1", "con_s2")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def case_of(number: int) -> dict[str, Any]:
    return facts()["cases"][number]


def case_settings(case: dict[str, Any]) -> CrossModal:
    confidence: ConfidenceKind = case["confidence"]
    return CrossModal(
        consistency=case["consistency"],
        smoothing=Smoothing(prior=0.15, uniform=0.05) if case["smoothing"] else None,
        selection=Selection(share=0.5, confidence=confidence) if case["selection"] else None,
    )


def case_tensor(number: int, name: str) -> torch.Tensor:
    return torch.from_numpy(array(f"case{number}_{name}"))


def case_loss(number: int, logits: list[torch.Tensor]) -> CrossModalLoss:
    case = case_of(number)
    return cross_modal_loss(
        *logits,
        case_tensor(number, "labels"),
        settings=case_settings(case),
        epoch=case["epoch"],
        prior_NCHW=case_tensor(number, "prior") if case["smoothing"] else None,
    )


def case_logits(number: int) -> list[torch.Tensor]:
    return [case_tensor(number, f"logits_{one}").requires_grad_() for one in ("s1", "s2")]


@pytest.mark.parametrize("number", CASES)
def test_the_loss_and_its_terms_are_the_published_ones(number: int) -> None:
    found = case_loss(number, case_logits(number))
    for term in TERMS:
        assert getattr(found, term).item() == pytest.approx(case_of(number)[term], rel=1e-5), term


@pytest.mark.parametrize("number", CASES)
def test_the_weights_of_pixels_are_the_published_ones(number: int) -> None:
    weights = case_loss(number, case_logits(number)).weights
    for name, golden in (("label", "label_weight"), ("consistency", "consistency_weight")):
        for modality in ("s1", "s2"):
            found = getattr(weights, f"{name}_{modality}").numpy()
            if case_of(number)["selection"]:
                np.testing.assert_allclose(
                    found, array(f"case{number}_{golden}_{modality}"), rtol=0, atol=1e-5
                )
            else:
                assert (found == 1).all()


@pytest.mark.parametrize("number", CASES)
def test_the_gradients_are_the_published_ones(number: int) -> None:
    logits = case_logits(number)
    case_loss(number, logits).loss.backward()
    for modality, found in zip(("s1", "s2"), logits, strict=True):
        expected = array(f"case{number}_grad_{modality}")
        assert found.grad is not None
        np.testing.assert_allclose(found.grad, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("kind", "golden"), [("t", "temporal"), ("s", "spatial"), ("ts", "both")])
def test_the_prior_is_the_published_one(kind: Any, golden: str) -> None:
    expected = array(f"prior_{golden}")
    labels, season = torch.from_numpy(array("prior_labels")), torch.from_numpy(array("prior_season"))
    found = label_prior(labels[None], season.reshape(1).to(torch.int64), num_classes=len(expected), kind=kind)
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-6)


def test_the_scores_are_the_published_ones() -> None:
    expected = facts()["metrics"]
    predicted = array("metric_logits").argmax(1)
    num_classes = array("metric_logits").shape[1]
    pairs = array("metric_labels").astype(np.int64) * num_classes + predicted
    found = scores_of(
        np.bincount(pairs.ravel(), minlength=num_classes**2).reshape(num_classes, -1), absent="one"
    )
    for name, golden in (("iou", "iou"), ("f1", "f1"), ("precision", "precise"), ("recall", "recall")):
        measured = [*getattr(found, name), getattr(found, f"mean_{name}")]
        assert measured == pytest.approx(expected[golden], rel=1e-6), name
    assert found.overall_accuracy == pytest.approx(expected["oa"], rel=1e-6)


# ---- end of the method -----------------------------------------------------------------------------------------

# ---- networks: names and shapes of weights, outputs with keyed weights ------------------------------------------

SIZES = {"encoder": "resnet50", "s1_bands": 2, "s2_bands": 13, "num_classes": 9}
TRANSFER_CLASSES = {"pspnet": 8, "deeplabv3plus": 9, "fpn": 13}


def keyed_network(name: str) -> torch.nn.Module:
    """A network of ours, filled by the names that the golden numbers know."""
    if name in ("mid", "late"):
        network, prefix = fusion_network("middle" if name == "mid" else "late", **SIZES), "net."
    else:
        network, prefix = (
            segmentation_network(
                name, encoder="resnet50", num_bands=13, num_classes=TRANSFER_CLASSES[name], compat=True
            ),
            "",
        )
    own = {key: list(value.shape) for key, value in network.state_dict().items()}
    published = facts()["state_dicts"][name]
    assert own == {key.removeprefix(prefix): shape for key, shape in published}
    filled = {
        key.removeprefix(prefix): torch.from_numpy(keyed(key, tuple(shape))) for key, shape in published
    }
    with torch.no_grad():
        for key, value in network.state_dict().items():
            value.copy_(filled[key])
    return network.eval()


def assert_same_output(found: torch.Tensor, golden: str) -> None:
    expected = array(golden)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("name", [one for one in ("mid", "late") if one in facts()["state_dicts"]])
def test_networks_of_two_modalities_have_the_published_names_and_outputs(name: str) -> None:
    network = keyed_network(name)
    with torch.no_grad():
        s1, s2 = network(torch.from_numpy(array("net_x_s1")), torch.from_numpy(array("net_x_s2")))
    assert_same_output(s1, f"net_{name}_s1")
    assert_same_output(s2, f"net_{name}_s2")


@pytest.mark.parametrize("name", [one for one in TRANSFER_CLASSES if one in facts()["state_dicts"]])
def test_networks_of_transfer_have_the_published_names_and_outputs(name: str) -> None:
    with torch.no_grad():
        found = keyed_network(name)(torch.from_numpy(array("net_x_s2")))
    assert_same_output(found, f"transfer_{name}")


# ---- end of the networks ----------------------------------------------------------------------------------------
