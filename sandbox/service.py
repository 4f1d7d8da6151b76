"""The endpoints of Earth Engine's REST API, without HTTP: a request in, an answer out."""

import json
import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np
import shapely

from noldo.errors import NoldoError
from sandbox import discovery, map_tiles
from sandbox.answers import asset_tree, plain
from sandbox.asset_listing import list_assets
from sandbox.assets import PUBLIC, Assets, asset_id
from sandbox.catalogue import Catalogue
from sandbox.expressions import Evaluation
from sandbox.faults import FaultPlan
from sandbox.functions.registry import FUNCTIONS
from sandbox.geometries import LON_LAT, Projection
from sandbox.images import Image, LazyBand, PixelGrid, Pixels, image_of
from sandbox.map_tiles import Shelf
from sandbox.pixels_out import Body, Encoded, band_choice, encode, grid_of
from sandbox.refusals import Refusal

logger = logging.getLogger(__name__)

SANDBOX_BUGS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    shapely.errors.ShapelyError,
)
"""Answered 400: a 5xx would make the client repeat the call for half a minute, and to no end."""


@dataclass(frozen=True)
class Request:
    """A request, after HTTP and after the POST override."""

    method: str
    path: str
    """Decoded, without the query."""
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> dict[str, Any]:
        """The body as an object.

        Raises
        ------
        Refusal
            If it is no JSON object.
        """
        try:
            tree = json.loads(self.body or b"{}", parse_constant=_no_constant)
        except ValueError as error:
            raise Refusal(f"Invalid JSON payload received. {error}") from None
        if not isinstance(tree, dict):
            raise Refusal("Invalid JSON payload received. An object is expected.")
        return tree


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON.")


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    body: Body
    status: int = 200
    content_type: str = "application/json; charset=UTF-8"
    counted_bytes: int = 0
    """Earth Engine's size accounting, for pixels."""
    message: str = ""
    """Of an error, for the log."""
    components: Mapping[str, int] = field(default_factory=dict)
    """How often each kind of search stands in an Overpass query, for the log."""


def json_answer(tree: object, *, status: int = 200) -> Answer:
    """JSON as an answer."""
    return Answer(json.dumps(tree, separators=(",", ":")).encode(), status=status)


def error_answer(refusal: Refusal) -> Answer:
    """A refusal as an answer."""
    return Answer(refusal.body(), status=refusal.status, message=refusal.message)


@dataclass(frozen=True)
class Endpoint:
    """What a request is for."""

    name: str
    answer: Callable[..., Answer]
    """Takes the request and the named parts of its path."""
    parts: Mapping[str, str]
    start_up: bool = False
    pixels: bool = False
    """Counts for the daily quota, and can be garbled."""
    in_project: bool = True
    """Needs credentials of the project and counts for its quota; not so with other services than Earth Engine."""
    refuse: Callable[[Refusal], Answer] = error_answer
    """How this service says no."""


