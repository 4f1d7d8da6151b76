"""What a client asks for at start-up: the discovery document and the list of algorithms.

The client's own package carries the signatures of all functions as a test file; the sandbox answers those
that it implements. They are read from the installed package, which is found without importing it.
"""

import importlib.util
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from noldo.errors import MissingExtraError

GLOBAL_PARAMETERS = ("prettyPrint", "fields", "alt", "key")
"""Without the first, start-up fails; without the second, getDownloadURL does."""


def _method(name: str, http_method: str, path: str, *query: str, response: str = "Any") -> dict[str, Any]:
    """One method; its path arguments are read from the template."""
    in_path = [part.split("}")[0].lstrip("+") for part in path.split("{")[1:]]
    parameters: dict[str, Any] = {key: {"location": "path", "type": "string"} for key in in_path}
    parameters.update({key: {"location": "query", "type": "string"} for key in query})
    method: dict[str, Any] = {
        "id": f"earthengine.projects.{name}",
        "httpMethod": http_method,
        "path": path,
        "parameters": parameters,
        "response": {"$ref": response},
    }
    if http_method == "POST":
        method["request"] = {"$ref": "Any"}
    return method


def _resource(**methods: dict[str, Any]) -> dict[str, Any]:
    return {"methods": methods}


def discovery_document(base_url: str) -> dict[str, Any]:
    """The least that the Google API client needs to know of the service."""
    assets = _resource(
        get=_method("assets.get", "GET", "v1/{+name}"),
        getPixels=_method("assets.getPixels", "POST", "v1/{+name}:getPixels"),
        listAssets=_method(
            "assets.listAssets",
            "GET",
            "v1/{+parent}:listAssets",
            *("pageSize", "pageToken", "filter", "view"),
            response="ListAssetsResponse",
        ),
    )
    maps = _resource(create=_method("maps.create", "POST", "v1/{+parent}/maps", "workloadTag"))
    maps["resources"] = {
        "tiles": _resource(get=_method("maps.tiles.get", "GET", "v1/{+parent}/tiles/{+zoom}/{+x}/{+y}"))
    }
    resources = {
        "algorithms": _resource(list=_method("algorithms.list", "GET", "v1/{+parent}/algorithms")),
        "value": _resource(compute=_method("value.compute", "POST", "v1/{+project}/value:compute")),
        "image": _resource(
            computePixels=_method("image.computePixels", "POST", "v1/{+project}/image:computePixels")
        ),
        "assets": assets,
        "maps": maps,
        "thumbnails": _resource(
            create=_method("thumbnails.create", "POST", "v1/{+parent}/thumbnails", "workloadTag"),
            getPixels=_method("thumbnails.getPixels", "GET", "v1/{+name}:getPixels"),
        ),
    }
    return {
        "rootUrl": base_url + "/",
        "servicePath": "",
        "parameters": {name: {"location": "query", "type": "string"} for name in GLOBAL_PARAMETERS},
        "schemas": {
            "Any": {"id": "Any", "type": "any"},
            "ListAssetsResponse": {
                "id": "ListAssetsResponse",
                "type": "object",
                "properties": {"nextPageToken": {"type": "string"}},
            },
        },
        "resources": {"projects": {"resources": resources}},
    }


def signatures() -> dict[str, dict[str, Any]]:
    """All signatures of the installed client, by function name.

    Raises
    ------
    MissingExtraError
        If the client is not installed, or no longer carries them.
    """
    found = importlib.util.find_spec("ee")
    root = Path(found.origin).parent if found is not None and found.origin else None
    path = None if root is None else root / "tests" / "algorithms.json"
    if path is None or not path.is_file():
        raise MissingExtraError(
            f"{path or 'earthengine-api'}: not found; the sandbox takes the functions' signatures from the "
            "installed Earth Engine client; install the extra `build`"
        )
    tree = json.loads(path.read_text(encoding="utf-8"))
    return {entry["name"].removeprefix("algorithms/"): entry for entry in tree["algorithms"]}


def algorithms(implemented: Collection[str]) -> bytes:
    """The list of implemented functions as the service answers it, without descriptions: JSON."""
    known = signatures()
    entries = [_without_descriptions(known[name]) for name in sorted(implemented) if name in known]
    return json.dumps({"algorithms": entries}, separators=(",", ":")).encode()


def _without_descriptions(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_descriptions(item) for key, item in value.items() if key != "description"}
    return [_without_descriptions(item) for item in value] if isinstance(value, list) else value
