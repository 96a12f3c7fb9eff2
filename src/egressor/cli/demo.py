"""
The command ``demo``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

import click

from egressor.gateway.serving import run

from .demos.show import Outcome, Stage, perform
from .demos.summary import show

__all__ = ["demo"]

_SHORTEST = 8.0


@click.command
@click.option("--seconds", type=float, help="End after so many seconds, 8 or more; default: at Ctrl-C.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="The gateway's port; default: a free one.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary, and nothing else, as JSON.")
def demo(*, seconds: float | None, port: int, as_json: bool) -> int:
    """
    Run local services that limit, ban, fail and challenge, the gateway before them, and a workload through it.

    The exit code is 0 only if every promise held.
    """
    if seconds is not None and not _SHORTEST <= seconds < float("inf"):
        message = f"--seconds {seconds:g}: an outage and its end take {_SHORTEST:g} seconds or more"
        raise click.UsageError(message)
    is_live = sys.stdout.isatty() and not as_json
    stage = Stage(say=(lambda _: None) if as_json else click.echo, paint=_painter(is_coloured=is_live), is_live=is_live)
    try:
        outcome = _outcome(seconds=seconds, port=port, stage=stage)
    except OSError as error:
        sys.stderr.write(f"egressor: the demo can't start: {error.strerror or error}\n")
        return 2
    click.echo(json.dumps(outcome.summary, indent=2) if as_json else "\n" + show(outcome.summary, paint=stage.paint))
    return 0 if outcome.held else 1


def _outcome(*, seconds: float | None, port: int, stage: Stage) -> Outcome:
    found: list[Outcome] = []

    async def whole() -> None:
        found.append(await perform(seconds=seconds, port=port, stage=stage))

    run(whole())
    return found[0]


def _painter(*, is_coloured: bool) -> Callable[[str, str], str]:
    """
    Return what colours a text: nothing does where the output is no terminal, or NO_COLOR is set (no-color.org).
    """
    if not is_coloured or os.environ.get("NO_COLOR"):
        return lambda text, colour: text  # noqa: ARG005 - it takes what the other takes
    return lambda text, colour: click.style(text, fg=colour)
