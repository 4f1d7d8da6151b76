"""The method of CromSS (Liu et al., IEEE TGRS 2025, arXiv 2405.01217), a part a module, each of pure functions on tensors.

`ramps` -> `confidence` -> `selection` say which pixels to trust; `smoothing` makes the targets; `cross_entropy`, `dice`
and `consistency` are the losses, `robust_losses` (of other papers) may stand for the first; `objective` puts them together;
`reduction` says over which ranks they are summed.

Nothing here waits for the device: no value of a tensor is read on the host. Whatever the dtype of the logits, losses
and weights are float32 (float64 if the logits are). Pixels with label 255 change neither a loss nor a gradient.
"""
