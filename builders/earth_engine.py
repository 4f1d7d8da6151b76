"""Earth Engine as an `ImagerySource`: the one module that talks to its Python client.

What is asked for is decided elsewhere (`builders.metadata`, `builders.stack`), and so is what happens when a
request fails (`builders.retries`). Here, plans become graphs and answers become arrays. The client keeps its state
in the process: only the latest connection of a process works.
"""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from functools import partial, reduce
from typing import Any, NoReturn, Self, TypeVar

import ee
import numpy as np
import numpy.typing as npt
from google.auth.exceptions import GoogleAuthError, TransportError
from googleapiclient.errors import Error as ClientError  # type: ignore[import-untyped]  # it has no types

from builders import metadata
from builders.caller import AttemptFailedError, Caller
from builders.config import BuildConfig
from builders.config_sections import Season
from builders.credentials import credentials_of, login_advice, project_of
from builders.governor import Governor
from builders.layout import Layout
from builders.outlines import geojson, outlines
from builders.pixel_reader import PixelReader
from builders.pixels import parse_npy
from builders.quota_state import state_path
from builders.records import COLLECTIONS, S1_GRD, Location, Scene, SeasonChoice
from builders.request_log import Kind, RequestLog
from builders.retries import CredentialsRefusedError, Failure, describe_error_body
from builders.stack import Layer, merged, pixel_grid, request_bytes
from builders.start_up import nobody_else_is_asked
from builders.transport import Transport
from noldo.errors import (
    AuthenticationError,
    RequestRefusedError,
    RequestTooLargeError,
    SceneUnavailableError,
    SourceError,
)
from noldo.grids import Grid

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

Node = Any
"""A node of a graph that Earth Engine evaluates. The client publishes no types."""

METADATA_TAG, PIXELS_TAG = "meta", "pixels"
"""Workload tags: Google Cloud's monitoring shows compute time by them (Earth Engine, computation tags)."""

DISTANCE = "noldo_distance_ms"
"""Property that scenes get on the way, to be sorted by."""

TWIN_MARGIN_DAYS = 1.0
"""Twins have the same name; their start times may differ by seconds, and the margin costs nothing."""


