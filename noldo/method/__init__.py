"""The method of CromSS (Liu et al., IEEE TGRS 2025, arXiv 2405.01217), and that of the DFC2025 track 1 winner (Liu et al., IGARSS 2025,
arXiv 2504.13458), a part a module, each of pure functions on tensors.

`ramps` -> `confidence` -> `selection` say which pixels to trust; `smoothing` makes the targets; `cross_entropy`, `dice`
and `consistency` are the losses, `robust_losses` (of other papers) may stand for the first; `objective` puts them together;
`reduction` says over which ranks they are summed.

Of the other: `class_mix` pastes a labelled source on a target, `trust` weighs a teacher's labels of that target, `resolution` and `strong`
change images, `lovasz` is a loss.

Nothing here waits for the device: no value of a tensor is read on the host. Whatever the dtype of the logits, losses
and weights are float32 (float64 if the logits are). Pixels with label 255 change neither a loss nor a gradient.
"""
