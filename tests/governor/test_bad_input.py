"""
What bad input gets: a clear outcome, nothing leaked, and the next call works.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Iterator
from functools import partial, wraps
from types import SimpleNamespace, coroutine
from typing import Annotated, Any

import pytest

from egressor import ConfigError, Governor, NeverFits, Priority, ServiceType, WaitTooLong
from egressor.governor.route import Options
from egressor.testing import FakeClock


@pytest.fixture
def gov() -> Governor:
    """
    Return a governor whose service ``s`` has a place, ten tokens a second, and two attempts.
    """
    policy = {
        "limits": ["10 tokens/second burst 10"],
        "max_concurrency": 1,
        "retry": {"attempts": 2, "base": 0.0, "budget": False},
        "breaker": {"consecutive": 2},
        "rules": [{"match": {"endpoint": "chat"}, "limits": ["100/second burst 100"]}],
    }
    return Governor({"s": policy}, clock=FakeClock(), dice=lambda: 0.5)


def nothing_leaked(gov: Governor, admitted: int = 0) -> None:
    """
    Check that nothing is held or waits, that only *admitted* attempts were let through, and that the next call works.
    """
    status = gov.status()["s"]
    assert (status["in_flight"], sum(status["waiting"].values()), status["admitted"]) == (0, 0, admitted)
    assert [limit["left"] for limit in status["limits"]] == [10, 1]
    assert gov.call("s", lambda: 7) == 7
    assert asyncio.run(gov.acall("s", asyncio.sleep, 0, 8)) == 8


def seven() -> int:
    """
    Be the user's function.
    """
    return 7


class Unreadable:
    """
    A value that can't be shown.
    """

    def __repr__(self) -> str:
        msg = "no"
        raise RuntimeError(msg)


COSTS = [
    (-1, "cost.tokens: a cost must be a finite number from 0 to 2^53, not -1"),
    (math.nan, "cost.tokens: a cost must be a finite number from 0 to 2^53, not nan"),
    (math.inf, "cost.tokens: a cost must be a finite number from 0 to 2^53, not inf"),
    (-math.inf, "cost.tokens: a cost must be a finite number from 0 to 2^53, not -inf"),
    (2**63, "cost.tokens: a cost must be a finite number from 0 to 2^53, not 9223372036854775808"),
    (10**400, f"cost.tokens: a cost must be a finite number from 0 to 2^53, not 1{'0' * 39}…"),
    (True, "cost.tokens: a cost must be a number, not True (bool)"),
    ("8", "cost.tokens: a cost must be a number, not '8' (str)"),
    (None, "cost.tokens: a cost must be a number, not None (NoneType)"),
    (Unreadable(), "cost.tokens: a cost must be a number, not a Unreadable (Unreadable)"),
]


@pytest.mark.parametrize(("cost", "message"), COSTS, ids=[str(number) for number in range(len(COSTS))])
@pytest.mark.parametrize("way", ["call", "throttled", "function", "permit", "settle"])
def test_a_cost_that_is_no_amount_is_refused(gov: Governor, way: str, cost: Any, message: str) -> None:
    """
    A cost that is no finite number from 0 to 2^53 is the caller's mistake, wherever it is stated.
    """
    bad = {"tokens": cost}

    with pytest.raises(ConfigError) as caught:
        if way == "call":
            gov.call("s", str, cost=bad)
        elif way == "throttled":
            gov.throttled("s", cost=bad)
        elif way == "function":
            gov.throttled("s", cost=lambda: bad)(seven)()
        elif way == "permit":
            gov.permit("s", cost=bad)
        else:
            with gov.permit("s") as permit:
                permit.settle(cost=bad)

    assert str(caught.value) == message
    nothing_leaked(gov, admitted=1 if way == "settle" else 0)


@pytest.mark.parametrize(("cost", "left"), [(0, 10), (0.0, 10), (0.1, 9), (2.5, 7), (10, 0)])
def test_a_cost_is_rounded_up_to_whole_units(gov: Governor, cost: float, left: int) -> None:
    """
    A fraction counts as a whole unit; a cost of nothing takes nothing.
    """
    gov.call("s", str, cost={"tokens": cost})

    assert gov.status()["s"]["limits"][0]["left"] == left


def test_a_cost_above_the_burst_says_that_it_never_fits(gov: Governor) -> None:
    """
    A cost that no wait could make fit is refused at once, and says so.
    """
    with pytest.raises(NeverFits, match="a cost of 11 tokens can never fit 10 tokens/second burst 10") as caught:
        gov.call("s", str, cost={"tokens": 11})

    assert caught.value.retry_after is None
    nothing_leaked(gov)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deadline": math.nan}, "deadline: a deadline must be a finite number of seconds, at most 34560000, not nan"),
        ({"deadline": math.inf}, "deadline: a deadline must be a finite number of seconds, at most 34560000, not inf"),
        (
            {"deadline": 10**400},
            f"deadline: a deadline must be a finite number of seconds, at most 34560000, not 1{'0' * 39}…",
        ),
        ({"deadline": True}, "deadline: a deadline must be a number of seconds, not True"),
        ({"deadline": "5"}, "deadline: a deadline must be a number of seconds, not '5'"),
        ({"priority": "hgih"}, "priority: unknown priority 'hgih': low, medium, high, critical (did you mean 'high'?)"),
        ({"priority": 7}, "priority: unknown priority 7: low, medium, high, critical"),
        ({"priority": Unreadable()}, "priority: unknown priority a Unreadable: low, medium, high, critical"),
        ({"endpoint": "chta"}, "endpoint: s has no endpoint 'chta': chat (did you mean 'chat'?)"),
        ({"endpoint": ""}, "endpoint: an endpoint is a text of 1 to 200 printable characters, not ''"),
        ({"endpoint": 5}, "endpoint: an endpoint is a text of 1 to 200 printable characters, not 5"),
        ({"endpoint": "a\nb"}, r"endpoint: an endpoint is a text of 1 to 200 printable characters, not 'a\nb'"),
        ({"scope": "user"}, "scope: a scope must be a mapping of names to texts, not 'user'"),
        ({"scope": {"user": 5}}, "scope: a scope holds texts by name, not 'user': 5"),
        ({"scope": {5: "user"}}, "scope: a scope holds texts by name, not 5: 'user'"),
        ({"scope": {"user": "u" * 1025}}, "scope.user: a scope's value has at most 1024 characters, not 1025"),
    ],
)
@pytest.mark.parametrize("way", ["call", "acall", "throttled", "permit"])
def test_an_option_that_is_wrong_is_refused(gov: Governor, way: str, options: Any, message: str) -> None:
    """
    A wrong deadline, priority, endpoint or scope is refused before anything is taken, with the nearest valid name.
    """
    with pytest.raises(ConfigError) as caught:
        if way == "acall":
            asyncio.run(gov.acall("s", asyncio.sleep, 0, **options))
        elif way == "call":
            gov.call("s", str, **options)
        elif way == "throttled":
            gov.throttled("s", **options)
        else:
            gov.permit("s", **options)

    assert str(caught.value).startswith(message)
    nothing_leaked(gov)


@pytest.mark.parametrize("deadline", [0, 0.0, -1, -0.5])
def test_a_deadline_that_is_over_lets_nothing_go(gov: Governor, deadline: float) -> None:
    """
    A deadline of now or before is refused at once, whatever is free.
    """
    with pytest.raises(WaitTooLong, match="its deadline had passed"):
        gov.call("s", lambda: 7, deadline=deadline)
    nothing_leaked(gov, admitted=0)


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("t", "service: unknown service 't': s"),
        ("ss", "service: unknown service 'ss': s (did you mean 's'?)"),
        ("llm_ap", "service: unknown service 'llm_ap': s (did you mean 'llm_api'?)"),
        (None, "service: unknown service None: s"),
        (5, "service: unknown service 5: s"),
        ([], "service: unknown service []: s"),
        ({}, "service: unknown service {}: s"),
        (Unreadable(), "service: unknown service a Unreadable: s"),
    ],
)
@pytest.mark.parametrize("way", ["call", "acall", "throttled", "handled", "permit", "pause", "explain"])
def test_an_unknown_service_is_refused(gov: Governor, way: str, service: Any, message: str) -> None:
    """
    A service that nobody has configured, hashable or not, is refused with those that there are, and the nearest.
    """
    with pytest.raises(ConfigError) as caught:
        if way == "acall":
            asyncio.run(gov.acall(service, asyncio.sleep, 0))
        elif way == "call":
            gov.call(service, str)
        else:
            getattr(gov, way)(service)

    assert str(caught.value) == message
    nothing_leaked(gov)


@pytest.mark.parametrize("service", list(ServiceType))
def test_a_service_type_is_a_service_with_its_preset(gov: Governor, service: ServiceType) -> None:
    """
    Each service type works by its member and by its name, also where other services are configured.
    """
    assert gov.call(service, lambda: 1) == 1
    assert gov.call(service.value, lambda: 2, priority=Priority.CRITICAL) == 2
    assert gov.status()[service.value]["type"] == service.value


class Quiet(BaseException):
    """
    An exception of the user's that is no `Exception`.
    """


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, Quiet])
@pytest.mark.parametrize("driver", ["sync", "async", "permit", "tapped"])
def test_an_interruption_comes_out_at_once_and_is_nobodys_failure(
    gov: Governor, driver: str, kind: type[BaseException]
) -> None:
    """
    Ctrl-C, an exit, or an exception that nobody knows is raised as it is, is not tried again, and opens no breaker.
    """
    error = kind("now")
    calls = []

    def interrupt() -> None:
        calls.append(1)
        raise error

    async def ainterrupt() -> None:
        await asyncio.sleep(0)
        interrupt()

    async def main() -> None:
        # An event loop ends at once on Ctrl-C and on an exit: catch them where the user would.
        with pytest.raises(kind) as caught:
            await gov.acall("s", ainterrupt, fallback=3)
        assert caught.value is error

    for _ in range(3):
        if driver == "async":
            asyncio.run(main())
        elif driver == "permit":
            with pytest.raises(kind), gov.permit("s"):
                interrupt()
        else:
            if driver == "tapped":
                gov.tap(lambda event: None)
            with pytest.raises(kind) as caught:
                gov.call("s", interrupt, fallback=3)
            assert caught.value is error

    assert len(calls) == 3
    assert gov.status()["s"]["breaker"]["state"] == "closed"
    assert gov.status()["s"]["retried"] == 0
    nothing_leaked(gov, admitted=3)


class Rude(Exception):
    """
    An exception that can't be shown.
    """

    def __str__(self) -> str:
        msg = "no"
        raise RuntimeError(msg)

    __repr__ = __str__


def circular() -> Exception:
    """
    Return an exception that is its own cause.
    """
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    first.__context__, second.__context__ = second, first
    return first


def deep() -> Exception:
    """
    Return an exception with a thousand causes.
    """
    error: Exception = ConnectionRefusedError("the root")
    for number in range(1_000):
        outer = ValueError(number)
        outer.__cause__, error = error, outer
    return error


@pytest.mark.parametrize(
    "make",
    [
        circular,
        deep,
        lambda: ValueError("x" * 100_000_000),
        Rude,
        lambda: ExceptionGroup("g", [circular(), Rude(), ExceptionGroup("h", [ValueError()])]),
        lambda: Rude(Rude()),
        lambda: OSError(Rude()),
    ],
    ids=["circular", "deep", "huge", "rude", "group", "rude twice", "rude inside"],
)
def test_a_hostile_exception_comes_out_as_it_was_raised(gov: Governor, make: Any) -> None:
    """
    Exceptions with cycles, huge messages, or a ``__str__`` that raises are classified and raised like any other.
    """
    error = make()

    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        gov.call("s", fail)

    assert caught.value is error
    gov.reset_breaker("s")
    nothing_leaked(gov, admitted=gov.status()["s"]["admitted"])


class Hostile:
    """
    A value whose every attribute raises.
    """

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_a_hostile_value_is_a_value(gov: Governor) -> None:
    """
    A value that raises on every attribute is returned as it is.
    """
    value = Hostile()

    assert gov.call("s", lambda: value) is value
    nothing_leaked(gov, admitted=1)


def test_objects_of_one_type_may_carry_a_status_or_not(gov: Governor) -> None:
    """
    Regression: after one namespace without a status, a namespace with a status of 503 counted as a success.
    """
    gov.call("s", lambda: SimpleNamespace(text="plain"))
    gov.call("s", lambda: SimpleNamespace(status_code=404, headers={}))

    assert gov.status()["s"]["categories"] == {"not_found": 1}


def test_what_cannot_be_called_is_no_call(gov: Governor) -> None:
    """
    A coroutine function handed to `call`, and a number, are mistakes that leave nothing behind.
    """
    with pytest.raises(ConfigError, match=r"is a coroutine function: use await gov\.acall"):
        gov.call("s", asyncio.sleep, 0)  # type: ignore[unused-coroutine] # on purpose
    with pytest.raises(TypeError, match="'int' object is not callable"):
        gov.call("s", 5)  # type: ignore[arg-type]

    nothing_leaked(gov, admitted=1)


RUN: list[str] = []


class Order:
    """
    A class, of which no instance can be awaited, and what may be called of it.
    """

    def __init__(self, *_: object) -> None:
        RUN.append("made")

    @staticmethod
    def say() -> dict[str, int]:
        """
        Its annotation is a text, as this module has it.
        """
        RUN.append("said")
        return {}

    @staticmethod
    def items() -> Iterator[int]:
        """
        A generator.
        """
        RUN.append("yielded")
        yield 1


def nothing() -> None:
    """
    Nothing is no promise of anything.
    """
    RUN.append("nothing")


def plainly() -> object:
    """
    Annotated with a class itself.
    """
    RUN.append("plainly")
    return []


plainly.__annotations__["return"] = list[int]


@pytest.mark.parametrize(
    "function",
    [str, Order, Order.say, Order.items, nothing, plainly, partial(partial(nothing))],
    ids=[str(number) for number in range(7)],
)
def test_what_gives_nothing_to_await_is_refused_before_it_is_run(gov: Governor, function: Any) -> None:
    """
    An order that was sent and called a failure is sent again; the message names `call`.
    """
    RUN.clear()
    with pytest.raises(ConfigError, match=r"is no coroutine function: use gov\.call\(…\)") as caught:
        asyncio.run(gov.acall("s", function))

    assert (RUN, caught.value.key) == ([], "acall")
    nothing_leaked(gov, admitted=0)


class Request:
    """
    What can be awaited, as some clients' requests are.
    """

    def __await__(self) -> Iterator[None]:
        yield from asyncio.Lock().acquire().__await__()


def get() -> Request:
    """
    A plain function that returns it.
    """
    return Request()


def anything() -> Any:
    """
    Nobody knows.
    """
    return Request()


def awaitable() -> Awaitable[object]:
    """
    As its annotation says.
    """
    return asyncio.Lock().acquire()


def either() -> Awaitable[object] | None:
    """
    Written as no plain name.
    """
    return asyncio.Lock().acquire()


def told() -> Annotated[Awaitable[object], "soon"]:
    """
    With a word besides.
    """
    return asyncio.Lock().acquire()


def evaluated() -> object:
    """
    As `either`, in a module whose annotations are no texts.
    """
    return asyncio.Lock().acquire()


told.__annotations__["return"] = Annotated[Awaitable[object], "soon"]
evaluated.__annotations__["return"] = Awaitable[object] | None


async def coroutine_function(number: int) -> int:
    """
    The usual kind.
    """
    return number


@wraps(coroutine_function)
def wrapped(*args: Any) -> Any:
    """
    Its annotation is the wrapped one's: a number.
    """
    return coroutine_function(*args)


@coroutine
def old() -> Iterator[None]:
    """
    A coroutine of the old kind.
    """
    yield from asyncio.Lock().acquire().__await__()


class Client:
    """
    An object that is called.
    """

    def __call__(self):  # type: ignore[no-untyped-def] # noqa: ANN204 - as many a library has it
        """
        Nobody asks what an object's call returns.
        """
        return Request()


@pytest.mark.parametrize(
    "function",
    [
        get,
        anything,
        awaitable,
        either,
        told,
        evaluated,
        partial(wrapped, 0),
        old,
        Client(),
        Client().__call__,
        Request,
        lambda: asyncio.Lock().acquire(),
    ],
    ids=[str(number) for number in range(12)],
)
def test_a_plain_function_may_give_something_to_await(gov: Governor, function: Any) -> None:
    """
    Where its annotation says so, leaves it open or is none, and as a lambda or an object.
    """
    asyncio.run(gov.acall("s", function))

    nothing_leaked(gov, admitted=1)


def test_a_coroutine_outside_of_an_event_loop_takes_nothing(gov: Governor) -> None:
    """
    Regression: a call that was driven without an event loop raised with its place taken.
    """
    coroutine = gov.acall("s", asyncio.sleep, 0)

    with pytest.raises(RuntimeError, match="no running event loop"):
        coroutine.send(None)

    nothing_leaked(gov)


def test_a_governor_that_is_closed_refuses(gov: Governor) -> None:
    """
    After `close` every call is refused, by old decorators and permits too.
    """
    governed = gov.throttled("s")(seven)
    with gov:
        assert governed() == 7

    with pytest.raises(ConfigError, match="the governor is closed"):
        gov.call("s", str)
    with pytest.raises(Exception, match="the governor is closed"):
        governed()


def test_a_governor_takes_a_config_or_services() -> None:
    """
    Two sources at once are a mistake.
    """
    config = Governor({"s": {}}).config

    with pytest.raises(ConfigError, match="not both"):
        Governor({"s": {}}, config=config)

    assert Governor(config=config).config is config


def test_a_preset_that_nobody_has_used_yet_is_no_slip(gov: Governor) -> None:
    """
    A monitor that starts before the first call may ask for it by its name.
    """
    assert gov.errors(service="llm_api") == gov.errors(service=ServiceType.LLM_API)
    with pytest.raises(ConfigError, match="unknown service 'llm_ap'"):
        gov.errors(service="llm_ap")


def test_the_route_of_a_call_names_its_service(gov: Governor) -> None:
    """
    A route that transports make holds the service's gate.
    """
    assert gov.route("s", Options()).gate is gov.gate("s")


def test_a_context_manager_closes_a_governor_in_a_loop() -> None:
    """
    ``async with`` and `aclose` end a governor as `close` does.
    """

    async def main() -> Governor:
        async with Governor({"s": {}}, clock=FakeClock()) as gov:
            assert await gov.acall("s", asyncio.sleep, 0, 7) == 7  # type: ignore[func-returns-value] # of its two forms the checker takes the first
        other = Governor({"s": {}}, clock=FakeClock())
        await other.aclose()
        with pytest.raises(ConfigError, match="closed"):
            other.gate("s")
        return gov

    with pytest.raises(ConfigError, match="closed"):
        asyncio.run(main()).gate("s")


@pytest.mark.parametrize(
    ("slip", "meant"), [("usr", "user"), ("users", "user"), ("modle", "model"), ("Feature", "feature")]
)
def test_a_slip_in_a_scope_is_refused(gov: Governor, slip: str, meant: str) -> None:
    """
    Rules of users would hold for nobody; names of one's own are as one likes.
    """
    with pytest.raises(ConfigError, match=f"looks like a slip of '{meant}'") as raised:
        gov.call("s", int, scope={slip: "1"})
    assert raised.value.nearest == meant
    assert gov.call("s", int, scope={"tenant": "1", "region": "eu"}) == 0


def test_idempotent_is_true_or_false(gov: Governor) -> None:
    """
    A text is not taken for true: what may have been executed would be sent again.
    """
    with pytest.raises(ConfigError, match="idempotent is true or false, not 'no'"):
        gov.throttled("s", idempotent="no")  # type: ignore[arg-type] # on purpose
