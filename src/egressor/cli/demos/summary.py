"""
What a run came to: as figures, and as text that fits 80 columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from egressor.cli.text import columns

from .cast import CAST, PRIORITIES
from .judge import Finding, Reply, allowed, bans, first_waits

if TYPE_CHECKING:
    from .journal import Notes

__all__ = ["Paint", "held", "line", "show", "summarise"]

Paint = Callable[[str, str], str]
"""
Colours a text: ``paint("PASS", "green")``.
"""

_WORDS = {True: ("PASS", "green"), False: ("FAIL", "red"), None: ("----", "yellow")}
_HEAD = ("service", "allowed", "used", "sent", "ok", "429", "418", "5xx", "other", "refused", "breaker", "bans")
_LEGEND = """\
allowed, used: in the service's own unit, which is weight at binance
other: challenged or cut off; breaker: opened/closed"""
_SECOND = len("  0 s")
_CALM = ("closed", "disabled")


def summarise(
    notes: Notes,
    replies: Sequence[Reply],
    status: Mapping[str, Mapping[str, Any]],
    *,
    closings: Mapping[str, int],
    findings: Sequence[Finding],
) -> dict[str, Any]:
    """
    Return the run's figures as plain values.
    """
    return {
        "services": {
            name: _service(name, notes, replies, status.get(name, {}), closings.get(name, 0)) for name in CAST
        },
        "waits": {name: _stats(waits) for name, waits in first_waits(notes.arrivals).items()},
        "promises": [
            {
                "promise": each.promise,
                "text": each.text,
                "held": each.held,
                "services": list(each.services),
                "detail": each.detail,
            }
            for each in findings
        ],
    }


def held(findings: Iterable[Finding], *, is_whole: bool) -> bool:
    """
    Say whether nothing was broken; in a whole run, whether everything was put to the test, too.
    """
    return all(each.held or (each.held is None and not is_whole) for each in findings)


def _service(
    name: str, notes: Notes, replies: Sequence[Reply], status: Mapping[str, Any], closings: int
) -> dict[str, Any]:
    arrivals = notes.of(name)
    answers = Counter(each.status for each in arrivals)
    served = sum(each.is_ok for each in arrivals)
    return {
        "unit": CAST[name].unit,
        "allowed": allowed(CAST[name], arrivals),
        "used": sum(each.cost for each in arrivals if each.is_ok),
        "sent": len(arrivals),
        "ok": served,
        "too_many": answers[429],
        "banned": answers[418],
        "failed": sum(number for answer, number in answers.items() if answer >= 500),
        "other": answers[403] + answers[200] - served + answers[0],
        "refused": dict(Counter(each.reason for each in replies if each.service == name and each.reason)),
        "waits": {level: _stats(waits) for level, waits in first_waits(arrivals).items()},
        "breaker": {"opened": status.get("breaker", {}).get("openings_total", 0), "closed": closings},
        "bans": bans(arrivals),
    }


def _stats(waits: Sequence[float]) -> dict[str, float]:
    mean = sum(waits) / len(waits) if waits else 0.0
    return {"calls": len(waits), "mean_s": round(mean, 4), "max_s": round(max(waits, default=0.0), 4)}


def show(summary: Mapping[str, Any], *, paint: Paint) -> str:
    """
    Return *summary* as text, in 80 columns.
    """
    services = summary["services"]
    parts = [
        columns([_HEAD, *(_row(name, each) for name, each in services.items())], right=frozenset(range(1, len(_HEAD)))),
        _LEGEND,
        _refused(services),
        columns(_waits(services, summary["waits"]), right=frozenset(range(1, len(PRIORITIES) + 1))),
        "\n".join(_promise(each, paint) for each in summary["promises"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _row(name: str, each: Mapping[str, Any]) -> list[str]:
    numbers = [each[key] for key in ("allowed", "used", "sent", "ok", "too_many", "banned", "failed", "other")]
    breaker = f"{each['breaker']['opened']}/{each['breaker']['closed']}"
    return [name, *map(str, numbers), str(sum(each["refused"].values())), breaker, str(each["bans"])]


def _refused(services: Mapping[str, Any]) -> str:
    rows = [
        [name, ", ".join(f"{reason} {number}" for reason, number in sorted(each["refused"].items()))]
        for name, each in services.items()
        if each["refused"]
    ]
    return columns([["refused by us", ""], *rows]) if rows else ""


def _waits(services: Mapping[str, Any], total: Mapping[str, Any]) -> list[list[str]]:
    rows = [["waits, mean/max ms", *PRIORITIES]]
    for name, waits in [*((name, each["waits"]) for name, each in services.items()), ("all", total)]:
        cells = [f"{waits[level]['mean_s'] * 1000:.0f}/{waits[level]['max_s'] * 1000:.0f}" for level in PRIORITIES]
        rows.append(
            [name, *(cell if waits[level]["calls"] else "-" for cell, level in zip(cells, PRIORITIES, strict=True))]
        )
    return rows


def _promise(each: Mapping[str, Any], paint: Paint) -> str:
    word, colour = _WORDS[each["held"]]
    judged = f"{', '.join(each['services']) or 'no service'}: {each['detail']}"
    lines = fill(judged, 80, initial_indent=" " * 10, subsequent_indent=" " * 10)
    return f"{paint(word, colour)}  {each['promise']}  {each['text']}\n{lines}"


def line(status: Mapping[str, Mapping[str, Any]], *, second: int, width: int, paint: Paint) -> str:
    """
    Return one line about all services: their states, and how many calls were served, refused and wait.

    The fullest form that has at most *width* columns is taken: with all states; with those that are not ``closed``;
    with the calls served only; without any counts.
    """
    cells: list[tuple[str, str, str]] = []
    for words, counts in (("all", 3), ("odd", 3), ("odd", 1), ("odd", 0)):
        cells = [_cell(name, each, words=words, counts=counts) for name, each in status.items()]
        if sum(len(f"  {name}{word}{numbers}") for name, word, numbers in cells) + _SECOND <= width:
            break
    colours = ("green" if each["state"] in _CALM else "red" for each in status.values())
    painted = [
        f"  {name}{paint(word, colour) if word else ''}{numbers}"
        for (name, word, numbers), colour in zip(cells, colours, strict=True)
    ]
    return f"{second:3d} s" + "".join(painted)


def _cell(name: str, each: Mapping[str, Any], *, words: str, counts: int) -> tuple[str, str, str]:
    numbers = [each["succeeded"], sum(each["denied"].values()), sum(each["waiting"].values())]
    word = "" if words == "odd" and each["state"] in _CALM else f" {each['state']}"
    return name, word, " " * bool(counts) + "/".join(map(str, numbers[:counts]))
