"""
The command ``bans``: which services have banned us, and when.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from egressor.ledger.bans import read_bans
from egressor.ledger.opening import open_history

from . import home
from .history import moment, warn
from .operate import ask
from .text import columns

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["bans"]

_HEADINGS = ("BEGAN", "SERVICE", "STATE", "UNTIL", "LASTED", "THE", "SCOPE", "BECAUSE OF")


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--service", default="", help="Of this service only.")
@click.option("--since", default="", help="Began then or later: 90s, 15m, 2h, 7d, or 2026-01-31 or 2026-01-31T12:00.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, help="So many at most; default: 50.")
@click.option("--config", "file", type=click.Path(), help="Configuration file, whose ledger is read.")
@click.option("--url", help="Ask the gateway at this URL instead.")
def bans(*, as_json: bool, service: str, since: str, limit: int, file: str | None, url: str | None) -> int:
    """
    Show which services have banned us, the newest ban first.

    The exit code is 1 if a ban holds, or if the ledger is away.
    """
    config = home.find(file, url)
    start = moment(since)
    if config is None or config.ledger == "memory:":
        given = {"service": service} if service else {}
        path = f"/-/bans.json?{urlencode({**given, 'since': f'{start / 1e6:.6f}', 'limit': limit})}"
        code, document = ask(url, path, key="bans")
        if code:
            return code
    else:
        home.named(config, service)
        document = _read(config.ledger, service, start, limit)
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        click.echo(columns([_HEADINGS, *map(_row, document["bans"])]) if document["bans"] else "no bans")
    warn(document["ledger"])
    return 1 if document["ledger"]["away"] or document["active"] else 0


def _read(address: str, service: str, since: int, limit: int) -> dict[str, Any]:
    def wall() -> int:
        return time.time_ns() // 1000

    way = open_history(address, wall=wall, is_reading=True)
    try:
        return read_bans(way, now=wall(), since=since, service=service, limit=limit)
    finally:
        way.close()


def _row(ban: Mapping[str, Any]) -> tuple[str, ...]:
    seconds = ban.get("seconds")
    lasted = f"{seconds:.0f} s" if isinstance(seconds, (int, float)) else "-"
    number = ban.get("count")
    until = str(ban["ended"] or ban["until"] or "-")
    because = f"{ban.get('rule') or '-'}{', the server said how long' if ban.get('told') else ''}"
    return (
        _short(ban["began"]),
        str(ban["service"]),
        str(ban["state"]),
        _short(until),
        lasted,
        f"{number}." if isinstance(number, int) else "-",
        str(ban.get("scope") or "-"),
        because,
    )


def _short(moment: str) -> str:
    return moment[:19].replace("T", " ")