class EarthEngine:
    """Scenes and pixels from Earth Engine, or from a server that speaks its API. Thread-safe."""

    def __init__(self, config: BuildConfig, *, caller: Caller, transport: Transport) -> None:
        self._config = config
        self._caller = caller
        self._transport = transport
        self._reader = PixelReader(config, self._fetch)

    @classmethod
    def connect(
        cls, config: BuildConfig, *, url: str, claim: int, stage: str, job: str, layout: Layout
    ) -> Self:
        """Log in, and learn from the provider which functions it has.

        Parameters
        ----------
        url
            Base URL of the API.
        claim
            Requests this process may have in flight; its share of `source.max_concurrent`.
        stage, job
            Name the request log of this process.

        Raises
        ------
        AuthenticationError
            If there are no credentials, or the provider refuses them.
        ConfigError
            If no project is named, or the claim is beyond the quota.
        SourceError
            If the provider does not answer as Earth Engine does.
        """
        source = config.source
        governor = Governor(claim, source, state_path(layout, source))
        transport = Transport(
            url, pool_size=claim, deadline_s=source.deadline_s, on_restricted=governor.restrict
        )
        caller = Caller(
            governor,
            RequestLog(layout.requests, stage=stage, job=job),
            take_exchanges=transport.take_exchanges,
            patience_s=source.patience_s,
            login_advice=login_advice(source),
            rng=random.Random(),
        )
        self = cls(config, caller=caller, transport=transport)
        credentials = credentials_of(source, stored_by_client=_stored_credentials)
        start = partial(_initialise, credentials, url=url, project=project_of(source), transport=transport)
        try:
            caller.call(lambda: self._attempt(start), kind="start_up")
        except (RequestRefusedError, SceneUnavailableError, RequestTooLargeError) as error:
            raise SourceError(
                f"{url} does not answer as Earth Engine does ({error}); check source.url"
            ) from error
        return self

    def close(self) -> None:
        """Close connections."""
        self._transport.close()

    def search(self, locations: Sequence[Location]) -> list[Scene]:
        """All candidates of all seasons and collections for these locations: one metadata request.

        Raises
        ------
        SourceError
            As `ImagerySource` says. A request that is too large is asked in halves.
        """
        try:
            scenes = self._search(locations)
        except RequestTooLargeError:
            if len(locations) == 1:
                raise
            middle = len(locations) // 2
            return [*self.search(locations[:middle]), *self.search(locations[middle:])]
        return self._with_zones(scenes)

    def read(
        self, location: Location, choices: Sequence[SeasonChoice], *, fallback: bool
    ) -> Mapping[str, np.ndarray]:
        """Pixels of the choices on the location's grid: one pixel request, more if it would be too large.

        Raises
        ------
        SourceError
            As `ImagerySource` says.
        """
        return self._reader.read(location, choices, fallback=fallback)

    @property
    def restricted(self) -> bool:
        """The provider has said that the project's parallelism is restricted."""
        return self._transport.restricted

    def asset(self, asset: str) -> Mapping[str, Any]:
        """What the provider says about a stored image: properties, bands, their types and grids."""
        return self._ask(lambda: ee.data.getAsset(asset), kind="metadata")

    def stored_pixels(self, asset: str, *, bands: Sequence[str], grid: Mapping[str, object]) -> bytes:
        """Pixels of a stored image as NPY, nothing unmasked or cast: what the provider holds."""
        request = {"assetId": asset, "fileFormat": "NPY", "bandIds": [*bands], "grid": {**grid}}
        tagged = request | {"workloadTag": PIXELS_TAG}
        data: bytes = self._ask(lambda: ee.data.getPixels(tagged), kind="pixels")
        return data

    def stacked_pixels(self, layers: Sequence[Layer], grid: Grid) -> bytes:
        """The answer to a pixel request of a build, as NPY and before anything is made of it."""
        request = _pixel_request(layers, grid)
        data: bytes = self._ask(lambda: ee.data.computePixels(request), kind="pixels")
        return data

    def profiled(self, work: Callable[[], Answer]) -> tuple[Answer, str]:
        """Do some work in this thread, and get the provider's profile of it: a table that begins with
        EECU-seconds, or nothing if it makes none."""
        profiles: list[str] = []
        with ee.data.profiling(profiles.append):
            result = work()
        if not profiles:
            return result, ""
        table = ee.apifunction.ApiFunction.lookup("Profile.getProfiles").call(ids=profiles)
        return result, str(self._ask(lambda: ee.data.computeValue(table), kind="metadata"))

    def _ask(self, send: Callable[[], Answer], *, kind: Kind) -> Answer:
        return self._caller.call(lambda: self._attempt(send), kind=kind)

    def _search(self, locations: Sequence[Location]) -> list[Scene]:
        graph = search_graph(locations, config=self._config)

        def attempt() -> metadata.Answer:
            reply = self._attempt(lambda: ee.data.computeValue(graph))
            return metadata.read_answer(reply, locations, config=self._config)

        answer = self._caller.call(attempt, kind="metadata")
        if answer.missing:
            logger.info("scenes that lack a property, by property: %s", dict(sorted(answer.missing.items())))
        if answer.full_lists:
            logger.warning(
                "%s lists of scenes are as long as they may be: the farthest passes and the cloudiest scenes "
                "of those seasons were not considered; shorter windows avoid that",
                answer.full_lists,
            )
        return list(answer.scenes)

    def _with_zones(self, scenes: list[Scene]) -> list[Scene]:
        """Ask for the projection of scenes that do not say their tile, which Earth Engine's own all do."""
        asked = metadata.without_zone(scenes)
        if not asked:
            return scenes
        graph = ee.List([crs_graph(f"{COLLECTIONS[product]}/{index}") for product, index in asked])
        codes = self._caller.call(
            lambda: self._attempt(lambda: list(ee.data.computeValue(graph))), kind="metadata"
        )
        zones = {key: metadata.epsg_of_crs(crs) for key, crs in zip(asked, codes, strict=True)}
        return metadata.with_zones(scenes, zones)

    def _fetch(self, layers: tuple[Layer, ...], grid: Grid, kind: Kind) -> npt.NDArray[np.void]:
        request = _pixel_request(layers, grid)
        names = [band.name for layer in layers for band in layer.bands]

        def attempt() -> npt.NDArray[np.void]:
            data: bytes = self._attempt(lambda: ee.data.computePixels(request))
            return parse_npy(data, names=names, side_px=grid.size_px)

        return self._caller.call(attempt, kind=kind, bytes_counted=request_bytes(layers, grid))

    def _attempt(self, send: Callable[[], Answer]) -> Answer:
        """One call of the client; whatever it raises becomes an `AttemptFailedError`.

        The client's exceptions carry only a text, and that only for JSON bodies, so status and message are
        taken from the exchange itself.
        """
        try:
            return send()
        except (ConnectionError, TimeoutError) as error:
            raise AttemptFailedError(Failure(None, str(error), error=error)) from error
        except GoogleAuthError as error:
            self._fail(error, else_=_login_failure(error))
        except (ee.EEException, ClientError, ValueError, KeyError, TypeError) as error:
            if self._transport.last_exchange() is None:
                raise  # nothing was sent: a defect of ours, not an answer
            self._fail(
                error, else_=Failure(200, f"garbled answer ({type(error).__name__}: {error})", error=error)
            )

    def _fail(self, error: Exception, *, else_: Failure) -> NoReturn:
        exchange = self._transport.last_exchange()
        if exchange is None or exchange.status < 400:
            raise AttemptFailedError(else_) from error
        message, reason = describe_error_body(exchange.error_body)
        raise AttemptFailedError(Failure(exchange.status, message, reason=reason, error=error)) from error


