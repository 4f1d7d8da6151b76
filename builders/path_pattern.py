"""Path patterns such as `{set}/image_s2/s2_{name}.tif`: how files of a data set are called, for people to change."""

import re
from collections.abc import Mapping

from noldo.errors import ConfigError


class PathPattern:
    """Matches relative paths, and tells their parts. Folders above the pattern's first may be any."""

    def __init__(self, pattern: str, *, parts: Mapping[str, str]) -> None:
        """Compile a pattern.

        Parameters
        ----------
        pattern
            A path with slashes; `{part}` stands for something that varies.
        parts
            Name of each part that the pattern must have, to the regular expression that it follows.

        Raises
        ------
        ConfigError
            If a part is missing, unknown, or there twice.
        """
        found = re.findall(r"\{(\w*)\}", pattern)
        if sorted(found) != sorted(parts):
            wanted = ", ".join(f"{{{name}}}" for name in parts)
            raise ConfigError(f"pattern {pattern!r}: expected each of {wanted} once")
        pieces = re.split(r"\{\w*\}", pattern)
        text = "".join(
            re.escape(piece) + (f"(?P<{name}>{parts[name]})" if name else "")
            for piece, name in zip(pieces, [*found, ""], strict=True)
        )
        self._compiled = re.compile(rf"(?:.*/)?{text}")

    def match(self, path: str) -> dict[str, str] | None:
        """Part to what stands for it in a path; None if the path is another."""
        found = self._compiled.fullmatch(path)
        return None if found is None else found.groupdict()
