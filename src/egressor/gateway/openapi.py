"""
The gateway's own pages as an OpenAPI 3.1 document, ``/-/openapi.json``.

What is forwarded is not in it: those paths are the services' own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from egressor._core.fingerprint import FORM
from egressor.ledger.entry import KINDS

__all__ = ["document"]

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "reason"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "reason": {"type": "string", "pattern": "^[a-z_]+$"},
        "retry_after": {"type": ["number", "null"]},
    },
}
_STATUS = {
    "type": "object",
    "required": [
        "version",
        "started",
        "uptime_s",
        "now",
        "draining",
        "reloads",
        "last_reload_error",
        "services",
        "fleet",
    ],
    "properties": {
        "version": {"type": "string"},
        "started": {"type": "string", "format": "date-time"},
        "uptime_s": {"type": "number"},
        "now": {"type": "number"},
        "draining": {"type": "boolean"},
        "reloads": {"type": "integer"},
        "last_reload_error": {"type": "string"},
        "services": {"type": "object", "additionalProperties": {"type": "object"}},
        "fleet": {"type": ["object", "null"]},
    },
}
_HISTORY = {
    "type": "object",
    "required": ["entries", "ledger"],
    "properties": {
        "entries": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "at", "kind", "service", "what", "who", "data"],
                "properties": {
                    "id": {"type": "string", "format": "uuid"},
                    "at": {"type": "string", "format": "date-time"},
                    "kind": {"type": "string"},
                    "service": {"type": "string"},
                    "what": {"type": "string"},
                    "who": {"type": "string"},
                    "data": {"type": "object"},
                },
            },
        },
        "ledger": {"type": "object"},
    },
}
_COUNTS = {"type": "object", "additionalProperties": {"type": "integer"}}
_ERRORS = {
    "type": "object",
    "required": [
        *("since", "until", "total", "calls", "recovered", "fell_back", "gave_up", "recovery_rate", "by_category"),
        *("by_severity", "by_service", "by_component", "timeline", "groups_total", "groups", "recent", "ledger"),
        *("dropped", "merged"),
    ],
    "properties": {
        **{name: {"type": "string", "format": "date-time"} for name in ("since", "until")},
        **{
            name: {"type": "integer"}
            for name in ("total", "calls", "recovered", "fell_back", "gave_up", "groups_total", "dropped", "merged")
        },
        "recovery_rate": {"type": ["number", "null"]},
        **dict.fromkeys(("by_category", "by_severity", "by_service", "by_component"), _COUNTS),
        "timeline": {"type": "array", "items": {"type": "object"}},
        "groups": {"type": "array", "items": {"type": "object"}},
        "recent": {"type": "array", "items": {"type": "object"}},
        "ledger": {"type": "object"},
    },
}
_BANS = {
    "type": "object",
    "required": ["active", "total", "by_service", "bans", "ledger"],
    "properties": {
        "active": {"type": "array", "items": {"type": "object"}},
        "total": {"type": "integer"},
        "by_service": _COUNTS,
        "bans": {"type": "array", "items": {"type": "object"}},
        "ledger": {"type": "object"},
    },
}
_COSTS = {
    "type": "object",
    "required": [
        "since",
        "total",
        "by_service",
        "by_model",
        "by_feature",
        "by_user",
        "by_day",
        "budgets",
        "budgets_left_out",
        "ledger",
    ],
    "properties": {
        "since": {"type": "string"},
        "total": {"type": "object"},
        **{f"by_{name}": {"type": "object"} for name in ("service", "model", "feature", "user", "day")},
        "budgets": {"type": "array", "items": {"type": "object"}},
        "budgets_left_out": {"type": "integer"},
        "ledger": {"type": "object"},
    },
}
_MARKED = {
    "type": "object",
    "required": ["fingerprint", "action"],
    "properties": {"fingerprint": {"type": "string"}, "action": {"type": "string"}},
}
_SECONDS = {
    "type": "object",
    "required": ["seconds"],
    "additionalProperties": False,
    "properties": {"seconds": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 34_560_000}},
}
_SINCE = {"name": "since", "in": "query", "schema": {"type": "string", "pattern": r"^[0-9]{1,11}(\.[0-9]{1,9})?$"}}
_FINGERPRINT = {"type": "string", "pattern": f"^{FORM}$"}
_PICK_ERRORS = [
    _SINCE,
    {"name": "fingerprint", "in": "query", "schema": {"type": "string", "pattern": f"^({FORM})?$"}},
    *(
        {"name": name, "in": "query", "schema": {"type": "integer", "minimum": 0, "maximum": 1000}}
        for name in ("groups", "recent")
    ),
]
_PICK_BANS = [
    _SINCE,
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 0, "maximum": 1000}},
]
_PICK_COSTS = [_SINCE]
_PICK = [
    {"name": "kind", "in": "query", "schema": {"enum": ["", *KINDS]}},
    {"name": "since", "in": "query", "schema": {"type": "string", "pattern": r"^[0-9]{1,11}(\.[0-9]{1,9})?$"}},
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000}},
]
_REASON = {
    "type": "object",
    "required": ["reason"],
    "additionalProperties": False,
    "properties": {"reason": {"type": "string", "maxLength": 200, "pattern": "^[ -~]*$"}},
}
_DONE = {
    "type": "object",
    "required": ["service", "action", "state"],
    "properties": {"service": {"type": "string"}, "action": {"type": "string"}, "state": {"type": "string"}},
}
_WORD = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}


def document(
    version: str, actions: Iterable[str], services: Iterable[str], marking: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    """
    Return the document for this *version*, with the operator's *actions* on *services*, and *marking* of errors.
    """
    # What is no longer configured, and has entries, may be asked for, too; nobody has to know.
    service = {"name": "service", "in": "query", "schema": {"enum": ["", *sorted(services)]}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Egressor's own pages", "version": version},
        "security": [{"operator": []}, {"page": []}, {}],
        "components": {
            "securitySchemes": {
                "operator": {"type": "http", "scheme": "bearer"},
                "page": {"type": "http", "scheme": "basic"},
            }
        },
        "paths": {
            "/-/": {"get": _page("The status page", "text/html")},
            "/-/page.css": {"get": _page("Its style", "text/css")},
            "/-/page.js": {"get": _page("Its script", "text/javascript")},
            "/-/status.json": {"get": _reading("The status of every service", _STATUS)},
            "/-/history.json": {
                "get": {**_reading("What the ledger holds", _HISTORY), "parameters": [service, *_PICK]}
            },
            "/-/errors.json": {"get": {**_reading("What failed", _ERRORS), "parameters": [service, *_PICK_ERRORS]}},
            "/-/bans.json": {"get": {**_reading("Who has banned us", _BANS), "parameters": [service, *_PICK_BANS]}},
            "/-/costs.json": {
                "get": {**_reading("What calls have cost", _COSTS), "parameters": [service, *_PICK_COSTS]}
            },
            **{f"/-/errors/{{fingerprint}}/{action}": {"post": _marking(has)} for action, has in marking.items()},
            "/-/openapi.json": {"get": _reading("This document", {"type": "object"})},
            "/-/healthz": {"get": _probe("Whether the process answers", {"200": "It does."})},
            "/-/readyz": {"get": _probe("Whether it takes requests", {"200": "It does.", "503": "It drains."})},
            "/-/services/{service}/{action}": {"post": _action(list(actions), sorted(services))},
        },
    }


def _page(summary: str, media_type: str) -> dict[str, Any]:
    return _read(summary, {"200": {"description": summary, "content": {media_type: {"schema": {"type": "string"}}}}})


def _reading(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    return _read(summary, {"200": _answer(summary, schema)})


def _read(summary: str, answers: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "responses": {**answers, **_problems("400", "401", "403", "421")}}


def _probe(summary: str, words: dict[str, str]) -> dict[str, Any]:
    answers = {status: _answer(text, _WORD) for status, text in words.items()}
    return {"summary": summary, "security": [{}], "responses": {**answers, **_problems("400", "403", "421")}}


def _action(actions: list[str], services: list[str]) -> dict[str, Any]:
    return {
        "summary": "Pause or resume a service, close its breaker, end its suspension",
        "security": [{"operator": []}],
        "parameters": [
            {"name": "service", "in": "path", "required": True, "schema": {"type": "string", "enum": services}},
            {"name": "action", "in": "path", "required": True, "schema": {"type": "string", "enum": actions}},
        ],
        "requestBody": {"required": False, "content": {"application/json": {"schema": _REASON}}},
        "responses": {
            "200": _answer("It is done.", _DONE),
            **_problems("400", "401", "403", "404", "405", "408", "413", "421"),
        },
    }


def _marking(fields: tuple[str, ...]) -> dict[str, Any]:
    body = {"required": False, "content": {"application/json": {"schema": _SECONDS}}}
    return {
        "summary": "Resolve, mute or unmute a group of errors",
        "security": [{"operator": []}],
        "parameters": [{"name": "fingerprint", "in": "path", "required": True, "schema": _FINGERPRINT}],
        **({"requestBody": body} if fields else {}),
        "responses": {
            "200": _answer("It is done.", _MARKED),
            **_problems("400", "401", "403", "404", "405", "408", "413", "421"),
        },
    }


def _problems(*statuses: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _PROBLEM}}
    return {status: {"description": "A problem (RFC 9457)", "content": content} for status in statuses}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