class EarthEngineService:
    """Answers requests from a catalogue. Thread-safe; keeps nothing but expressions to be fetched later."""

    def __init__(
        self, catalogue: Catalogue, plan: FaultPlan, *, base_url: str, canned_pixels: bool = False
    ) -> None:
        self._catalogue = catalogue
        self._plan = plan
        self._base_url = base_url
        self._canned_pixels = canned_pixels
        self._algorithms = discovery.algorithms(FUNCTIONS)
        self._shelves = {"maps": Shelf(), "thumbnails": Shelf()}
        # Pixels are computed by a few threads at a time: more would only hold more memory.
        self._evaluations = threading.BoundedSemaphore((os.cpu_count() or 1) + 2)

    def endpoint(self, request: Request) -> Endpoint:
        """What a request is for; an unknown path is an endpoint that answers 404."""
        for route in ROUTES:
            if route.method == request.method and (
                match := route.pattern.fullmatch(request.path.lstrip("/"))
            ):
                parts = match.groupdict()
                return Endpoint(
                    name=route.name.format(**parts),
                    answer=partial(route.answer, self),
                    parts=parts,
                    start_up=route.start_up,
                    pixels=route.pixels,
                )
        return Endpoint("unknown", self._unknown, {})

    def answer(self, endpoint: Endpoint, request: Request) -> Answer:
        """The answer to a request; errors, also the sandbox's own, are answers."""
        try:
            return endpoint.answer(request, **endpoint.parts)
        except Refusal as refusal:
            return endpoint.refuse(refusal)
        except NoldoError as error:
            logger.warning("%s %s: %s", request.method, request.path, error)
            return endpoint.refuse(Refusal(str(error)))
        except SANDBOX_BUGS as error:
            logger.exception("%s %s: the sandbox failed", request.method, request.path)
            return endpoint.refuse(Refusal(f"The sandbox failed: {type(error).__name__}: {error}"))

    def _unknown(self, request: Request) -> Answer:
        raise Refusal(f"The sandbox does not serve {request.method} {request.path}.", status=404)

    def _assets(self) -> Assets:
        return Assets(self._catalogue, missing=self._plan.settings.missing_scenes)

    def _evaluate(self, expression: object) -> Any:
        return Evaluation(expression, functions=FUNCTIONS, assets=self._assets()).result()

    def _image(self, body: Mapping[str, Any]) -> Image:
        value = self._evaluate(body.get("expression"))
        if not isinstance(value, Image):
            raise Refusal("The expression must be an image.")
        return value

    def _discovery(self, request: Request) -> Answer:
        return json_answer(discovery.discovery_document(self._base_url))

    def _list_algorithms(self, request: Request, *, project: str) -> Answer:
        fault = self._plan.authentication(project)
        if fault is not None and fault.refusal and self._plan.settings.authentication_at_start_up:
            raise fault.refusal
        return Answer(self._algorithms)

    def _compute_value(self, request: Request, *, project: str) -> Answer:
        with self._evaluations:
            return json_answer({"result": plain(self._evaluate(request.json().get("expression")))})

    def _compute_pixels(self, request: Request, *, project: str) -> Answer:
        body = request.json()
        grid = grid_of(body.get("grid"))
        with self._evaluations:
            image = band_choice(body, self._image(body))
            file_format = str(body.get("fileFormat", "PNG"))
            if self._canned_pixels:
                fields = tuple((band.name, band.dtype) for band in image.bands)
                return _sent(canned(fields, grid, file_format))
            return _sent(encode(image, grid, file_format))

    def _get_pixels(self, request: Request, *, asset: str) -> Answer:
        body = request.json()
        grid = grid_of(body.get("grid"))
        with self._evaluations:
            image = band_choice(body, self._stored(asset))
            return _sent(encode(image, grid, str(body.get("fileFormat", "PNG"))))

    def _stored(self, asset: str) -> Image:
        image = self._assets().find_image(asset_id(asset))
        if image is None:
            raise Refusal(f"Asset 'projects/earthengine-public/assets/{asset}' not found.", status=404)
        return image

    def _get_asset(self, request: Request, *, asset: str) -> Answer:
        known = asset_id(asset)
        if self._assets().has_collection(known):
            name = f"{PUBLIC}{known}"
            return json_answer({"type": "IMAGE_COLLECTION", "name": name, "id": known})
        return json_answer(asset_tree(self._stored(known)))

    def _list_assets(self, request: Request, *, asset: str) -> Answer:
        return json_answer(list_assets(self._assets(), asset_id(asset), request.query))

    def _create(self, request: Request, *, project: str, kind: str) -> Answer:
        body = request.json()
        if kind == "maps":
            self._image(body)  # a wrong expression fails here, where its author sees it
        return json_answer({"name": f"projects/{project}/{kind}/{self._shelves[kind].put(body)}"})

    def _download(self, request: Request, *, project: str, key: str) -> Answer:
        body = self._shelves["thumbnails"].get(key)
        with self._evaluations:
            image = self._image(body)
            if image.grid is None:
                raise Refusal("A download needs a region or dimensions: whole images are not served.")
            name = str(body.get("filenamePrefix") or "download")
            chosen = band_choice(body, image)
            return _sent(
                encode(chosen, image.grid, str(body.get("fileFormat", "PNG")), download=True, name=name)
            )

    def _tile(self, request: Request, *, project: str, key: str, zoom: str, x: str, y: str) -> Answer:
        grid = map_tiles.tile_grid(int(zoom), int(x), int(y))
        body = self._shelves["maps"].get(key)
        with self._evaluations:
            return Answer(map_tiles.tile(self._image(body), body, grid), content_type="image/png")


@dataclass(frozen=True)
class Route:
    """Which requests an endpoint answers."""

    method: str
    pattern: re.Pattern[str]
    name: str
    """May contain named parts of the pattern."""
    answer: Callable[..., Answer]
    start_up: bool = False
    pixels: bool = False


_PROJECT = r"v1/projects/(?P<project>[^/]+)"
_ASSET = r"v1/projects/[^/]+/assets/(?P<asset>.+)"
_KEY = r"(?P<key>\w+)"
_TILE = r"(?P<zoom>\d+)/(?P<x>\d+)/(?P<y>\d+)"


def _routes() -> tuple[Route, ...]:
    service = EarthEngineService
    post = partial(Route, "POST")
    get = partial(Route, "GET")
    path = re.compile
    return (
        get(path(r"\$discovery/rest"), "discovery", service._discovery, start_up=True),
        get(path(_PROJECT + "/algorithms"), "algorithms", service._list_algorithms, start_up=True),
        post(path(_PROJECT + "/value:compute"), "value:compute", service._compute_value),
        post(
            path(_PROJECT + "/image:computePixels"),
            "image:computePixels",
            service._compute_pixels,
            pixels=True,
        ),
        post(path(_ASSET + ":getPixels"), "assets:getPixels", service._get_pixels, pixels=True),
        get(path(_ASSET + ":listAssets"), "assets:listAssets", service._list_assets),
        get(path(_ASSET), "assets:get", service._get_asset),
        post(path(_PROJECT + "/(?P<kind>maps|thumbnails)"), "{kind}:create", service._create),
        get(
            path(_PROJECT + f"/thumbnails/{_KEY}:getPixels"),
            "thumbnails:getPixels",
            service._download,
            pixels=True,
        ),
        get(path(_PROJECT + f"/maps/{_KEY}/tiles/{_TILE}"), "maps:tile", service._tile),
    )


ROUTES = _routes()
"""In the order in which they are tried."""


def _sent(encoded: Encoded) -> Answer:
    return Answer(encoded.body, content_type=encoded.content_type, counted_bytes=encoded.counted_bytes)


@lru_cache(maxsize=8)
def canned(fields: tuple[tuple[str, str], ...], grid: PixelGrid, file_format: str) -> Encoded:
    """An answer of the right shape and types in which every pixel is 1: for benchmarks of everything else."""

    def read(dtype: str, asked: PixelGrid) -> Pixels:
        shape = (asked.height, asked.width)
        return Pixels(np.ones(shape, dtype), np.ones(shape, bool))

    bands = [LazyBand(name, dtype, Projection(LON_LAT), partial(read, dtype)) for name, dtype in fields]
    return encode(image_of(lambda: bands), grid, file_format)