def _pixel_request(layers: Sequence[Layer], grid: Grid) -> dict[str, Any]:
    return {
        "expression": stack_graph(merged(layers), grid),
        "fileFormat": "NPY",
        "grid": pixel_grid(grid),
        "workloadTag": PIXELS_TAG,
    }


def _login_failure(error: GoogleAuthError) -> Failure:
    message = " ".join(str(error).split())[:500]
    if isinstance(error, TransportError) or getattr(error, "retryable", False):
        return Failure(None, message, error=error)
    return Failure(None, message, error=CredentialsRefusedError(message))


def _stored_credentials() -> Any:
    try:
        return ee.data.get_persistent_credentials()
    except ee.EEException:
        raise AuthenticationError(
            "no Earth Engine credentials were found on this machine; run `earthengine authenticate`, "
            "then start the build again"
        ) from None


def _initialise(credentials: Any, *, url: str, project: str, transport: Transport) -> None:
    ee.Reset()
    ee.data.setMaxRetries(0)
    ee.data.setDefaultWorkloadTag(METADATA_TAG)
    with nobody_else_is_asked():
        ee.Initialize(credentials, url=url, project=project, http_transport=transport)


def search_graph(locations: Sequence[Location], *, config: BuildConfig) -> Node:
    """Graph of one metadata request: a feature a location, whose properties `builders.metadata` reads."""
    shapes = outlines([location.grid for location in locations])
    places = [
        ee.Feature(ee.Geometry(geojson(outline)), _place_properties(position, location))
        for position, (location, outline) in enumerate(zip(locations, shapes, strict=True))
    ]

    def describe(place: Node) -> Node:
        columns = {metadata.ID: place.get(metadata.ID)}
        for number, season in enumerate(config.seasons):
            for product, scenes in _season_scenes(place, season, config=config).items():
                columns[metadata.rows_key(number, product)] = _rows(scenes, product)
                if metadata.has_own_covering(product, config=config):
                    key = metadata.covering_key(number, product)
                    columns[key] = _names(scenes.filter(_containing(place.geometry())))
        return ee.Feature(None, columns)

    return ee.FeatureCollection(places).map(describe)


def _place_properties(position: int, location: Location) -> dict[str, int]:
    own = {} if location.date is None else {metadata.DAY: metadata.midnight_ms(location.date)}
    return {metadata.ID: position, **own}


def _window(place: Node, season: Season, *, margin_days: float = 0.0) -> Node:
    """A `metadata.Window` of constants, or, for a season without a date, of nodes that read the place's own day."""
    if season.date is not None:
        return metadata.widened(metadata.s2_window(season, season.date), days=margin_days)
    relative = metadata.widened(metadata.window_around(0, season), days=margin_days)
    day = ee.Number(place.get(metadata.DAY))
    return metadata.Window(*(day.add(shift) for shift in astuple(relative)))


def _season_scenes(place: Node, season: Season, *, config: BuildConfig) -> dict[str, Node]:
    """The scenes of one season by product. Twins are found by the names of the leading product's scenes."""
    patch = place.geometry()
    window = _window(place, season)
    lead, *others = metadata.searched_products(config)
    # `lte` is sent as 'not greater than', which a scene without the property passes: it is not left out here.
    clear = ee.Filter.lte("CLOUDY_PIXEL_PERCENTAGE", metadata.searched_cloud_percent(config))
    leading = _by_distance(_touching(lead, patch, window).filter(clear), window)
    if metadata.prefers_clear(config):
        leading = leading.sort("CLOUDY_PIXEL_PERCENTAGE")
    scenes = {lead: leading.limit(metadata.MAX_S2_SCENES)}
    names = _names(scenes[lead])
    for product in others:
        if product == S1_GRD:
            wide = _window(place, season, margin_days=config.pairing.max_s1_days)
            usable = _touching(product, patch, wide).filter(_s1_filter(config))
            scenes[product] = _by_distance(usable, window).limit(metadata.MAX_S1_SCENES)
        else:
            twins = _touching(product, patch, _window(place, season, margin_days=TWIN_MARGIN_DAYS))
            scenes[product] = twins.filter(ee.Filter.inList("system:index", names))
    return scenes


