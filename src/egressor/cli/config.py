"""
Commands about the configuration: ``check``, ``explain``, ``init``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import click

from egressor.errors import ConfigError
from egressor.governor import Governor
from egressor.policies import Config, ConfigErrors, load
from egressor.policies.report import Row, effective, template

from .findings import uncounted
from .home import config_path, settled
from .text import columns

__all__ = ["check", "explain", "init"]

_DEFAULT = "egressor.toml"


@click.command
@click.argument("file", required=False, type=click.Path())
@click.option("--config", "named", type=click.Path(), help="Configuration file, as FILE.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(file: str | None, named: str | None, *, as_json: bool) -> int:
    """
    Check the configuration, and show every value that holds with where it came from.

    What only this environment lacks, such as a key's variable, is a warning: it may be there where the gateway runs.
    """
    if file and named:
        message = f"FILE {file} and --config {named} name two files: check takes one"
        raise click.UsageError(message)
    # What it needs is slow to import.
    from egressor.gateway.targets import refusals

    from .findings import unpriced

    try:
        config = settled(load(config_path(file or named)), anyway=True)
    except ConfigError as error:
        errors = error.errors if isinstance(error, ConfigErrors) else (error,)
        if as_json:
            click.echo(json.dumps({"ok": False, "errors": [_shown(each) for each in errors]}, ensure_ascii=False))
        for each in errors:
            sys.stderr.write(f"egressor: {each}\n")
        return 2
    rows, warnings, doubts, notes = effective(config), refusals(config), unpriced(config), uncounted(config)
    if as_json:
        values = [{"service": row.service, "key": row.key, "value": row.value, "source": row.source} for row in rows]
        click.echo(
            json.dumps(
                {
                    "ok": True,
                    "settings": values,
                    "warnings": [*map(_shown, [*warnings, *doubts])],
                    "notes": notes,
                },
                ensure_ascii=False,
            )
        )
    else:
        click.echo(_report(config, rows))
        for each in warnings:
            click.echo(f"\nwarning: {each}; egressor serve would not start here")
        for each in doubts:
            click.echo(f"\nwarning: {each}")
        for note in notes:
            click.echo(f"\nnote: {note}")
    return 0


@click.command
@click.argument("service")
@click.option("--config", "file", type=click.Path(), help="Configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(service: str, file: str | None, *, as_json: bool) -> None:
    """
    Show the steps that a call to SERVICE takes, in their order.
    """
    # Nothing of it depends on where counters and history are, and looking touches neither.
    config = replace(load(config_path(file)), store="memory:", ledger="memory:")
    with Governor(config=config) as gov:
        steps = gov.explain(service)
    click.echo(
        json.dumps({"service": service, "steps": steps.splitlines()[1:]}, ensure_ascii=False) if as_json else steps
    )


@click.command
@click.argument("path", default=_DEFAULT, type=click.Path())
def init(path: str) -> int:
    """
    Write a commented configuration file; an existing one is never overwritten.
    """
    try:
        with Path(path).open("x", encoding="utf-8") as stream:
            stream.write(template())
    except FileExistsError:
        sys.stderr.write(f"egressor: {path} is there already, and stays as it is\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"egressor: {path} can't be written: {error.strerror or type(error).__name__}\n")
        return 2
    click.echo(f"wrote {path}; next: egressor check {path}")
    return 0


def _report(config: Config, rows: list[Row]) -> str:
    parts = [columns([(row.key, _text(row.value), row.source) for row in rows if not row.service])]
    for name in config.services:
        mine = [(f"  {row.key}", _text(row.value), row.source) for row in rows if row.service == name]
        parts.append(f"[{name}]\n{columns(mine)}")
    if not config.services:
        parts.append("no services")
    return "\n\n".join(parts)


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)


def _shown(error: ConfigError) -> dict[str, object]:
    return {
        "message": error.message,
        "file": error.file,
        "line": error.line,
        "key": error.key,
        "nearest": error.nearest,
    }
