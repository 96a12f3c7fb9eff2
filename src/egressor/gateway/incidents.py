"""
Errors, bans and costs at the gateway: ``/-/errors.json``, ``/-/bans.json``, ``/-/costs.json``, and what an operator
says of a group of errors.

A ledger may take its time, so a thread waits for it.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from egressor._core.fingerprint import FORM
from egressor.errors import ConfigError
from egressor.ledger.statistics import LONGEST_MUTE

from .problems import Problem, RefusedError, meant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .app import Gateway

__all__ = ["MARKING", "bans", "costs", "errors", "expect", "mark"]

MARKING: dict[str, tuple[str, ...]] = {"resolve": (), "mute": ("seconds",), "unmute": ()}
"""
What an operator may do to a group of errors, and the fields that its body may have.
"""

_WHOLE = r"[0-9]{1,4}"
_FORMS = {
    "service": (r"[a-z0-9_.-]{0,64}", "service has at most 64 of a-z, 0-9, _, ., -"),
    "since": (r"[0-9]{1,11}(\.[0-9]{1,9})?", "since is a number of seconds since 1970"),
    "fingerprint": (rf"({FORM})?", "a fingerprint looks like 0a1b-2c3d-4e5f"),
    "groups": (_WHOLE, "groups is a whole number of 0 to 1000"),
    "recent": (_WHOLE, "recent is a whole number of 0 to 1000"),
    "limit": (_WHOLE, "limit is a whole number of 0 to 1000"),
}
_MOST = 1_000


def expect(query: Mapping[str, str], *names: str) -> None:
    """
    Refuse a *query* with a parameter that is none of *names*: what it was to choose would not be chosen.

    Raises:
        RefusedError: It has one.
    """
    for name in query:
        if name not in names:
            detail = f"unknown parameter {name[:40]!r}: {', '.join(names) or 'there is none'}{meant(name, names)}"
            raise RefusedError(Problem(400, "bad_query", "Bad query", detail))


async def errors(gateway: Gateway, query: Mapping[str, str]) -> dict[str, object]:
    """
    Return what ``/-/errors.json`` shows.
    """
    given = _asked(query, "service", "since", "fingerprint", "groups", "recent")
    return await asyncio.to_thread(partial(gateway.gov.errors, **given))


async def bans(gateway: Gateway, query: Mapping[str, str]) -> dict[str, object]:
    """
    Return what ``/-/bans.json`` shows.
    """
    given = _asked(query, "service", "since", "limit")
    return await asyncio.to_thread(partial(gateway.gov.bans, **given))


async def costs(gateway: Gateway, query: Mapping[str, str]) -> dict[str, object]:
    """
    Return what ``/-/costs.json`` shows.
    """
    given = _asked(query, "service", "since")
    return await asyncio.to_thread(partial(gateway.gov.costs, **given))


async def mark(
    gateway: Gateway, fingerprint: str, action: str, document: Mapping[str, Any], *, by: str
) -> dict[str, str]:
    """
    Do *action*, one of `MARKING`, to the group *fingerprint*.

    Raises:
        RefusedError: There is no such group, or it can't be muted for so long.
    """
    options: dict[str, Any] = {"by": by}
    if document.get("seconds") is not None:
        options["seconds"] = _seconds(document["seconds"])
    try:
        await asyncio.to_thread(partial(getattr(gateway.gov, f"{action}_error"), fingerprint, **options))
    except ConfigError as error:
        raise RefusedError(Problem(404, "not_found", "Not found", error.message)) from None
    return {"fingerprint": fingerprint, "action": action}


def _seconds(value: object) -> float:
    if type(value) not in {int, float} or not 0 < value <= LONGEST_MUTE:  # type: ignore[operator]
        detail = f"seconds is a number above 0, at most {LONGEST_MUTE}"
        raise RefusedError(Problem(400, "bad_body", "Bad body", detail))
    return float(value)  # type: ignore[arg-type]


def _asked(query: Mapping[str, str], *names: str) -> dict[str, Any]:
    expect(query, *names)
    found: dict[str, Any] = {}
    for name in names:
        text = query.get(name)
        if text is None:
            continue
        form, what = _FORMS[name]
        if re.fullmatch(form, text, re.ASCII) is None or (form is _WHOLE and int(text) > _MOST):
            raise RefusedError(Problem(400, "bad_query", "Bad query", what))
        found[name] = int(text) if form is _WHOLE else float(text) if name == "since" else text
    return found
