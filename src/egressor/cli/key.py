"""
The command ``key``.
"""

from __future__ import annotations

import json
from typing import Any

import click

from egressor._core.model import Priority
from egressor.gateway.keys import digest, new_key
from egressor.policies import BudgetPolicy, ClientKey
from egressor.policies.periods import KINDS
from egressor.policies.settings import settings_of

from .text import Word

__all__ = ["key"]


@click.command
@click.argument("name")
@click.option("--user", help="The scope's user of all of the client's calls; default: what the client says.")
@click.option("--feature", help="The scope's feature of all of its calls; default: what the client says.")
@click.option("--service", "services", multiple=True, help="A service that it may call, once for each; default: all.")
@click.option("--model", "models", multiple=True, help="A model that it may ask, once for each; default: all.")
@click.option(
    "--max-priority",
    type=Word([each.name.lower() for each in Priority]),
    help="The highest priority that its requests have; default: every one.",
)
@click.option(
    "--budget",
    multiple=True,
    help="US dollars that its requests may cost, as day=5: hour, day, week, month or total, once for each; default: no"
    " bound.",
)
@click.option(
    "--max-in-flight",
    type=click.IntRange(1, 1_000_000),
    help="Requests that it may have open at a time, per worker; default: no bound.",
)
def key(name: str, budget: tuple[str, ...], **bounds: Any) -> None:
    """
    Make a key for the client NAME: print it once, and the table for the configuration, which holds only its hash.
    """
    fresh = new_key()
    # Checked as the file will be: what is printed can be pasted.
    made = ClientKey(name=name, sha256=digest(fresh), budget=_budget(budget), **bounds)
    click.echo(f"# Give this to the client; nobody can show it again:\n#   {fresh}\n# Put this into the configuration:")
    click.echo("[[gateway.keys]]")
    for each in settings_of(ClientKey):
        value = getattr(made, each.name)
        if value not in (None, ()):
            click.echo(f"{each.name} = {_toml(value)}")


def _budget(words: tuple[str, ...]) -> BudgetPolicy | None:
    given = [(period, usd) for period, _, usd in (each.partition("=") for each in words)]
    if not all(period in KINDS and usd for period, usd in given) or len(dict(given)) < len(given):
        message = f"--budget is PERIOD=USD, once for each period: {', '.join(KINDS)}"
        raise click.UsageError(message)
    usd: dict[str, Any] = dict(given)
    return BudgetPolicy(**usd) if usd else None


def _toml(value: str | int | tuple[str, ...] | BudgetPolicy) -> str:
    if isinstance(value, BudgetPolicy):
        usd = [(kind, getattr(value, kind)) for kind in KINDS if getattr(value, kind) is not None]
        return f"{{ {', '.join(f'{kind} = {amount:f}' for kind, amount in usd)} }}"
    if isinstance(value, Priority):
        value = value.name.lower()
    # JSON's texts, numbers and lists of texts are TOML's, too.
    return json.dumps(value, ensure_ascii=False)
