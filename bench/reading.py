"""
H: what it costs to tell errors apart, to be refused, and to import us.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from bench.measure import ROOT, Subject, Table, interleave
from egressor import CircuitOpen, Governor, classify

__all__ = ["measure"]

_STARTS = 20
_BIG = 64 * 1024


class Response:
    """
    What a client hands back, as far as anybody reads it.
    """

    def __init__(self, status: int, body: bytes, **headers: str) -> None:
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._content = body


class StatusError(Exception):
    """
    What a client raises for a status: an exception that carries the response.
    """

    def __init__(self, response: Response) -> None:
        super().__init__(f"Error code: {response.status_code}")
        self.response = response


_JSON = {"content_type": "application/json"}
_QUOTA = b'{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
_BUSY = b'{"error": {"message": "Rate limit reached for requests", "type": "requests", "code": "rate_limit_exceeded"}}'
_PAGE = b"<html><head><title>503 Service Temporarily Unavailable</title></head><body>nginx</body></html>"


def _cases() -> dict[str, Callable[[], object]]:
    """
    Return the mixed table: structure, codes, types and texts, as they come in daily life.
    """
    vague = RuntimeError("the upstream said something that nobody has a rule for")
    wrapped = RuntimeError("request failed")
    wrapped.__cause__ = ConnectionResetError(104, "Connection reset by peer")
    limited = StatusError(Response(429, _BUSY, retry_after="3", **_JSON))
    quota = StatusError(Response(429, _QUOTA, **_JSON))
    down = Response(503, _PAGE, content_type="text/html")
    missing = Response(404, b'{"detail": "no such thing"}', **_JSON)
    binance = Response(
        400, b'{"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}', **_JSON
    )
    timeout, refused, value = TimeoutError("timed out"), ConnectionRefusedError(111, "refused"), ValueError("bad price")
    return {
        "429 with Retry-After, raised": lambda: classify(limited),
        "429 that is a quota, raised": lambda: classify(quota),
        "503 page": lambda: classify(down),
        "404": lambda: classify(missing),
        "400 with an exchange's code": lambda: classify(binance),
        "time-out": lambda: classify(timeout),
        "connection refused": lambda: classify(refused),
        "reset, wrapped": lambda: classify(wrapped),
        "ValueError": lambda: classify(value),
        "no rule fits": lambda: classify(vague),
        "status alone": lambda: classify(status=502),
        "success": lambda: classify(status=200),
    }


def _big() -> dict[str, Callable[[], object]]:
    text = (b"nothing that any rule knows stands in this text at all. " * (_BIG // 56 + 1))[:_BIG]
    page = Response(500, b"<html>" + text, content_type="text/html")
    json = Response(400, b'{"error": {"message": "' + text + b'"}}', **_JSON)
    raised = RuntimeError(text.decode())
    return {
        "64 KB page": lambda: classify(page),
        "64 KB of JSON": lambda: classify(json),
        "64 KB message": lambda: classify(raised),
    }


def measure(*, rounds: int) -> list[Table]:
    """
    Measure, and return the tables.
    """
    cases, big = _cases(), _big()
    refusals = _refusals()
    subjects = [Subject(name, _calls(each), 500) for name, each in {**cases, **big, **refusals}.items()]
    times = interleave(subjects, rounds=rounds)
    usual = [times[name] for name in cases]
    reading = [
        ["median of the table", f"{statistics.median(usual):,.0f}"],
        ["slowest of the table", f"{max(usual):,.0f}"],
        *([name, f"{times[name]:,.0f}"] for name in {**cases, **big}),
    ]
    refused = [[name, f"{times[name]:,.0f}"] for name in refusals]
    return [
        Table("H. Telling errors apart", ["`classify`", "CPU ns"], reading),
        Table("H. Being refused by an open breaker", ["", "CPU ns"], refused),
        _imports(),
    ]


def _refusals() -> dict[str, Callable[[], object]]:
    gov = Governor(services={"upstream": {"limits": ["100/second burst 10"]}})
    gov.force_open("upstream")
    gate = gov.gate("upstream")
    ask = gate.compiled.ask(scope={}, cost={"requests": 1}, level=1)

    @gov.throttled("upstream")
    def governed() -> None:
        pass

    def raised() -> None:
        try:
            governed()
        except CircuitOpen:
            return
        message = "an open breaker let a call through"
        raise AssertionError(message)

    return {"by value: the gate's `Denied`": lambda: gate.admit(ask, 1 << 60), "by exception: a decorated call": raised}


def _calls(operation: Callable[[], object]) -> Callable[[int], float]:
    def run(number: int) -> float:
        started = time.process_time_ns()
        for _ in range(number):
            operation()
        return (time.process_time_ns() - started) / number

    return run


def _imports() -> Table:
    # The package loads its names at their first use: what a program pays is the third, or the fourth.
    programs = {
        "bare interpreter": "pass",
        "`import egressor`": "import egressor",
        "`from egressor import Governor`": "from egressor import Governor",
        "a governor, and one call": "import egressor; egressor.Governor(services={'up': {}}).call('up', int)",
        "`import asyncio`, for scale": "import asyncio",
    }
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(_STARTS):
        for name, program in programs.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
            times[name].append((time.perf_counter() - started) * 1_000)
    bare = statistics.median(times["bare interpreter"])
    rows = [
        [name, f"{statistics.median(each):.1f}", f"{statistics.median(each) - bare:.1f}"]
        for name, each in times.items()
    ]
    return Table(f"H. Importing, median of {_STARTS} starts", ["", "ms, wall clock", "ms over the bare one"], rows)
