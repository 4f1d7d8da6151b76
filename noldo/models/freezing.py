"""Encoders that don't learn."""

from torch import nn


def freeze(encoder: nn.Module) -> None:
    """No parameter of the encoder takes a gradient."""
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)


def keep_still(encoder: nn.Module) -> None:
    """BatchNorm and dropout of a frozen encoder as in evaluation; to be called after every `.train()`.

    As published, a frozen encoder's BatchNorm went on to use the batch's statistics, and its running ones drifted.
    """
    encoder.eval()
