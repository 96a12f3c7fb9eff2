"""
The command ``history``: what the ledger holds, out of it, and into it.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from egressor.governor.asked import check_kind
from egressor.ledger import LedgerAway, Pick
from egressor.ledger.entry import as_dict, as_line, from_line
from egressor.ledger.grouping import ERROR
from egressor.ledger.opening import open_history, open_ledger

from . import home
from .operate import ask
from .text import columns

if TYPE_CHECKING:
    from egressor.ledger import Ledger
    from egressor.ledger.entry import Entry

__all__ = ["history", "length", "moment", "warn"]

_HEADINGS = ("WHEN", "KIND", "SERVICE", "WHAT", "WHO", "MORE")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PAGE = 1_000


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--service", default="", help="Of this service only.")
@click.option(
    "--kind", default="", help="Of this kind only: operator, breaker, ban, error, budget; default: all but error."
)
@click.option("--since", default="", help="From then on: 90s, 15m, 2h, 7d, or 2026-01-31 or 2026-01-31T12:00, in UTC.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, help="So many at most; default: 50.")
@click.option("--config", "file", type=click.Path(), help="Configuration file, whose ledger is read.")
@click.option("--url", help="Read from the gateway at this URL instead.")
@click.option("--export", "target", type=click.Path(), help="Write all of it to this file, or -, as JSON lines.")
@click.option("--import", "source", type=click.Path(), help="Take up the JSON lines of this file, or -.")
def history(
    *,
    as_json: bool,
    service: str,
    kind: str,
    since: str,
    limit: int,
    file: str | None,
    url: str | None,
    target: str | None,
    source: str | None,
) -> int:
    """
    Show what operators did, how breakers changed, and how bans went, the newest first.

    It is read from the configuration's ledger; where that is the memory of the gateway, or nothing is configured here,
    the running gateway is asked.
    """
    # Failed attempts are many, and `egressor errors` adds them up; a copy of the ledger has them.
    is_copy = target is not None or source is not None
    pick = Pick(service, kind, since=moment(since), limit=limit, without="" if kind or is_copy else ERROR)
    try:
        config = home.find(file, url)
        address = "memory:" if config is None else config.ledger
        if config is not None and address != "memory:":
            home.named(config, service)
        if is_copy:
            return _move(address, pick, target, source)
        code, document = _asked(url, pick) if address == "memory:" else (0, _read(address, pick))
    except LedgerAway as error:
        return _fail(1, f"the ledger is away: {error}")
    if code:
        return code
    entries, state = document["entries"], document["ledger"]
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        click.echo(columns([_HEADINGS, *map(_row, entries)]) if entries else "no entries")
    warn(state)
    return 1 if state["away"] else 0


def length(text: str) -> int | None:
    """
    Return the seconds that *text*, such as ``2h``, says; None if it says none.
    """
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text, re.ASCII)
    return None if found is None else int(found[1]) * _UNITS[found[2]]


def moment(text: str) -> int:
    """
    Return the time that *text* says, ago or as a date, in microseconds since 1970; 0 for an empty one.

    Raises:
        click.BadParameter: It is none.
    """
    if not text:
        return 0
    ago = length(text)
    if ago is not None:
        return max(0, time.time_ns() // 1000 - ago * 1_000_000)
    try:
        found = datetime.fromisoformat(text)
        return max(0, int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1_000_000))
    except (ValueError, OverflowError):
        message = f"{text[:40]!r} is no time: 90s, 15m, 2h, 7d, 2026-01-31, 2026-01-31T12:00"
        raise click.BadParameter(message, param_hint="--since") from None


def _asked(url: str | None, pick: Pick) -> tuple[int, dict[str, Any]]:
    wanted = {"service": pick.service, "kind": pick.kind, "since": pick.since / 1e6 or "", "limit": pick.limit}
    given = {name: value for name, value in wanted.items() if value}
    return ask(url, f"/-/history.json?{urlencode(given)}", key="entries")


def _read(address: str, pick: Pick) -> dict[str, Any]:
    way = open_history(address, wall=lambda: time.time_ns() // 1000, is_reading=True)
    try:
        check_kind(pick.kind, way)
        return {"ledger": way.state(), "entries": [as_dict(entry) for entry in way.read(pick)]}
    finally:
        way.close()


def _move(address: str, pick: Pick, target: str | None, source: str | None) -> int:
    if address == "memory:":
        return _fail(2, "to export and import, the configuration must name a ledger that lasts: sqlite or postgresql")
    if target is not None and source is not None:
        return _fail(2, "--export or --import, not both")
    ledger = open_ledger(address)
    try:
        return _export(ledger, pick, target) if target is not None else _import(ledger, str(source))
    except OSError as error:
        return _fail(2, f"{target or source}: {error.strerror or type(error).__name__}")
    finally:
        ledger.close()


def _export(ledger: Ledger, pick: Pick, target: str) -> int:
    count, seal = 0, ""
    with nullcontext(sys.stdout) if target == "-" else _private(target) as stream:
        for entry in _pages(ledger, pick):
            line = as_line(entry)
            seal = _sealing(seal, line)
            stream.write(f'{line[:-1]},"seal":"{seal}"}}\n')
            count += 1
    sys.stderr.write(f"{count} entries{_sealed(seal)}\n")
    return 0


def _sealing(seal: str, line: str) -> str:
    """
    Return the seal of *line*, which is that of all lines up to it: *seal* is that of those before.
    """
    return sha256(f"{seal}{line}".encode(errors="surrogatepass")).hexdigest()


def _sealed(seal: str) -> str:
    return f", sealed {seal[:16]}" if seal else ""


def _private(target: str) -> Any:
    import os

    # Who did what is nobody else's business; a file that is there is not written over.
    return os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii")


def _pages(ledger: Ledger, pick: Pick) -> Iterator[Any]:
    pick = pick._replace(limit=_PAGE, is_newest=False)
    while page := ledger.read(pick):
        yield from page
        pick = pick._replace(after=page[-1].id)


def _import(ledger: Ledger, source: str) -> int:
    new = seen = 0
    unsealed = _Unsealed()
    with nullcontext(sys.stdin) if source == "-" else Path(source).open(encoding="utf-8", errors="replace") as stream:
        for page in _batches(stream):
            try:
                batch = [unsealed.entry(number, line) for number, line in page]
            except ValueError as error:
                return _fail(2, f"{source}:{error}; {seen} entries before it are taken up")
            new += ledger.append(batch)
            seen += len(batch)
    click.echo(f"{seen} entries, {new} of them new{_sealed(unsealed.seal)}")
    return 0


class _Unsealed:
    """
    Reads the lines of one file in their order, each of them sealed or none.

    Attributes:
        seal: That of the lines so far; empty if none has one.
    """

    seal = ""
    _is_begun = False

    def entry(self, number: int, line: str) -> Entry:
        """
        Return the entry of a line.

        Raises:
            ValueError: It is none, or not what was exported behind those before it; the message begins with *number*.
        """
        found = re.fullmatch(r'(.*),"seal":"([0-9a-f]{64})"\}\s*', line)
        text = line if found is None else found[1] + "}"
        try:
            entry = from_line(text)
        except ValueError as error:
            msg = f"{number}: {error}"
            raise ValueError(msg) from None
        if found is not None and (self.seal or not self._is_begun):
            self.seal = _sealing(self.seal, text)
        if self.seal != ("" if found is None else found[2]):
            msg = f"{number}: its seal is wrong: it, or what was before it, is not what was exported"
            raise ValueError(msg)
        self._is_begun = True
        return entry


def _batches(stream: Iterable[str]) -> Iterator[list[tuple[int, str]]]:
    page: list[tuple[int, str]] = []
    for numbered in enumerate(stream, 1):
        if numbered[1].strip():
            page.append(numbered)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    more = ", ".join(f"{name}={_short(value)}" for name, value in entry["data"].items())
    when = str(entry["at"])[:19].replace("T", " ")
    return when, entry["kind"], entry["service"] or "-", entry["what"], entry["who"] or "-", more or "-"


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def warn(state: dict[str, Any]) -> None:
    """
    Say on standard error what is wrong with a ledger.
    """
    if state["away"]:
        sys.stderr.write(f"egressor: the ledger is away: {state['away']}; shown is what waits for it\n")
    if state["dropped"]:
        sys.stderr.write(f"egressor: {state['dropped']} entries were dropped\n")


def _fail(code: int, message: str) -> int:
    sys.stderr.write(f"egressor: {message}\n")
    return code
