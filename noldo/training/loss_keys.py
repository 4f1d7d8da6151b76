"""What a recipe may say of the loss of labels: a name, and the parameters that this loss has.

Defaults are the published ones; formulas and sources are in `noldo.method.robust_losses`.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from noldo.frozen import Frozen


class CrossEntropy(Frozen):
    """Cross-entropy: the published recipe."""

    takes_soft_targets: ClassVar[bool] = True
    name: Literal["ce"] = "ce"


class Symmetric(Frozen):
    """Symmetric cross-entropy, alpha CE + beta RCE; alpha 0: a scaled mean absolute error."""

    takes_soft_targets: ClassVar[bool] = True
    name: Literal["sce"] = "sce"
    alpha: float = Field(default=0.1, ge=0, description="Of the cross-entropy; CIFAR-100: 6.")
    beta: float = Field(default=1.0, ge=0, description="Of the reverse cross-entropy; CIFAR-100: 0.1.")
    log_zero: float = Field(default=-9.210340371976182, lt=0, description="A, in place of log 0: ln 1e-4.")


class CompatSymmetric(Frozen):
    """What the released code of the DFC2025 winner has for it: three times the cross-entropy, over all pixels."""

    takes_soft_targets: ClassVar[bool] = False
    name: Literal["sce_compat"] = "sce_compat"
    alpha: float = Field(default=1.0, ge=0, description="Of its first term.")
    beta: float = Field(default=2.0, ge=0, description="Of its second term.")


class Generalised(Frozen):
    """Generalised cross-entropy, (1 - p^q) / q."""

    takes_soft_targets: ClassVar[bool] = False
    name: Literal["gce"] = "gce"
    q: float = Field(default=0.7, gt=0, le=1, description="Towards 0: cross-entropy; 1: mean absolute error.")


class NormalisedAndReverse(Frozen):
    """Active passive loss, alpha NCE + beta RCE."""

    takes_soft_targets: ClassVar[bool] = False
    name: Literal["nce_rce"] = "nce_rce"
    alpha: float = Field(
        default=1.0, ge=0, description="Of the normalised cross-entropy; MNIST: 1, CIFAR-100: 10."
    )
    beta: float = Field(
        default=1.0, ge=0, description="Of the reverse cross-entropy; MNIST: 10, CIFAR-100: 0.1."
    )
    log_zero: float = Field(default=-9.210340371976182, lt=0, description="A, in place of log 0: ln 1e-4.")


class AsymmetricGeneralised(Frozen):
    """Asymmetric generalised cross-entropy, ((a + 1)^q - (a + p)^q) / q."""

    takes_soft_targets: ClassVar[bool] = False
    name: Literal["agce"] = "agce"
    a: float = Field(default=1.0, gt=0, description="Towards 0: generalised cross-entropy.")
    q: float = Field(default=2.0, gt=0, description="Exponent.")


class SoftBootstrap(Frozen):
    """Bootstrapping with the predicted probabilities."""

    takes_soft_targets: ClassVar[bool] = True
    name: Literal["bootstrap_soft"] = "bootstrap_soft"
    beta: float = Field(default=0.95, ge=0, le=1, description="Of the label in the target; 1: cross-entropy.")


class HardBootstrap(Frozen):
    """Bootstrapping with the predicted class."""

    takes_soft_targets: ClassVar[bool] = True
    name: Literal["bootstrap_hard"] = "bootstrap_hard"
    beta: float = Field(default=0.8, ge=0, le=1, description="Of the label in the target; 1: cross-entropy.")


class Corrected(Frozen):
    """A loss that knows how labels come from true classes, by a matrix T."""

    takes_soft_targets: ClassVar[bool] = False
    transition: str = Field(
        min_length=1,
        description="File of T, .csv or .json, that `noldo compare-labels --of CLEAN --against LABELS` wrote (--csv, or --json).",
    )
    absent_classes: Literal["refuse", "identity"] = Field(
        default="refuse",
        description="What T says of classes that its reference never has: nothing, which is an error; or that their labels are right.",
    )


class Forward(Corrected):
    """Forward correction, -log sum_k p_k T[k, y]."""

    name: Literal["forward"] = "forward"


class Backward(Corrected):
    """Backward correction, sum_k T^-1[y, k] CE_k; has no bound below."""

    name: Literal["backward"] = "backward"


ClosedForm = (
    Symmetric | Generalised | NormalisedAndReverse | AsymmetricGeneralised | SoftBootstrap | HardBootstrap
)
"""Functions of prediction and label alone, averaged over labelled pixels."""

LossKeys = Annotated[
    CrossEntropy | CompatSymmetric | ClosedForm | Forward | Backward, Field(discriminator="name")
]
