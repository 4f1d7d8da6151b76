"""The synthetic Earth (see `sandbox.planet`)."""

from sandbox.planet import SyntheticEarth

__all__ = ["SyntheticEarth"]
