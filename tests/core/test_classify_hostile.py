"""
The classifier never raises, gives the same verdict twice, and takes no longer than it must.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.classify import classify

if TYPE_CHECKING:
    from collections.abc import Callable

    from egressor._core.model import Verdict


class Raising:
    """
    Every attribute raises, and so does its type.
    """

    def __getattribute__(self, name: str) -> NoReturn:
        raise RuntimeError(name)


class RaisingError(Exception):
    """
    An exception of which every attribute raises.
    """

    def __getattribute__(self, name: str) -> NoReturn:
        raise RuntimeError(name)


class SpeechlessError(Exception):
    """
    An exception that can't be printed.
    """

    def __str__(self) -> str:
        raise ValueError


class SpeechlessRetryError(SpeechlessError):
    """
    The same, under the name of one whose message is read.
    """


class LyingNumber(int):
    """
    An integer that won't be compared.
    """

    def __lt__(self, other: object) -> NoReturn:
        raise RuntimeError

    __le__ = __gt__ = __ge__ = __lt__


class LyingText(str):
    """
    A text that won't be read.
    """

    __slots__ = ()

    def __getitem__(self, key: object) -> NoReturn:
        raise RuntimeError

    def __len__(self) -> NoReturn:
        raise RuntimeError


class Half(dict[str, str]):
    """
    A mapping that breaks after its first field.
    """

    def items(self) -> object:  # type: ignore[override]
        """
        Yield one field, then raise.
        """
        yield "retry-after", "7"
        raise RuntimeError


class Endless(dict[str, str]):
    """
    A mapping without an end.
    """

    def items(self) -> object:  # type: ignore[override]
        """
        Yield for ever.
        """
        while True:
            yield "retry-after", "7"


class Unhashable(type):
    """
    A type of types that can't be remembered.
    """

    def __hash__(cls) -> int:
        raise RuntimeError


class Nameless(type):
    """
    A type of types whose names are no names.
    """

    @property
    def __name__(cls) -> int:  # type: ignore[override]
        return 7

    @property
    def __module__(cls) -> int:  # type: ignore[override]
        return 7


SpeechlessRetryError.__name__ = "RetryError"
Unremembered = Unhashable("Unremembered", (Exception,), {})
Unnamed = Nameless("Unnamed", (Exception,), {})
LongNamed = type("X" * 100_000, (Exception,), {"__module__": "y" * 100_000})
OddNamed = type("a b\n", (Exception,), {"__module__": "päckage"})


def with_status(exc: Exception, status: object) -> Exception:
    """
    Give an exception a status of its own.
    """
    exc.__dict__["status_code"] = status
    return exc


def ring() -> Exception:
    """
    Make an exception that causes itself, through every link.
    """
    exc = RuntimeError("x")
    exc.__cause__ = exc.__context__ = exc
    exc.args = (exc,)
    return exc


# Made inside the test: pytest itself would look at them.
@pytest.mark.parametrize(
    ("make", "category"),
    [
        (Raising, None),
        (RaisingError, "unknown"),
        (SpeechlessError, "unknown"),
        (SpeechlessRetryError, "unknown"),
        (lambda: with_status(RuntimeError(), LyingNumber(503)), "unknown"),
        (lambda: with_status(TimeoutError(), LyingNumber(503)), "timeout"),
        (lambda: with_status(RuntimeError(), LyingText("503")), "unknown"),
        (lambda: with_status(RuntimeError(), Raising()), "unknown"),
        (Unremembered, "unknown"),
        (Unnamed, "unknown"),
        (LongNamed, "unknown"),
        (OddNamed, "unknown"),
        (ring, "unknown"),
    ],
    ids=count(),
)
def test_hostile_objects(make: Callable[[], object], category: str | None) -> None:
    """
    Whatever an object does when it is looked at, a verdict comes out, and a short one.
    """
    verdict = classify(make())

    assert category == verdict.category
    assert len(verdict.fingerprint) + len(verdict.why) < 400
    assert (verdict.fingerprint + verdict.why).isascii()


@pytest.mark.parametrize("make", [Half, Endless])
def test_hostile_headers(make: Callable[[], dict[str, str]]) -> None:
    """
    Of headers that break or never end, the first fields are read.
    """
    assert classify(status=429, headers=make()).retry_after == 7.0


@pytest.mark.parametrize(
    "make",
    [
        Raising,
        lambda: LyingText("x"),
        object,
        lambda: 7,
        lambda: ["x"] * 100_000,
        lambda: {"error": Raising()},
        lambda: {"error": {"code": Raising()}},
    ],
    ids=count(),
)
def test_hostile_bodies(make: Callable[[], object]) -> None:
    """
    A body that can't be read leaves the status.
    """
    assert classify(status=429, body=make()).category == "rate_limit"  # type: ignore[arg-type]


def test_hostile_status() -> None:
    """
    A status that raises when it is compared is no status.
    """
    assert classify(status=LyingNumber(503)).category == "unknown"


@pytest.mark.parametrize("size", [65_536, 100_000_000])
@pytest.mark.parametrize("status", [200, 429])
def test_huge_bodies(size: int, status: int) -> None:
    """
    Of a huge body only the beginning is looked at.
    """
    body = '{"error": "' + "insufficient_quota " * (size // 19)

    verdict = classify(status=status, headers={"content-type": "application/json"}, body=body)

    assert verdict.category == (None if status == 200 else "quota_exhausted")


def test_deep_groups() -> None:
    """
    Groups nested a thousand deep are read as far as the bound goes.
    """
    group: Exception = TimeoutError()
    for _ in range(1000):
        group = ExceptionGroup("x", [group, ConnectionRefusedError()])

    assert classify(group).category == "network"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
NAMES = ["status_code", "status", "code", "headers", "response", "body", "_content", "reason", "retry_after", "args"]
CLASSES = [Exception, RuntimeError, ValueError, OSError, TimeoutError, KeyboardInterrupt, ConnectionError]
CODES = ["insufficient_quota", "rate_limit", "maintenance", "<html>", "overloaded"]
HEADERS = ["retry-after", "content-type", "x-should-retry", "cf-mitigated", "date", "ratelimit"]


@st.composite
def exceptions(draw: st.DrawFn) -> BaseException:
    """
    Draw an exception of any class, with any attributes, around another one or not.
    """
    name = draw(st.sampled_from(["ReadTimeout", "ConnectError", "RateLimitError", "Oddity", "RetryError"]))
    kind = draw(st.sampled_from(CLASSES))
    exc: BaseException = type(name, (kind,), {})(draw(st.text(max_size=20)))
    for attribute in draw(st.lists(st.sampled_from(NAMES[:-1]), max_size=4)):
        exc.__dict__[attribute] = draw(ANYTHING)
    exc.__cause__ = draw(st.none() | st.builds(OSError, st.integers(0, 130), st.text(max_size=5)))
    return exc


@given(
    thing=st.none() | ANYTHING | exceptions(),
    status=st.none() | st.integers(90, 610) | ANYTHING,
    headers=st.none() | ANYTHING | st.dictionaries(st.sampled_from(HEADERS), st.text() | st.binary()),
    body=st.none() | ANYTHING | st.sampled_from(CODES),
    dialect=st.sampled_from(["generic", "openai"]),
    now=st.none() | st.floats(),
)
def test_any_input(thing: object, status: object, headers: object, body: object, dialect: str, now: float) -> None:
    """
    Any input has exactly one verdict, with a wait that can be obeyed and words that can be logged.
    """

    def read() -> Verdict:
        return classify(thing, status=status, headers=headers, body=body, dialect=dialect, now=now)  # type: ignore[arg-type]

    verdict = read()

    assert verdict == read()
    assert verdict.retry_after is None or 0 <= verdict.retry_after <= 30 * 86400
    assert verdict.ok or verdict.fingerprint
    assert len(verdict.fingerprint) < 120
    assert (verdict.fingerprint + verdict.why).isprintable()
    assert not (verdict.ok and (verdict.counts or verdict.retryable or verdict.may_have_run))
