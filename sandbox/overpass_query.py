"""The part of Overpass QL that is understood: what osmnx sends, and what is close to it. Text in, steps out.

```
query     = settings? statement+ "out" "body"? ";"
settings  = ("[" name ":" value "]")+ ";"
statement = (union | search | "._" | ">") ";"
union     = "(" statement+ ")"
search    = ("node" | "way" | "relation" | "rel" | "nwr") (tag | polygon)+
tag       = "[" string ("=" string)? "]"
polygon   = "(" "poly" ":" string ")"
```

A search needs at least one tag and exactly one polygon: the whole planet is not searched here. Everything else
is refused with the place and the reason, as Overpass does.
"""

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely

from sandbox.refusals import Refusal

KINDS: Mapping[str, tuple[str, ...]] = {
    "node": ("node",),
    "way": ("way",),
    "relation": ("relation",),
    "rel": ("relation",),
    "nwr": ("node", "way", "relation"),
}
"""Words that begin a search, and the kinds of elements they ask for."""

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<number>-?\d+(?:\.\d+)?)
      | (?P<word>[^\W\d]\w*)
      | (?P<symbol>\._|[\[\]():;=>])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t"}


@dataclass(frozen=True)
class Search:
    """Elements of some kinds, with all of these tags, in a polygon."""

    kinds: tuple[str, ...]
    tags: tuple[tuple[str, str | None], ...]
    """Key and value; None: any value."""
    polygon: shapely.Polygon
    """Longitude and latitude in degrees."""

    @property
    def name(self) -> str:
        """What is asked, without where: `way[landuse=forest]`."""
        kind = self.kinds[0] if len(self.kinds) == 1 else "nwr"
        tags = (f"[{key}]" if value is None else f"[{key}={value}]" for key, value in self.tags)
        return kind + "".join(tags)


@dataclass(frozen=True)
class Recall:
    """`._`: the result of the statement before."""


@dataclass(frozen=True)
class Descend:
    """`>`: what the ways and relations of the statement before are made of."""


@dataclass(frozen=True)
class Union:
    """Everything that any of its statements finds."""

    steps: tuple["Step", ...]


Step = Search | Recall | Descend | Union


@dataclass(frozen=True)
class Query:
    """A whole query."""

    steps: tuple[Step, ...]
    settings: Mapping[str, str]
    """By name, as given; strings without their quotes."""

    def searches(self) -> Iterator[Search]:
        """Every search, in the order of the text."""
        return _searches(self.steps)


def _searches(steps: tuple[Step, ...]) -> Iterator[Search]:
    for step in steps:
        if isinstance(step, Search):
            yield step
        elif isinstance(step, Union):
            yield from _searches(step.steps)


def parse(text: str) -> Query:
    """Understand a query.

    Raises
    ------
    Refusal
        Status 400: where the text leaves the grammar above, and what was expected.
    """
    return _Parser(text).query()


