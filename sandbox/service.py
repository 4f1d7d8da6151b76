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
from sandbox.functions.library import FUNCTIONS
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
    NoldoError,
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
        project, name = r"projects/(?P<project>[^/]+)", r"projects/[^/]+/assets/(?P<asset>.+)"
        self._routes: list[tuple[str, re.Pattern[str], str, Callable[..., Answer], dict[str, bool]]] = [
            (method, re.compile(pattern), label, answer, kind)
            for method, pattern, label, answer, kind in (
                ("GET", r"\$discovery/rest", "discovery", self._discovery, {"start_up": True}),
                ("GET", rf"v1/{project}/algorithms", "algorithms", self._list_algorithms, {"start_up": True}),
                ("POST", rf"v1/{project}/value:compute", "value:compute", self._compute_value, {}),
                (
                    "POST",
                    rf"v1/{project}/image:computePixels",
                    "image:computePixels",
                    self._compute_pixels,
                    {"pixels": True},
                ),
                ("POST", rf"v1/{name}:getPixels", "assets:getPixels", self._get_pixels, {"pixels": True}),
                ("GET", rf"v1/{name}:listAssets", "assets:listAssets", self._list_assets, {}),
                ("GET", rf"v1/{name}", "assets:get", self._get_asset, {}),
                ("POST", rf"v1/{project}/(?P<kind>maps|thumbnails)", "create", self._create, {}),
                (
                    "GET",
                    rf"v1/{project}/thumbnails/(?P<key>\w+):getPixels",
                    "thumbnails:getPixels",
                    self._download,
                    {"pixels": True},
                ),
                (
                    "GET",
                    rf"v1/{project}/maps/(?P<key>\w+)/tiles/(?P<zoom>\d+)/(?P<x>\d+)/(?P<y>\d+)",
                    "maps:tile",
                    self._tile,
                    {},
                ),
            )
        ]

    def endpoint(self, request: Request) -> Endpoint:
        """What a request is for; an unknown path is an endpoint that answers 404."""
        path = request.path.lstrip("/")
        for method, pattern, name, answer, kind in self._routes:
            if method == request.method and (match := pattern.fullmatch(path)):
                parts = match.groupdict()
                label = f"{parts['kind']}:create" if name == "create" else name
                return Endpoint(label, answer, parts, **kind)
        return Endpoint("unknown", self._unknown, {})

    def answer(self, endpoint: Endpoint, request: Request) -> Answer:
        """The answer to a request; errors, also the sandbox's own, are answers."""
        try:
            return endpoint.answer(request, **endpoint.parts)
        except Refusal as refusal:
            return error_answer(refusal)
        except SANDBOX_BUGS as error:
            logger.exception("%s %s: the sandbox failed", request.method, request.path)
            return error_answer(Refusal(f"The sandbox failed: {type(error).__name__}: {error}"))

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
