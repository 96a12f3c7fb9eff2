"""
The command ``costs``: what calls have cost, and how budgets stand.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from egressor.governor.money import standing
from egressor.ledger.costs import BY, MONTH, paid_for, read_costs
from egressor.ledger.money import Page, lose
from egressor.ledger.opening import open_ledger

from . import home
from .errors import guarded
from .history import moment, warn
from .operate import ask
from .text import Word, columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from egressor.policies import Config

__all__ = ["costs"]


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print what was spent as CSV.")
@click.option("--by", type=Word(BY), default="day", help="Add up by this; default: day.")
@click.option("--service", default="", help="Of this service only.")
@click.option("--since", default="", help="From the day of this time on: 7d, 4w, or 2026-01-31; default: 30d.")
@click.option("--config", "file", type=click.Path(), help="Configuration file, whose ledger is read.")
@click.option("--url", help="Ask the gateway at this URL instead.")
def costs(*, as_json: bool, as_csv: bool, by: str, service: str, since: str, file: str | None, url: str | None) -> int:
    """
    Show what calls with a budget have cost, and how the budgets stand.

    Of budgets for each value of something the thousand nearest to their limits are shown.
    The exit code is 1 if nothing is left of a budget, or if the ledger is away.
    """
    config = home.find(file, url)
    start = moment(since)
    if config is None or config.ledger == "memory:":
        given = {"service": service, "since": f"{start / 1e6:.6f}" if start else ""}
        code, document = ask(
            url, f"/-/costs.json?{urlencode({key: each for key, each in given.items() if each})}", key="by_day"
        )
        if code:
            return code
    else:
        document = _read(config, service, start)
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
    elif as_csv:
        lines = csv.writer(sys.stdout, lineterminator="\n")
        lines.writerow([by, "calls", "usd", "unknown_usd"])
        lines.writerows([guarded(name), *amount.values()] for name, amount in document[f"by_{by}"].items())
    else:
        click.echo(_shown(document, by))
    warn(document["ledger"])
    is_over = any(float(each["left_usd"]) == 0 for each in document["budgets"])
    return 1 if document["ledger"]["away"] or is_over else 0


def _read(config: Config, service: str, since: int) -> dict[str, Any]:
    ledger, now = open_ledger(config.ledger), time.time_ns() // 1000

    def read(work: Callable[[Page], Any]) -> Any:
        return ledger.money(partial(_look, work=work, now=now))

    asks = standing(config, now)
    state = {"away": "", "owed": 0, "dropped": 0}
    try:
        home.named(config, service, paid=partial(paid_for, read))
        return read_costs(read, asks, now=now, since=since or now - MONTH, state=state, service=service)
    finally:
        ledger.close()


def _look(page: Page, work: Callable[[Page], Any], now: int) -> Any:
    lose(page, now)
    return work(page)


def _shown(document: Mapping[str, Any], by: str) -> str:
    spent: list[tuple[str, ...]] = [(by.upper(), "CALLS", "USD", "UNKNOWN")]
    spent += [_amount(name or "-", each) for name, each in document[f"by_{by}"].items()]
    spent.append(_amount("total", document["total"]))
    parts = [columns(spent)]
    if document["budgets"]:
        heading = ("BUDGET", "LIMIT", "SPENT", "HELD", "UNKNOWN", "LEFT", "RENEWS", "FORECAST")
        parts.append(columns([heading, *map(_budget, document["budgets"])]))
    # A gateway of an earlier version shows all.
    if more := document.get("budgets_left_out", 0):
        parts.append(f"{more} budgets more are further from their limits.")
    return "\n\n".join(parts)


def _amount(name: str, each: Mapping[str, Any]) -> tuple[str, ...]:
    return name, str(each["calls"]), each["usd"], each["unknown_usd"]


def _budget(each: Mapping[str, Any]) -> tuple[str, ...]:
    amounts = (each[f"{name}_usd"] for name in ("limit", "spent", "held", "unknown", "left"))
    renews = "never" if each["renews"] is None else each["renews"][:19].replace("T", " ")
    return each["budget"], *amounts, renews, each["forecast_usd"] or "-"