def _touching(product: str, patch: Node, window: Node) -> Node:
    collection = ee.ImageCollection(COLLECTIONS[product])
    return collection.filterBounds(patch).filterDate(_date(window.start_ms), _date(window.end_ms))


def _date(milliseconds: Node) -> Node:
    return milliseconds if isinstance(milliseconds, int) else ee.Date(milliseconds)


def _by_distance(scenes: Node, window: Node) -> Node:
    """Closest to the reference date first. Sorting by another property later keeps this order among equals."""

    def measured(image: Node) -> Node:
        time = ee.Number(image.get("system:time_start"))
        return image.set(DISTANCE, time.subtract(window.reference_ms).abs())

    return scenes.map(measured).sort(DISTANCE)


def _s1_filter(config: BuildConfig) -> Node:
    polarisations = [
        ee.Filter.listContains("transmitterReceiverPolarisation", band) for band in config.products.s1_grd
    ]
    return ee.Filter.And(ee.Filter.eq("instrumentMode", "IW"), *polarisations)


def _rows(scenes: Node, product: str) -> Node:
    """What is told of each scene, as a list of features without geometry."""
    limit = metadata.MAX_S1_SCENES if product == S1_GRD else metadata.MAX_S2_SCENES
    keys = {metadata.INDEX: "system:index", metadata.TIME: "system:time_start"}
    keys |= metadata.PROPERTIES[product]

    def row(image: Node) -> Node:
        # A feature may have null properties, which lists and reducers would drop or refuse.
        return ee.Feature(None, {short: image.get(name) for short, name in keys.items()})

    return scenes.map(row).toList(limit)


def _names(scenes: Node) -> Node:
    return scenes.aggregate_array("system:index")


def _containing(patch: Node) -> Node:
    return ee.Filter.contains(leftField=".geo", rightValue=patch)


def crs_graph(asset: str) -> Node:
    """Code of the projection of an image's first band."""
    return ee.Image(asset).select([0]).projection().crs()


def stack_graph(layers: Sequence[Layer], grid: Grid) -> Node:
    """One image of all bands. Joined pairwise: a chain of many bands would be too deep to be evaluated."""
    images = [_layer_graph(layer, grid) for layer in layers]
    while len(images) > 1:
        images = [
            reduce(lambda a, b: _node("Image.addBands", dstImg=a, srcImg=b), images[first : first + 2])
            for first in range(0, len(images), 2)
        ]
    return images[0]


def _layer_graph(layer: Layer, grid: Grid) -> Node:
    image = _node(
        "Image.select",
        input=_node("Image.load", id=layer.asset),
        bandSelectors=_Constant([band.source for band in layer.bands]),
        newNames=_Constant([band.name for band in layer.bands]),
    )
    if layer.bilinear:
        image = _node("Image.resample", image=image, mode="bilinear")
    if layer.at_centres:
        crs = _node("Projection", crs=f"EPSG:{grid.crs_epsg}")
        transform = _Constant(list(grid.transform(layer.resolution_m)))
        image = _node("Image.reproject", image=image, crs=crs, crsTransform=transform)
    if layer.dtype == "float32":
        return _node("Image.toFloat", value=_unmasked(image, layer.no_data))
    if layer.bilinear:
        image = _node("Image.toUint16", value=_node("Image.round", value=image))
    return _unmasked(image, int(layer.no_data))


def _unmasked(image: Node, value: float) -> Node:
    """Also beyond the footprint, where the default would leave pixels masked and they would arrive as 0."""
    return _node("Image.unmask", input=image, value=_node("Image.constant", value=value), sameFootprint=False)


def _node(function: str, **arguments: object) -> Node:
    """What the client's methods make; they look at their own arguments at length, 5 ms a request of 13 in all."""
    return ee.ComputedObject(ee.ApiFunction.lookup(function), arguments)


class _Constant(ee.encodable.Encodable):  # type: ignore[misc]  # the client has no types
    """A list of strings or numbers: the client would make a node of each, and put them together again."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def encode_cloud_value(self, encoder: object) -> dict[str, Any]:
        return {"constantValue": self._values}
