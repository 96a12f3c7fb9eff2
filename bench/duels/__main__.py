"""
Let Egressor's client and LiteLLM's Router, its gateway and LiteLLM's proxy do the same against one upstream, each in a
process and an environment of its own.

``python -m bench.duels`` prints the table; ``python -m bench.duels budget wait`` only these rows. ``--write`` also
writes docs/duels.md, and needs every duel. ``scripts/setup litellm`` installs the peer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NamedTuple

from bench.duels.cases import AFTER, CROWD, DUELS, READ, priority
from bench.duels.upstream import Upstream
from bench.measure import ROOT, Table

__all__ = ["ROWS", "WHO", "Found", "main", "play"]

_THEIRS = ROOT / ".venv-litellm" / "bin" / "python"
_PATIENCE = 300.0
_QUIET = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "CRITICAL", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
_PAGE = """\
# Duels

`make bench-duels` lets four do the same against one local API, in one run.
Two are libraries, our client for language models and LiteLLM's Router; two are proxies, our gateway and LiteLLM's.
The API is like OpenAI's and behaves as each case needs it.
`.venv/bin/python -m bench.duels --write` does the same and writes this page; `scripts/setup litellm` installs the peer.
Each has a process, an environment and a configuration of its own: what its documentation has for the case.
Each may make three attempts for a call.
These are cases of correctness, chosen by us; [the benchmarks of the gateway](gateway-benchmarks.md) have speed.

