"""
Which models a client's key may ask, and which ones a request does ask.

Where that can't be told, the request is refused: a body that is no JSON, is packed, or is not all there; a WebSocket,
in which a model is named later; one that names a model twice, or only something that its provider keeps (a stored
prompt, an assistant, a batch's file), and with it a model. A request that sends nothing and names nothing asks no
model, nor does the upload of a file.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from egressor.dialects.paths import deployment_at, model_at, plain

from .problems import Problem, RefusedError

if TYPE_CHECKING:
    from egressor.policies import ClientKey

    from .relay import Order

__all__ = ["check_models", "models_of"]

_UPLOADS = re.compile(r"/(files|uploads|uploads/[^/]+/(parts|complete|cancel))$")
# Where further models stand in a body: of realtime sessions, of the requests of a batch, of tools.
_INSIDE = ("session", "params")
_LISTED = ("requests", "tools")


def check_models(mine: ClientKey, order: Order) -> None:
    """
    Refuse *order* unless each model that it asks is one of those of the key *mine*.

    Raises:
        RefusedError: It asks another model, or nobody can tell which one.
    """
    body = order.body.payload() if order.body.is_kept else None
    is_read = order.body.is_kept and not order.is_upgrade
    names = models_of(order.url, body if isinstance(body, bytes) else b"") if is_read else None
    known = ", ".join(mine.models)
    if names is None:
        detail = f"the key {mine.name} is for the models {known}, and which one the request asks can't be told"
        raise RefusedError(Problem(403, "not_this_model", "Not with this key", detail))
    for name in names:
        if not any(_fits(name, pattern) for pattern in mine.models):
            detail = f"the key {mine.name} is for the models {known}, and not for {name[:64]!r}"
            raise RefusedError(Problem(403, "not_this_model", "Not with this key", detail))


def models_of(url: str, body: bytes) -> list[str] | None:
    """
    Return the models that a request asks; none if it asks no model, and None if nobody can tell.

    Args:
        url: Where to.
        body: What it sends, whole.
    """
    path = plain(url)
    told = [each for each in (model_at(path)[0], deployment_at(path)) if each]
    told += parse_qs(url.partition("?")[2]).get("model", [])
    if not body or _UPLOADS.search(path):
        return told
    try:
        parsed = json.loads(body, object_pairs_hook=_object)
        named = _named(parsed) if isinstance(parsed, dict) else []
    except (ValueError, RecursionError):
        return None
    names = [each for each in named if isinstance(each, str) and each]
    return [*told, *names] or None if len(names) == len(named) else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """
    Return an object by its names in lower case, as some servers read them too.

    Raises:
        ValueError: A name of models is there twice, of which servers take either.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        low = name.lower()
        if low in found and low in {"model", "models", *_INSIDE, *_LISTED}:
            message = f"{low} is there twice"
            raise ValueError(message)
        found[low] = value
    return found


def _named(said: dict[str, Any]) -> list[Any]:
    """
    Return what stands in a body where models stand.
    """
    others = said.get("models")
    found = [said[name] for name in ("model",) if said.get(name) is not None]
    found += others if isinstance(others, list) else [] if others is None else [others]
    inside = [said.get(name) for name in _INSIDE]
    inside += [each for name in _LISTED if isinstance(listed := said.get(name), list) for each in listed]
    return found + [name for each in inside if isinstance(each, dict) for name in _named(each)]


def _fits(name: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None