@dataclass(frozen=True)
class _Token:
    kind: str
    """`string`, `number`, `word`, `symbol` or `end`."""
    text: str
    position: int


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._polygons: dict[str, shapely.Polygon] = {}
        """The same outline stands in every component of a query."""
        self._next = 0

    @cached_property
    def _tokens(self) -> list[_Token]:
        tokens, position = [], 0
        while position < len(self._text):
            match = _TOKEN.match(self._text, position)
            if match is None:
                raise self._wrong(f"{self._text[position]!r} is not understood", position)
            if match.lastgroup != "space":
                tokens.append(_Token(str(match.lastgroup), match.group(), position))
            position = match.end()
        return [*tokens, _Token("end", "", position)]

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _wrong(self, what: str, position: int | None = None) -> Refusal:
        at = self._token.position if position is None else position
        line = self._text.count("\n", 0, at) + 1
        column = at - (self._text.rfind("\n", 0, at) + 1) + 1
        return Refusal(f"line {line}, column {column}: parse error: {what}")

    def _take(self) -> _Token:
        token = self._token
        self._next += token.kind != "end"
        return token

    def _expect(self, *texts: str) -> str:
        if self._token.text not in texts:
            wanted = " or ".join(f"'{text}'" for text in texts)
            raise self._wrong(f"{wanted} expected - {self._found()} found")
        return self._take().text

    def _found(self) -> str:
        return "end of query" if self._token.kind == "end" else f"'{self._token.text[:40]}'"

    def query(self) -> Query:
        settings = self._settings()
        steps = []
        while self._token.text != "out":
            steps.append(self._statement())
        self._expect("out")
        if self._token.text == "body":
            self._take()
        self._expect(";")
        if self._token.kind != "end":
            raise self._wrong(f"nothing may follow 'out;' - {self._found()} found")
        if not steps:
            raise self._wrong("a query without any statement finds nothing", 0)
        return Query(tuple(steps), settings)

    def _settings(self) -> Mapping[str, str]:
        settings: dict[str, str] = {}
        while self._token.text == "[":
            self._take()
            start = self._token.position
            name = self._take().text
            self._expect(":")
            value = _unquoted(self._take())
            self._expect("]")
            if name not in _SETTINGS or not _SETTINGS[name].fullmatch(value):
                known = '[out:json], [timeout:N], [maxsize:N] and [date:"YYYY-MM-DDThh:mm:ssZ"]'
                raise self._wrong(f"setting [{name}:{value}] is not understood; {known} are", start)
            settings[name] = value
        if settings:
            self._expect(";")
        if settings.get("out") != "json":
            raise self._wrong("only JSON is served: begin the query with [out:json]", 0)
        return settings

    def _statement(self) -> Step:
        token = self._token
        step: Step
        if token.text == "(":
            step = self._union()
        elif token.text == "._":
            self._take()
            step = Recall()
        elif token.text == ">":
            self._take()
            step = Descend()
        elif token.kind == "word" and token.text in KINDS:
            step = self._search()
        else:
            raise self._wrong(f"statement expected - {self._found()} found")
        self._expect(";")
        return step

    def _union(self) -> Union:
        self._expect("(")
        steps = [self._statement()]
        while self._token.text != ")":
            steps.append(self._statement())
        self._expect(")")
        return Union(tuple(steps))

    def _search(self) -> Search:
        start = self._token.position
        kinds = KINDS[self._take().text]
        tags: list[tuple[str, str | None]] = []
        polygons: list[shapely.Polygon] = []
        while self._token.text in {"[", "("}:
            if self._token.text == "[":
                tags.append(self._tag())
            else:
                polygons.append(self._polygon())
        if not tags or len(polygons) != 1:
            raise self._wrong("a search needs a tag and one (poly:...); others are not served here", start)
        return Search(kinds, tuple(tags), polygons[0])

    def _tag(self) -> tuple[str, str | None]:
        self._expect("[")
        key = self._string()
        if self._expect("=", "]") == "]":
            return key, None
        value = self._string()
        self._expect("]")
        return key, value

    def _string(self) -> str:
        if self._token.kind not in {"string", "word"}:
            raise self._wrong(f"string expected - {self._found()} found")
        return _unquoted(self._take())

    def _polygon(self) -> shapely.Polygon:
        self._expect("(")
        self._expect("poly")
        self._expect(":")
        start, text = self._token.position, self._string()
        self._expect(")")
        if text not in self._polygons:
            try:
                self._polygons[text] = polygon_of(text)
            except ValueError as error:
                raise self._wrong(f"poly: {error}", start) from None
        return self._polygons[text]


_SETTINGS = {
    "out": re.compile("json"),
    "timeout": re.compile(r"\d+"),
    "maxsize": re.compile(r"\d+"),
    "date": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
}
"""Values that each setting may have."""


def date_of(query: Query) -> dt.datetime | None:
    """The past moment that is asked for, if any.

    Raises
    ------
    Refusal
        If there is no such day.
    """
    text = query.settings.get("date")
    try:
        return None if text is None else dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise Refusal(f'line 1: parse error: [date:"{text}"]: {error}') from None


def _unquoted(token: _Token) -> str:
    if token.kind != "string":
        return token.text
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), token.text[1:-1], flags=re.DOTALL)


def polygon_of(text: str) -> shapely.Polygon:
    """A polygon from `lat lon lat lon ...`, in degrees; it need not be closed.

    Returns
    -------
    Its corners as longitude and latitude.

    Raises
    ------
    ValueError
        If it is no polygon on the globe.
    """
    numbers = np.array([float(word) for word in text.split()])
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(
            f"at least three pairs of latitude and longitude expected - {len(numbers)} numbers found"
        )
    corners = numbers.reshape(-1, 2)[:, ::-1]
    if not (np.abs(corners) <= (180.0, 90.0)).all():  # also where a number is nan
        raise ValueError("latitudes within -90..90 and longitudes within -180..180 degrees expected")
    polygon = shapely.Polygon(corners)
    if not polygon.is_valid or polygon.is_empty:
        raise ValueError(
            f"{shapely.is_valid_reason(polygon)}; a polygon whose edges do not cross is expected"
        )
    return polygon