"""


class Found(NamedTuple):
    """
    What one contender has made of one duel.

    Attributes:
        ends: How its calls ended, by ``served`` or the error's name.
        order: The calls that were served, in the order of their ends.
        usd: What it says that was spent, where the duel asks for that; None if it doesn't say.
        hits: Requests that the upstream got.
        most: Of these, how many were under way at once.
        pieces: Pieces of a stream that the upstream has sent.
    """

    ends: dict[str, int]
    order: list[int]
    usd: float | None
    hits: int
    most: int
    pieces: int

    @property
    def served(self) -> int:
        """
        How many calls were served.
        """
        return self.ends.get("served", 0)


async def play(upstream: Upstream, url: str, name: str, who: str) -> Found:
    """
    Let *who* (``ours``, ``theirs``, ``gateway`` or ``proxy``) play the duel *name*.
    """
    command = {
        "ours": [sys.executable, "-m", "bench.duels.ours"],
        "theirs": [str(_THEIRS), str(ROOT / "bench" / "duels" / "theirs.py")],
    }.get(who, [sys.executable, "-m", "bench.duels.proxied"])
    clean = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    process = await asyncio.create_subprocess_exec(
        *command,
        name,
        url,
        who,
        cwd=ROOT,
        env={**clean, **_QUIET},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_PATIENCE):
            output, trouble = await process.communicate()
    except TimeoutError:
        # It ends what it has started.
        process.send_signal(signal.SIGINT)
        output, trouble = json.dumps({"ends": {f"not over in {_PATIENCE:.0f} s": 1}, "usd": None}).encode(), b""
        await process.wait()
    else:
        assert process.returncode == 0, trouble.decode()
    said: dict[str, Any] = json.loads(output.splitlines()[-1])
    key = (name, who)
    return Found(
        ends=said.get("ends", {}),
        order=said.get("order", []),
        usd=said.get("usd", 0.0),
        hits=upstream.hits[key],
        most=upstream.most[key],
        pieces=upstream.pieces[key],
    )


def _served(found: Found) -> str:
    others = [f"{count} {name}" for name, count in sorted(found.ends.items()) if name != "served"]
    return ", ".join([f"{found.served} served", *others])


def _attempts(found: Found) -> str:
    others = [f"{count} {name}" for name, count in sorted(found.ends.items())]
    return f"{found.hits} sent; {', '.join(others)}"


def _urgent(found: Found) -> str:
    """
    Say how many were served, and at which place the last urgent one came, counted from 1.
    """
    places = [place for place, index in enumerate(found.order, 1) if priority(index)]
    last = f"; the last urgent one as number {places[-1]}" if places else ""
    return f"{_served(found)}; {found.most} at once{last}"


def _money(found: Found) -> str:
    # 0.6 USD for a million tokens received, 0.15 for a million sent; an answer that isn't a stream has a thousand.
    billed = (found.hits * 1000 * 0.15 + (found.pieces * 2 + found.served * 1000) * 0.6) / 1e6
    said = "nothing recorded" if found.usd is None else f"{found.usd:.6f} USD recorded"
    return f"{said}; at least {billed:.6f} billed"


def _crowd(found: Found) -> str:
    return f"{_money(found)}; then {_served(found)}"


WHO = ("ours", "theirs", "gateway", "proxy")
"""
Who plays.
"""

ROWS: dict[str, tuple[str, str, Callable[[Found], str]]] = {
    "budget": ("a budget of 0.001 USD, 50 calls of 0.00075 at once", "1 served", _served),
    "tokens": ("4,000 tokens a minute, 30 calls of 2,000 at once", "2 served in the first minute", _served),
    "flight": ("the same call 50 times at once, with a cache", "1 sent", _attempts),
    "priority": (
        "2 at once, 24 calls, each third urgent",
        "24 served, 2 at once, the urgent ones first: the last of 8 as number 8 to 10",
        _urgent,
    ),
    "credit": ("a 429 that says the credit is used up", "1 sent", _attempts),
    "wait": ("`Retry-After: 3600`, five calls one after the other", "1 sent", _attempts),
    "down": ("always 529, 20 calls one after the other", "few sent, until the breaker opens", _attempts),
    "stream": (f"a client that leaves a stream after {READ} pieces", "recorded is at least what was billed", _money),
    "crowd": (
        f"{CROWD} clients that leave their streams at once, then {AFTER} calls at once",
        f"recorded is at least what was billed, and at most 0.5; then {AFTER} served",
        _crowd,
    ),
}

_NOTES = (
    "*Sent* is what the upstream got, and the rest how the calls ended. An SDK's error before a proxy is its status.",
    "The client's tokens are said by hand (`cost`), the gateway expects them itself; LiteLLM counts them afterwards.",
    "LiteLLM has one deployment, so that it neither cools it down nor has another one to go to.",
    "Its retries can be turned off for a class of errors (`retry_policy`): then none is made after a short 429 either.",
    "What its Router records of streams is what its callback was told within three seconds.",
    "Ours is what was held, as no answer of the model had said before what it used; after one, it is what was seen.",
    "Its proxy has no database here, and without one it keeps no spend, and no budgets or limits of keys and users:",
    "it has what its Router has, from the same settings in a file.",
    "What is left of money when a process is killed at random, `tests/faults` tells: see [Testing](testing.md).",
)


def _setting() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    theirs = re.search(r"==(.+)", (ROOT / "bench" / "requirements-litellm.txt").read_text(encoding="utf-8"))
    names = [
        f"egressor {version('egressor')}",
        f"openai {version('openai')}",
        f"litellm {theirs[1] if theirs else '?'}",
    ]
    return f"{python}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores; {', '.join(names)}."


async def _table(names: Sequence[str]) -> Table:
    upstream = Upstream()
    rows = []
    async with upstream.serve() as url:
        for name in names:
            what, right, said = ROWS[name]
            cells = [said(await play(upstream, url, name, who)) for who in WHO]
            rows.append([what, right, *cells])
            print(rows[-1], file=sys.stderr, flush=True)
    return Table(
        "Cases", ["", "right", "egressor client", "LiteLLM Router", "egressor gateway", "LiteLLM proxy"], rows, _NOTES
    )


def main(words: list[str]) -> None:
    """
    Play the duels that *words* name, all by default.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.duels", description=__doc__)
    parser.add_argument("duels", nargs="*", metavar="DUEL", help=f"some of {' '.join(DUELS)}; default: all")
    parser.add_argument("--write", action="store_true", help="write docs/duels.md")
    options = parser.parse_args(words)
    wanted = options.duels or list(DUELS)
    if unknown := set(wanted) - set(DUELS):
        parser.error(f"unknown duel {', '.join(sorted(unknown))}: {' '.join(DUELS)}")
    if options.write and wanted != list(DUELS):
        parser.error("--write needs every duel")
    if not _THEIRS.exists():
        parser.error("LiteLLM is not installed: scripts/setup litellm")
    table = asyncio.run(_table(wanted))
    report = f"Measured on {datetime.now(UTC):%d %B %Y}: {_setting()}\n\n{table.markdown()}"
    print(report)
    if options.write:
        (ROOT / "docs" / "duels.md").write_text(_PAGE + report, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
