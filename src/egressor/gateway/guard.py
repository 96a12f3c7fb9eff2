"""
Who may speak to the gateway at all: programs on this machine, and pages that the gateway itself has served.

A name that an attacker's DNS points to 127.0.0.1 arrives with that name in ``Host``; another site's page says so in
``Sec-Fetch-Site`` and ``Origin``. Without these checks any page in a browser could spend the keys that are added here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address

from .problems import Problem

__all__ = ["is_loopback", "misdirected", "stranger"]

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::[0-9]{1,5})?")
_ORIGIN = re.compile(r"https?://(?P<host>[^/]+)")


def is_loopback(host: str) -> bool:
    """
    Whether *host* means this machine only.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def misdirected(host: str | None, own: str) -> Problem | None:
    """
    Refuse a request whose ``Host`` is neither a loopback name nor *own*, the name that is listened on.
    """
    if _is_ours(host or "", own):
        return None
    return Problem(421, "wrong_host", "Not a name of this gateway", "the Host header names neither localhost nor us")


def stranger(headers: Mapping[str, str], own: str) -> Problem | None:
    """
    Refuse what another site's page has sent.
    """
    origin = headers.get("Origin")
    foreign = headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}
    if origin is not None and not foreign:
        found = _ORIGIN.fullmatch(origin)
        foreign = origin == "null" or (found is not None and not _is_ours(found["host"], own))
    if not foreign:
        return None
    return Problem(403, "cross_site", "Another site's page", "pages of other sites may not use this gateway")


def _is_ours(host: str, own: str) -> bool:
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found["name"].lower()
    return is_loopback(name) or name.strip("[]") == own.lower().strip("[]")
