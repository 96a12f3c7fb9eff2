"""
The demo as a program, and its judge on journals that were written by hand.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from egressor.cli.demos import summary
from egressor.cli.demos.cast import ATTEMPTS, BOUND, BUDGET, CAST, OPEN_FOR, configuration
from egressor.cli.demos.counters import Bucket, Windows
from egressor.cli.demos.journal import Arrival, Journal, Notes, read
from egressor.cli.demos.judge import Finding, Reply, allowed, bans, judge
from egressor.cli.group import run
from egressor.policies import from_table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NANO = 1_000_000_000
DEMO = (sys.executable, "-m", "egressor.cli.main", "demo")
REST = {"openai": {"in_flight": 0, "waiting": {"low": 0}}}
PLAIN = {**os.environ, "NO_COLOR": "1"}


def arrival(service: str = "openai", at: float = 0.0, **given: Any) -> Arrival:
    """
    A request that was sent at once, arrived *at* seconds, and was served at once.
    """
    at_ns = int((100 + at) * NANO)
    plain = {"call": f"{at}", "priority": "low", "line": "", "sent_ns": at_ns, "done_ns": at_ns, "status": 200}
    return Arrival(**{"service": service, "at_ns": at_ns, "wall": 1000 + at, **plain, **given})


def waited(at: float, wait: float, priority: str, **given: Any) -> Arrival:
    """
    A request that had waited.
    """
    return arrival(at=at, sent_ns=int((100 + at - wait) * NANO), priority=priority, **given)


def finding(
    promise: str,
    arrivals: Iterable[Arrival] = (),
    *,
    replies: Iterable[Reply] = (),
    status: Any = REST,
    charged: int = 0,
    **notes: Any,
) -> bool | None:
    """
    Whether the judge says that *promise* held.
    """
    found = judge(Notes(list(arrivals), **notes), list(replies), status, charged=charged)
    (held,) = [each.held for each in found if each.promise == promise]
    return held


BUCKET = [arrival(at=0.0, call=str(index)) for index in range(11)]
WINDOW = [arrival("binance", 0.1, cost=5, call=str(index)) for index in range(24)]
CROWDED = [arrival("reddit", 0.1 * index, call=str(index)) for index in range(16)]
STEADY = [arrival(at=index / 20) for index in range(200)]


@pytest.mark.parametrize(
    ("arrivals", "held"),
    [
        pytest.param([], None, id="nothing"),
        pytest.param(BUCKET, True, id="a full bucket"),
        pytest.param([*BUCKET, arrival(at=0.01)], False, id="one more than a bucket"),
        pytest.param(STEADY, True, id="the rate"),
        pytest.param([*STEADY, *(arrival(at=9.95, call=str(index)) for index in range(11))], False, id="then a burst"),
        pytest.param(WINDOW, True, id="a full window"),
        pytest.param([*WINDOW, arrival("binance", 1.9)], False, id="one more than a window"),
        pytest.param([*WINDOW, arrival("binance", 2.1)], True, id="the next window"),
        pytest.param([arrival(status=429)], False, id="refused by the server"),
        pytest.param([arrival("shop", status=403)], False, id="challenged"),
        pytest.param(CROWDED, True, id="all that a shared window may hold"),
        pytest.param([*CROWDED, arrival("reddit", 1.94)], False, id="one more in a shared window, wherever it begins"),
        pytest.param([*CROWDED, arrival("reddit", 1.96)], True, id="a moment sooner than it left"),
        pytest.param([*STEADY, arrival("reddit", 1.0, status=429)], True, id="refused for what others did"),
    ],
)
def test_limits_are_counted_again(arrivals: list[Arrival], held: bool | None) -> None:
    """
    What a service did not allow is found by the judge's own count, and by what the service answered.
    """
    assert finding("P1", sorted(arrivals, key=lambda each: each.at_ns)) == held


def _pairs(before: str, after: str, *, gap: float = 0.1, wait: float = 0.5, line: str = "") -> list[Arrival]:
    found = []
    for index in range(20):
        found.append(waited(index * 3, wait, before, call=f"b{index}"))
        found.append(waited(index * 3 + gap, wait + gap, after, call=f"a{index}", line=line))
    return found


@pytest.mark.parametrize(
    ("arrivals", "held"),
    [
        pytest.param(_pairs("high", "low"), True, id="in order"),
        pytest.param(_pairs("low", "high"), False, id="the wrong way"),
        pytest.param(_pairs("low", "high", gap=0.01), None, id="at the same moment"),
        pytest.param(_pairs("low", "high", line="other"), None, id="for other limits"),
        pytest.param(_pairs("low", "high", wait=0.0), None, id="the first had not to wait for the second"),
        pytest.param(_pairs("low", "low"), None, id="of one priority"),
    ],
)
def test_who_goes_first_is_seen_in_pairs(arrivals: list[Arrival], held: bool | None) -> None:
    """
    Of two that wait for the same limit at the same time, the higher priority has to arrive first.
    """
    assert finding("P2", arrivals) == held


def test_waiting_raises_a_priority() -> None:
    """
    Whoever has waited for a second may go before the next higher priority.
    """
    pairs = []
    for index in range(30):
        pairs += [
            waited(index * 9, 1.2, "low", call=f"b{index}"),
            waited(index * 9 + 0.1, 0.5, "medium", call=f"a{index}"),
        ]
        pairs += [
            waited(index * 9 + 4, 0.5, "high", call=f"c{index}"),
            waited(index * 9 + 4.1, 0.5, "low", call=f"d{index}"),
        ]

    assert finding("P2", pairs) is True


@pytest.mark.parametrize(
    ("status", "held"),
    [
        ({}, None),
        (REST, True),
        ({"a": {"in_flight": 1, "waiting": {"low": 0}}}, False),
        ({"a": {"in_flight": 0, "waiting": {"low": 0, "high": 1}}}, False),
    ],
)
def test_rest_means_nothing_held(status: Any, held: bool | None) -> None:
    """
    After the last call nothing is in flight, and nobody waits.
    """
    assert finding("P3", status=status) == held


@pytest.mark.parametrize(
    ("replies", "held"),
    [
        ([("", False)], None),
        ([("queue_full", True), ("", False)], True),
        ([("queue_full", True), ("banned", False)], False),
    ],
)
def test_refusals_say_when_to_come_back(replies: list[tuple[str, bool]], held: bool | None) -> None:
    """
    Each refusal of the gateway carries Retry-After; answers of the services need none.
    """
    given = [
        Reply(service="shop", priority="low", status=429, reason=why, has_retry_after=told) for why, told in replies
    ]

    assert finding("P4", replies=given) == held


DOWN = [arrival(at=at, status=503) for at in (1.0, 1.01, 1.02, 1.1)]
OUTAGE = [("openai", int(101 * NANO) - 1, 105 * NANO)]


@pytest.mark.parametrize(
    ("probes", "held"),
    [
        pytest.param([], None, id="none"),
        pytest.param([1.6, 1.6 + OPEN_FOR, 3.0], True, id="one at a time"),
        pytest.param([1.6, 1.7], False, id="two at once"),
        pytest.param([1.6, 2.2, 5.1, 5.11, 5.12], True, id="many when it is over"),
    ],
)
def test_probes_are_counted_while_the_breaker_is_open(probes: list[float], held: bool | None) -> None:
    """
    Three failures and the grace after the last success, one probe may arrive per opening.
    """
    arrivals = [*DOWN, *(arrival(at=at, status=503) for at in probes)]

    assert finding("P5", arrivals, outages=OUTAGE) == held


REPORTS = [arrival(at=at, line=BOUND, micro_usd=BUDGET // 2) for at in (0.0, 1.0)]


@pytest.mark.parametrize(
    ("arrivals", "charged", "held"),
    [
        pytest.param(REPORTS, BUDGET, True, id="all of it"),
        pytest.param(REPORTS[:1], BUDGET, True, id="what nobody knows is charged, too"),
        pytest.param([*REPORTS, arrival(micro_usd=9)], BUDGET, True, id="what has no budget"),
        pytest.param([*REPORTS, arrival(at=2.0, line=BOUND, micro_usd=1)], BUDGET, False, id="more than it"),
        pytest.param([*REPORTS, arrival(at=86_400.0, line=BOUND, micro_usd=9)], BUDGET + 9, True, id="the next day"),
        pytest.param(REPORTS, BUDGET - 1, False, id="less charged than billed"),
        pytest.param(REPORTS, BUDGET + 1, False, id="more charged than there is"),
    ],
)
def test_money_is_added_up_again(arrivals: list[Arrival], charged: int, held: bool) -> None:
    """
    What the service has billed is within the budget of its day, and what was charged is between both.
    """
    refused = [Reply(service="openai", priority="low", status=402, reason="budget", has_retry_after=True)]

    assert finding("P6", arrivals, replies=refused, charged=charged) is held
    assert finding("P6", arrivals, charged=charged) is None


def test_success_among_failures_keeps_the_breaker_closed() -> None:
    """
    Only failures in a row open a breaker: then nothing is known about probes.
    """
    mixed = [
        arrival(at=at, status=503 if index % 3 else 200) for index, at in enumerate((1.0, 1.1, 1.2, 1.9, 2.0, 2.1))
    ]

    assert finding("P5", mixed, outages=OUTAGE) is None


def test_late_success_does_not_hide_the_probes() -> None:
    """
    An answer that comes after the failures which opened the breaker has not closed it: two probes at once are seen.
    """
    late = arrival(at=0.9, done_ns=int(101.2 * NANO))
    probes = [arrival(at=at, status=503) for at in (1.8, 1.81)]

    assert finding("P5", [late, *DOWN, *probes], outages=OUTAGE) is False


@pytest.mark.parametrize(("attempts", "held"), [(1, None), (ATTEMPTS["openai"], True), (ATTEMPTS["openai"] + 1, False)])
def test_attempts_are_counted_by_call(attempts: int, held: bool | None) -> None:
    """
    No call arrives more often than its policy has attempts.
    """
    assert finding("P7", [arrival(at=index, call="one") for index in range(attempts)]) == held


@pytest.mark.parametrize(
    ("later", "held"),
    [
        pytest.param([], True, id="silence"),
        pytest.param([0.1], True, id="on its way already"),
        pytest.param([1.0], False, id="early"),
        pytest.param([2.0], True, id="at its end"),
    ],
)
def test_retry_after_is_measured_from_the_answer(later: list[float], held: bool) -> None:
    """
    Nothing arrives between a Retry-After and its end but what was sent before it was read.
    """
    arrivals = [arrival("reddit", 0.0, status=429, retry_after=2), *(arrival("reddit", at) for at in later)]

    assert finding("P8", arrivals) == held


def test_nothing_is_told_without_retry_after() -> None:
    """
    Without any Retry-After there is nothing to obey.
    """
    assert finding("P8", STEADY) is None


def test_findings_name_the_services_they_are_about() -> None:
    """
    Each promise names the services on which the run put it to the test, and the summary says so.
    """
    arrivals = [
        *(arrival("shop", at, call="again") for at in (1.0, 2.0)),
        arrival("reddit", 3.0, status=429, retry_after=1),
        *DOWN,
        arrival(at=2.0, status=503),
        *_pairs("high", "low"),
    ]
    replies = [Reply(service="binance", priority="low", status=429, reason="queue_full", has_retry_after=True)]
    found = judge(Notes(sorted(arrivals, key=lambda each: each.at_ns), outages=OUTAGE), replies, REST)
    figures = summary.summarise(Notes([]), [], {}, closings={}, findings=found)
    text = summary.show(figures, paint=lambda text, _: text)

    assert {each.promise: each.services for each in found} == {
        "P1": ("openai", "reddit", "shop"),
        "P2": ("openai",),
        "P3": ("openai",),
        "P4": ("binance",),
        "P5": ("openai",),
        "P6": (),
        "P7": ("shop",),
        "P8": ("reddit",),
    }
    assert "P4  refusals say when to come back\n          binance: 1 of 1 with Retry-After" in text


@pytest.mark.parametrize(
    ("helds", "is_whole", "expected"),
    [
        ([True, True], True, True),
        ([True, None], True, False),
        ([True, None], False, True),
        ([True, False], False, False),
    ],
)
def test_whole_run_tests_every_promise(helds: list[bool | None], is_whole: bool, expected: bool) -> None:
    """
    A run that came to its end has to show each promise; one that was interrupted, none that was broken.
    """
    findings = [Finding("P", "promise", held, "") for held in helds]

    assert summary.held(findings, is_whole=is_whole) == expected


def test_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    """
    Requests come back in the order of their arrival, and outages with their ends.
    """
    path = tmp_path / "journal"
    with path.open("w", encoding="utf-8") as file:
        journal = Journal(file)
        journal.arrival(arrival(at=2.0))
        for word, at in (("down", 3), ("crowd", 4), ("up", 5), ("down", 6)):
            journal.event("openai", word, at)
        journal.arrival(arrival(at=1.0))

    assert read(path) == Notes([arrival(at=1.0), arrival(at=2.0)], [("openai", 3, 5), ("openai", 6, 1 << 62)])


def test_bucket_takes_one_above_its_burst() -> None:
    """
    A bucket that is full refuses with the time until one unit has leaked, and takes it then.
    """
    bucket = Bucket(rate=10, size=3)

    assert [bucket.take(1.0) for _ in range(4)] == pytest.approx([0, 0, 0, 0.1])
    assert [bucket.take(1.05), bucket.take(1.1), bucket.left(1.3)] == pytest.approx([0.05, 0, 2])


def test_windows_begin_with_the_clock() -> None:
    """
    A window that is used up refuses until the clock has reached the next.
    """
    windows = Windows(amount=3, period=2.0)

    assert [windows.take(5.5, 2), windows.take(5.5, 2), windows.take(5.9, 1)] == pytest.approx([0, 0.5, 0])
    assert [windows.take(5.9, 1), windows.take(6.0, 3)] == pytest.approx([0.1, 0])


@pytest.mark.parametrize(
    ("service", "arrivals", "units"),
    [("openai", [], 0), ("openai", [0.0, 2.0], 51), ("binance", [0.5, 1.5], 120), ("binance", [1.9, 2.1], 240)],
)
def test_allowed_is_what_a_service_would_have_served(service: str, arrivals: list[float], units: int) -> None:
    """
    From the first to the last request: the rate and the bucket, or all windows that were touched.
    """
    assert allowed(CAST[service], [arrival(service, at) for at in arrivals]) == units


def test_bans_are_counted_once() -> None:
    """
    Requests that were under way when a ban began are told of the same ban.
    """
    told = [arrival("binance", at, status=418, retry_after=2) for at in (0.0, 0.1, 1.9, 5.0)]

    assert bans(told) == 2


def test_gateway_is_told_what_the_services_allow() -> None:
    """
    The demo's policies are valid, and never add up to more than the services' own numbers.
    """
    config = from_table(configuration(dict.fromkeys(CAST, "http://127.0.0.1:1")))
    weights = {"depth": 5, "price": 2, "order": 1}
    told = sum(rule.limits[0].amount * weights[rule.match["endpoint"]] for rule in config.services["binance"].rules)

    assert told == CAST["binance"].amount
    for name in ("openai", "shop"):
        (limit,) = config.services[name].limits
        assert (limit.amount, limit.period_us, limit.burst) == (CAST[name].amount, 1_000_000, CAST[name].burst)


def _status(**given: Any) -> dict[str, Any]:
    plain = {"state": "closed", "succeeded": 1234, "denied": {"limit": 567}, "waiting": {"low": 89}}
    return {name: {**plain, **given} for name in CAST}


@pytest.mark.parametrize(
    ("status", "width", "words"),
    [
        (_status(), 200, 4),
        (_status(), 80, 0),
        (_status(state="half_open"), 200, 4),
        (_status(state="half_open"), 80, 4),
    ],
)
def test_line_fits_its_terminal(status: dict[str, Any], width: int, words: int) -> None:
    """
    The line of each second is shortened until it fits, and names what is not as it should be to the last.
    """
    text = summary.line(status, second=7, width=width, paint=lambda text, _: text)

    assert len(text) <= width
    assert text.count(" closed") + text.count(" half_open") == words


def test_line_is_painted_by_state() -> None:
    """
    Only words that say a state have a colour.
    """
    text = summary.line(_status(), second=7, width=200, paint=lambda text, colour: f"<{colour}{text}>")

    assert text.startswith("  7 s  openai<green closed> 1234/567/89  binance<green closed>")


def test_summary_fits_80_columns() -> None:
    """
    Also four-figure counts and a long list of figures stay inside of 80 columns, with or without colours.
    """
    arrivals = [arrival(name, index / 99, call=f"{name}{index}") for index in range(1200) for name in CAST]
    replies = [Reply(service=name, priority="low", status=429, reason="wait_too_long") for name in CAST]
    findings = [
        Finding("P2", "a higher priority goes first", held, "1234 of 5678 pairs, " * 9) for held in (True, None)
    ]
    figures = summary.summarise(Notes(arrivals), replies, {}, closings={}, findings=findings)
    text = summary.show(figures, paint=lambda text, _: text)

    assert max(map(len, text.splitlines())) <= 80
    assert text.count("wait_too_long 1") == len(CAST)


def test_too_short_a_run_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Below 8 seconds there is no time for an outage and its end.
    """
    assert run(["demo", "--seconds", "7.9"]) == 2
    assert "8 seconds or more" in capsys.readouterr().err


