"""Which layers of a network survive wrong labels (Liu et al., IGARSS 2024, arXiv 2402.16164): `noldo layers`."""
