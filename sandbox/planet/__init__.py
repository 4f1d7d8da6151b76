"""The synthetic Earth: land, weather, satellites, and what they see; a pure function of place, date and seed."""

from sandbox.planet.synthetic import SyntheticEarth

__all__ = ["SyntheticEarth"]