def test_run_keeps_the_promises() -> None:
    """
    Ten seconds of the real thing: all services served and refused, one was down, one banned us, and all promises held.
    """
    done = subprocess.run([*DEMO, "--seconds", "10", "--json"], capture_output=True, text=True, timeout=60, check=False)
    found = json.loads(done.stdout)
    openai, binance = found["services"]["openai"], found["services"]["binance"]

    assert [each for each in found["promises"] if not each["held"]] == []
    assert (done.returncode, found["held"]) == (0, True)
    assert all(each["ok"] > 20 and each["refused"] for each in found["services"].values())
    assert openai["breaker"]["opened"] >= 1
    assert openai["breaker"]["closed"] == 1
    assert openai["failed"] >= 3
    assert binance["bans"] == 1


def test_interrupt_ends_with_the_summary() -> None:
    """
    Ctrl-C after the first line: the calls under way come to an end, and the table fits 80 columns without any colour.
    """
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, text=True, env=PLAIN) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()

    assert first.startswith("gateway and its page: http://127.0.0.1:")
    assert "P3  at rest nothing is held" in rest
    assert max(map(len, rest.splitlines())) <= 80
    assert "\x1b" not in rest
    assert process.returncode == 0


def test_port_in_use_is_one_line() -> None:
    """
    A port that is taken ends the demo with one line and exit code 2, and no process is left behind.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([*DEMO, "--port", port], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("egressor: the demo can't start: ")
