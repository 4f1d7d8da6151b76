"""Every error that users of NoLDO-S12 builder can meet, grouped by what one would do about it.

```
NoldoError
|-- ConfigError            (ValueError)       change the config, nothing has run yet
|-- InputError             (ValueError)       change a table of places or cities
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
|-- MissingExtraError      (ImportError)      install an optional part of noldo
`-- BuildInUseError                           another process writes to the same folder
```

Messages say where, what was found, what was expected and what to do next, in one line.
"""


class NoldoError(Exception):
    """Base of all errors raised on purpose by noldo, builders and sandbox."""


class ConfigError(NoldoError, ValueError):
    """The config can't be built from; nothing has run yet."""


class InputError(NoldoError, ValueError):
    """A file given by the user (places, cities, identifiers) can't be used as it is."""


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


class MissingExtraError(NoldoError, ImportError):
    """A command needs an optional part of noldo that is not installed."""


class BuildInUseError(NoldoError):
    """Another process is writing to the same results folder."""
