"""What `noldo layers` measures."""

from typing import Literal

Part = Literal["similarity", "probe", "reset", "transplant"]
