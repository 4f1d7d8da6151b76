"""Weights from files: the authors' checkpoints, other people's encoders, and our own; read as data, never run."""
