"""Every error that users of NoLDO-S12 builder can meet, grouped by what one would do about it.

```
NoldoError
|-- ConfigError            (ValueError)       change the config, nothing has run yet
|-- InputError             (ValueError)       change a table of places or cities
|   `-- RasterError                           give another GeoTIFF, or name its bands
|-- StoreError
|   |-- StoreFormatError   (ValueError)       rebuild, or upgrade noldo: the store is of another format
|   |-- ShardMissingError  (FileNotFoundError) rebuild one job: a file of the store is gone
|   `-- ChunkCorruptError  (OSError)          rebuild one job: bytes differ from their checksum
|-- SourceError                               the imagery provider
|   |-- AuthenticationError                   log in, or register the project: never retried
|   |-- QuotaSpentError                       go on tomorrow: never retried
|   |-- RequestRefusedError                   our request was wrong: the location is quarantined
|   |-- SceneUnavailableError                 this scene can't be read: take the next candidate
|   |-- RequestTooLargeError                  split the request
|   `-- SourceUnavailableError                transient faults outlasted the patience: run again
|-- TrainingError
|   |-- CheckpointError      (ValueError)     the run folder is of another run, or damaged
|   |-- WeightsError         (ValueError)     a file of weights is of another network, damaged, or not safe
|   |-- DivergedError                         the loss is no number: look at the named locations, lower the rate
|   `-- RunInterruptedError                   stopped on request, state saved: the same command goes on
|-- MissingExtraError      (ImportError)      install an optional part of noldo
`-- BuildInUseError                           another process writes to the same folder
```

Messages say where, what was found, what was expected and what to do next, in one line.
"""


def one_line(text: str, *, limit: int = 200) -> str:
    """Words of a stranger's file for a message: in one line, without letters that don't print, at most `limit` letters."""
    letters = (letter if letter.isprintable() else " " for letter in text[: 2 * limit])
    return " ".join("".join(letters).split())[:limit]


class NoldoError(Exception):
    """Base of all errors raised on purpose by noldo, builders and sandbox."""


class ConfigError(NoldoError, ValueError):
    """The config can't be built from; nothing has run yet."""


class InputError(NoldoError, ValueError):
    """A file given by the user (places, cities, identifiers) can't be used as it is."""


class RasterError(InputError):
    """A GeoTIFF given by the user can't be read, or does not hold what a network takes."""


class StoreError(NoldoError):
    """A built store can't be read as it should be."""


class StoreFormatError(StoreError, ValueError):
    """The store is of another format, or lacks what its manifest promises."""


class ShardMissingError(StoreError, FileNotFoundError):
    """A shard file that the manifest promises does not exist."""


class ChunkCorruptError(StoreError, OSError):
    """Bytes of a chunk do not match their checksum."""


class SourceError(NoldoError):
    """The imagery provider did not deliver."""


class AuthenticationError(SourceError):
    """No or wrong credentials, or a project without rights; retrying can't help."""


class QuotaSpentError(SourceError):
    """The daily quota is spent; everything waits for the next day."""


class RequestRefusedError(SourceError):
    """The provider called our request wrong (4xx); the location is quarantined with the message."""


class SceneUnavailableError(SourceError):
    """A named scene does not exist or can't be read; the next candidate is tried."""

    def __init__(self, message: str = "", *, index: str = "") -> None:
        super().__init__(message)
        self.index = index
        """`system:index` of the scene; empty if the provider did not say which."""


class RequestTooLargeError(SourceError):
    """The provider asks for smaller requests."""


class SourceUnavailableError(SourceError):
    """Transient faults went on for longer than the patience allowed."""


class TrainingError(NoldoError):
    """A training run can't go on."""


class CheckpointError(TrainingError, ValueError):
    """A run folder or checkpoint belongs to another run, or is damaged."""


class WeightsError(TrainingError, ValueError):
    """A file of weights is of another network, damaged, or not safe to read."""


class DivergedError(TrainingError):
    """The loss became infinite or no number."""


class RunInterruptedError(TrainingError):
    """The run was asked to stop and has saved its state."""


class MissingExtraError(NoldoError, ImportError):
    """A command needs an optional part of noldo that is not installed."""


class BuildInUseError(NoldoError):
    """Another process is writing to the same results folder."""
