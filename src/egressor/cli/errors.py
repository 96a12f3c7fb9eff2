"""
The command ``errors``: what failed, grouped, and what an operator says of a group.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import click

from egressor.errors import ConfigError
from egressor.governor.incidents import mark
from egressor.ledger.opening import open_history
from egressor.ledger.statistics import LONGEST_MUTE, Window, read_errors

from . import home
from .history import length, moment, warn
from .operate import ask
from .text import Word, columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from egressor.ledger.history import History

__all__ = ["errors", "guarded", "tell", "unseen"]

_ACTIONS = ("list", "show", "resolve", "mute", "unmute", "tail")
_HEADINGS = ("LAST SEEN", "COUNT", "24 H", "GAVE UP", "SERVICE", "CATEGORY", "STATE", "FINGERPRINT", "MESSAGE")
_NUMBERS = frozenset({1, 2, 3})
_COLUMNS = (
    *("fingerprint", "state", "service", "endpoint", "category", "severity", "type", "count", "last_24h", "last_7d"),
    *("calls", "recovered", "fell_back", "gave_up", "first_seen", "last_seen", "place", "message"),
)
_FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_SHOWN = 70
_EACH = 1.0
_TAILED = 200
_REMEMBERED = 5_000


@click.command
@click.argument("action", type=Word(_ACTIONS), default="list", required=False)
@click.argument("fingerprint", default="", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the groups as CSV.")
@click.option("--service", default="", help="Of this service only.")
@click.option("--since", default="7d", help="From then on: 90s, 15m, 2h, 7d, or a date such as 2026-01-31, in UTC.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, help="So many groups at most; default: 50.")
@click.option(
    "--for", "span", default="", help="With mute: for so long, as 2h or 7d, 400d at most; default: until unmute."
)
@click.option("--config", "file", type=click.Path(), help="Configuration file, whose ledger is read.")
@click.option("--url", help="Ask the gateway at this URL instead.")
def errors(
    *,
    action: str,
    fingerprint: str,
    as_json: bool,
    as_csv: bool,
    service: str,
    since: str,
    limit: int,
    span: str,
    file: str | None,
    url: str | None,
) -> int:
    """
    Show what failed, the most common first; show, resolve, mute or unmute one group, by its FINGERPRINT; or tail.

    The exit code is 1 if calls gave up on errors that nobody has resolved or muted, or if the ledger is away.
    """
    if (action in {"list", "tail"}) is bool(fingerprint):
        wanted = "no fingerprint" if fingerprint else "the fingerprint of a group: egressor errors lists them"
        msg = f"{action} takes {wanted}"
        raise click.UsageError(msg)
    config = home.find(file, url)
    address = "memory:" if config is None else config.ledger
    if action in {"resolve", "mute", "unmute"}:
        return _mark(address, url, action, fingerprint, span)
    if config is not None and address != "memory:":
        home.named(config, service)
    look = _look(address, url, service, moment(since), fingerprint, limit)
    if action == "tail":
        return _tail(look, as_json=as_json)
    code, document = look(0)
    if code:
        return code
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
    elif as_csv:
        click.echo(_csv(document["groups"]), nl=False)
    elif action == "show":
        if not document["groups"]:
            return _fail(2, f"no errors of the group {fingerprint[:40]}")
        click.echo("\n".join(_page(document)))
    else:
        click.echo("\n".join(_table(document)))
    warn(document["ledger"])
    return 1 if document["ledger"]["away"] or any(map(_hurts, document["groups"])) else 0


def _look(
    address: str, url: str | None, service: str, since: int, fingerprint: str, limit: int
) -> Callable[[int], tuple[int, dict[str, Any]]]:
    """
    Return what reads the errors: an exit code, and as many of the newest failures as it is asked for.
    """

    def asked(recent: int) -> tuple[int, dict[str, Any]]:
        wanted = {"service": service, "since": f"{since / 1e6:.6f}", "fingerprint": fingerprint}
        given = {name: value for name, value in wanted.items() if value}
        return ask(url, f"/-/errors.json?{urlencode({**given, 'groups': limit, 'recent': recent or 20})}", key="groups")

    def read(recent: int) -> tuple[int, dict[str, Any]]:
        window = Window(since, _now(), fingerprint, limit, recent or 20)
        return 0, _with(address, lambda history: read_errors(history, window, service=service))

    return asked if address == "memory:" else read


def _with(address: str, use: Callable[[History], Any]) -> Any:
    way = open_history(address, wall=_now, is_reading=True)
    try:
        return use(way)
    finally:
        way.close()


def _now() -> int:
    return time.time_ns() // 1000


def _mark(address: str, url: str | None, action: str, fingerprint: str, span: str) -> int:
    seconds = None
    if span:
        if action != "mute":
            return _fail(2, "--for goes with mute")
        seconds = length(span)
        if seconds is None or not 0 < seconds <= LONGEST_MUTE:
            return _fail(2, f"--for is a time above 0 such as 2h or 7d, at most 400d, not {span[:40]!r}")
    if address == "memory:":
        body = json.dumps({"seconds": seconds}).encode() if seconds else b""
        code, _ = ask(url, f"/-/errors/{quote(fingerprint, safe='')}/{action}", body, key="action")
        if code:
            return code
    else:
        try:
            _with(address, lambda history: mark(history, action, fingerprint, seconds=seconds))
        except ConfigError as error:
            return _fail(2, error.message)
    click.echo(f"{fingerprint}: {action}d")
    return 0


def _tail(look: Callable[[int], tuple[int, dict[str, Any]]], *, as_json: bool) -> int:
    """
    Print failures as they come, until Ctrl-C.
    """
    seen: dict[str, None] = {}
    is_first = True
    while True:
        # One more than is shown tells that there were more.
        code, document = look(_TAILED + 1)
        if code:
            return code
        fresh = unseen(document["recent"], seen)
        if not is_first:
            tell(fresh, as_json=as_json)
        is_first = False
        sys.stdout.flush()
        time.sleep(_EACH)


def tell(fresh: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """
    Print the failures *fresh*, the oldest first: of more than 200 the newest, with a word about it on standard error.
    """
    if len(fresh) > _TAILED:
        sys.stderr.write(f"egressor: more than {_TAILED} failures came at once; shown are the newest {_TAILED}\n")
    for each in fresh[-_TAILED:]:
        click.echo(json.dumps(each, ensure_ascii=False) if as_json else columns([_line(each)]))


def unseen(recent: Iterable[Mapping[str, Any]], seen: dict[str, None]) -> list[Mapping[str, Any]]:
    """
    Return those of *recent*, the newest first, that are not in *seen*, the oldest first, and put them there.
    """
    fresh = [each for each in recent if each["id"] not in seen][::-1]
    seen.update((each["id"], None) for each in fresh)
    while len(seen) > _REMEMBERED:
        del seen[next(iter(seen))]
    return fresh


def _hurts(group: Mapping[str, Any]) -> bool:
    return group["state"] in {"open", "reopened"} and group["gave_up"] > 0


def _table(document: Mapping[str, Any]) -> list[str]:
    groups = document["groups"]
    if not groups:
        return ["no errors"]
    lines = [_summary(document), "", columns([_HEADINGS, *map(_row, groups)], right=_NUMBERS)]
    if document["groups_total"] > len(groups):
        lines.append(f"and {document['groups_total'] - len(groups)} groups more")
    return lines


def _summary(document: Mapping[str, Any]) -> str:
    rate = document["recovery_rate"]
    share = "" if rate is None else f" ({rate:.0%})"
    return (
        f"{document['total']} failed attempts of {document['calls']} calls since {_short(document['since'])}: "
        f"{document['recovered']} recovered{share}, {document['fell_back']} fell back, {document['gave_up']} gave up"
    )


def _row(group: Mapping[str, Any]) -> tuple[str, ...]:
    numbers = tuple(str(group[name]) for name in ("count", "last_24h", "gave_up"))
    words = tuple(str(group[name]) for name in ("category", "state", "fingerprint"))
    return (_short(group["last_seen"]), *numbers, _place(group), *words, _brief(group["message"]))


def _line(failure: Mapping[str, Any]) -> tuple[str, ...]:
    times = "" if failure["count"] == 1 else f"{failure['count']}x "
    words = tuple(str(failure[name]) for name in ("category", "outcome", "fingerprint"))
    return (_short(failure["at"]), _place(failure), *words, times + _brief(failure.get("message", "")))


def _page(document: Mapping[str, Any]) -> list[str]:
    group = document["groups"][0]
    names = (*_COLUMNS, "rule", "why", "cause", "resolved_at", "resolved_by", "muted_until")
    facts = [(name.replace("_", " "), str(group[name])) for name in names if group.get(name) not in {None, ""}]
    hours = [(_short(each["hour"]), str(each["count"])) for each in document["timeline"] if each["count"]]
    recent = [_line(each) for each in document["recent"]]
    return [columns(facts), "", columns([("HOUR", "COUNT"), *hours]), "", columns(recent or [("no failures",)])]


def _place(each: Mapping[str, Any]) -> str:
    endpoint = each.get("endpoint")
    return f"{each['service']}/{endpoint}" if endpoint else str(each["service"])


def _short(moment: str) -> str:
    return moment[:19].replace("T", " ")


def _brief(text: object) -> str:
    told = str(text)
    return told if len(told) <= _SHOWN else told[: _SHOWN - 1] + "…"


def _csv(groups: Iterable[Mapping[str, Any]]) -> str:
    sheet = io.StringIO()
    writer = csv.writer(sheet)
    writer.writerow(_COLUMNS)
    for group in groups:
        writer.writerow([guarded(group[name]) for name in _COLUMNS])
    return sheet.getvalue()


def guarded(value: object) -> object:
    """
    Return *value* as a cell that no spreadsheet takes for a formula (OWASP, CSV Injection).
    """
    if not isinstance(value, str):
        return value
    text = "".join(char if char.isprintable() else "?" for char in value)
    return f"'{text}" if text.lstrip().startswith(_FORMULAS) else text


def _fail(code: int, message: str) -> int:
    sys.stderr.write(f"egressor: {message}\n")
    return code
