"""
Calls whose answer streams: the straight path and the plan come to the same, in both colours.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from egressor import Governor, Verdict
from egressor._core.model import ErrorCategory, Outcome
from egressor.governor.nesting import CURRENT
from egressor.governor.route import Options
from egressor.governor.streams import Opened, aopen_call, open_call
from egressor.testing import FakeClock

if TYPE_CHECKING:
    from egressor._core.admission import Lease

BROKEN = Verdict(category=ErrorCategory.NETWORK, retryable=True, counts=True)


class Replies:
    """
    A wish that comes to one outcome after the other: an exception is raised, a text is an answer that streams.
    """

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)
        self.inside: list[bool] = []

    def send(self, lease: Lease, timeout: float | None) -> Any:
        """
        Make one attempt.
        """
        self.inside.append(CURRENT.get() is not None and timeout == 30.0 and lease.at >= 0)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return Outcome(outcome, verdict=Verdict(), open=True)

    def discard(self, outcome: Outcome) -> None:
        """
        Nothing is held here.
        """


class AsyncReplies(Replies):
    """
    The same, awaited.
    """

    async def send(self, lease: Lease, timeout: float | None) -> Any:  # noqa: ASYNC109 - a wish is told
        """
        Make one attempt.
        """
        await asyncio.sleep(0)
        return super().send(lease, timeout)

    async def discard(self, outcome: Outcome) -> None:  # type: ignore[override]
        """
        Nothing is held here.
        """


def governor(*, is_watched: bool, **policy: Any) -> Governor:
    """
    Return a governor with one place; where it *is_watched*, no call takes the straight path.
    """
    settings = {"max_concurrency": 1, "max_wait": 0.0, "timeout": 30.0, "retry": {"attempts": 2, "base": 0.1}, **policy}
    gov = Governor({"s": settings}, clock=FakeClock(), dice=lambda: 0.5)
    if is_watched:
        gov.tap(lambda event: None)
    return gov


def opened(gov: Governor, colour: str, *outcomes: object, idempotent: bool = True) -> Opened:
    """
    Open one call that comes to *outcomes*.
    """
    route = gov.route("s", Options())
    wish = AsyncReplies(*outcomes) if colour == "async" else Replies(*outcomes)
    try:
        if colour == "async":
            return asyncio.run(aopen_call(route, wish, idempotent=idempotent))
        return open_call(route, wish, idempotent=idempotent)
    finally:
        assert all(wish.inside)
        assert CURRENT.get() is None


def finish(answer: Opened, colour: str, error: BaseException | None = None, verdict: Verdict | None = None) -> None:
    """
    End *answer*'s body, twice: the second time nothing happens.
    """
    for _ in range(2):
        if colour == "async":
            asyncio.run(answer.afinish(error, verdict))
        else:
            answer.finish(error, verdict)


def counted(gov: Governor) -> tuple[int, int, int, int, dict[str, int]]:
    """
    Return what the service has counted: free places, in flight, succeeded, retried, failures.
    """
    status = gov.status()["s"]
    return (
        status["limits"][-1]["left"],
        status["in_flight"],
        status["succeeded"],
        status["retried"],
        status["categories"],
    )


@pytest.mark.parametrize("is_watched", [False, True])
@pytest.mark.parametrize("colour", ["sync", "async"])
class TestBothWays:
    """
    Everything that a streamed call may come to.
    """

    def test_a_body_that_ends_settles_the_lease(self, colour: str, is_watched: bool) -> None:
        """
        The place is held until then.
        """
        gov = governor(is_watched=is_watched)
        answer = opened(gov, colour, "one")

        assert (answer.value, answer.is_open, counted(gov)) == ("one", True, (0, 1, 0, 0, {}))
        finish(answer, colour)
        assert (answer.is_open, counted(gov)) == (False, (1, 0, 1, 0, {}))

    def test_a_call_that_has_ended_leaves_nothing_to_the_garbage_collector(self, colour: str, is_watched: bool) -> None:
        """
        Regression: a call on the plan's way kept all that it had, its request too, until the collector looked.
        """
        gov = governor(is_watched=is_watched)
        wish = AsyncReplies("one") if colour == "async" else Replies("one")
        sent = weakref.ref(wish)
        gc.collect()
        gc.disable()
        try:
            route = gov.route("s", Options())
            if colour == "async":
                answer = asyncio.run(aopen_call(route, wish, idempotent=True))
            else:
                answer = open_call(route, wish, idempotent=True)
            finish(answer, colour)
            del wish, answer

            assert sent() is None
        finally:
            gc.enable()

    def test_a_body_that_breaks_is_a_failure(self, colour: str, is_watched: bool) -> None:
        """
        By its error, or by what whoever reads it says of it.
        """
        gov = governor(is_watched=is_watched)
        finish(opened(gov, colour, "one"), colour, ConnectionResetError())
        finish(opened(gov, colour, "one"), colour, verdict=BROKEN)

        assert counted(gov) == (1, 0, 0, 0, {"network": 2})

    def test_a_first_failure_is_tried_again(self, colour: str, is_watched: bool) -> None:
        """
        The plan goes on from an attempt of the straight path as from one of its own.
        """
        gov = governor(is_watched=is_watched)
        answer = opened(gov, colour, ConnectionRefusedError(), "two")

        assert (answer.value, counted(gov)) == ("two", (0, 1, 0, 1, {"network": 1}))
        finish(answer, colour)
        assert counted(gov) == (1, 0, 1, 1, {"network": 1})

    def test_what_may_have_run_is_not_sent_again(self, colour: str, is_watched: bool) -> None:
        """
        The wish's own word on whether it may be repeated holds.
        """
        gov = governor(is_watched=is_watched)
        with pytest.raises(ConnectionResetError):
            opened(gov, colour, ConnectionResetError(), "two", idempotent=False)

        assert counted(gov) == (1, 0, 0, 0, {"network": 1})

    def test_an_answer_that_is_dropped_gives_its_lease_back(self, colour: str, is_watched: bool) -> None:
        """
        A finaliser settles without waiting.
        """
        gov = governor(is_watched=is_watched)
        answer = opened(gov, colour, "one")
        answer.drop(Verdict(category=ErrorCategory.CANCELLED, scope="call"))
        finish(answer, colour)

        assert counted(gov) == (1, 0, 0, 0, {"cancelled": 1})


@pytest.mark.parametrize("is_watched", [False, True])
def test_an_attempt_that_is_cancelled_holds_nothing(is_watched: bool) -> None:
    """
    Wherever the task is cancelled, and also where nobody runs it any more and it is closed, as the collector does it.
    """
    gov = governor(is_watched=is_watched)
    route = gov.route("s", Options())

    class Endless(AsyncReplies):
        async def send(self, lease: Lease, timeout: float | None) -> Any:  # noqa: ASYNC109
            await asyncio.Event().wait()

    async def cancelled() -> None:
        task = asyncio.create_task(aopen_call(route, Endless(), idempotent=True))
        for _ in range(3):
            await asyncio.sleep(0)
        assert gov.status()["s"]["in_flight"] == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def left_alone() -> Any:
        call = aopen_call(route, Endless(), idempotent=True)
        call.send(None)
        return call

    asyncio.run(cancelled())
    assert counted(gov) == (1, 0, 0, 0, {"cancelled": 1})
    call = asyncio.run(left_alone())
    assert gov.status()["s"]["in_flight"] == 1
    call.close()

    assert counted(gov) == (1, 0, 0, 0, {"cancelled": 2})


@pytest.mark.parametrize("is_watched", [False, True])
def test_an_attempt_that_takes_too_long_is_a_timeout(is_watched: bool) -> None:
    """
    The policy's time-out cuts an attempt off on either way, and it may be tried again.
    """
    gov = Governor({"s": {"timeout": 0.02, "retry": {"attempts": 2, "base": 0.0}}})
    if is_watched:
        gov.tap(lambda event: None)

    class Slow(AsyncReplies):
        async def send(self, lease: Lease, timeout: float | None) -> Any:  # noqa: ASYNC109
            self.inside.append(True)
            await asyncio.Event().wait()

    wish = Slow()
    with pytest.raises(TimeoutError):
        asyncio.run(aopen_call(gov.route("s", Options()), wish, idempotent=True))

    assert (len(wish.inside), gov.status()["s"]["categories"]) == (2, {"timeout": 2})
