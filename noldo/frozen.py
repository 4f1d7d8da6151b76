"""Base of everything that users write in YAML."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base of all configuration: unknown keys are errors and nothing changes after load."""

    model_config = ConfigDict(extra="forbid", frozen=True)
