"""
Everything that can be decorated, and what can't be.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import pickle
from functools import partial
from typing import Any

import pytest

from egressor import ConfigError, Governor, WaitTooLong
from egressor.testing import FakeClock

GOV = Governor({"s": {"max_concurrency": 1, "retry": {"attempts": 1}}}, clock=FakeClock())


@GOV.throttled("s")
def top_level(number: int, *, more: int = 0) -> int:
    """
    Add *more* to *number*.
    """
    return number + more


@GOV.throttled("s")
async def top_level_coroutine(number: int) -> int:
    """
    Return *number*.
    """
    return number


@pytest.fixture
def gov() -> Governor:
    """
    Return a governor whose service ``s`` has one place and no retry.
    """
    return Governor({"s": {"max_concurrency": 1, "retry": {"attempts": 1}}}, clock=FakeClock())


def at_rest(gov: Governor, admitted: int) -> None:
    """
    Check that *admitted* attempts were let through, and that nothing is held.
    """
    status = gov.status()["s"]
    assert (status["admitted"], status["in_flight"]) == (admitted, 0)
    assert [limit["left"] for limit in status["limits"]] == [1]


class Callables:
    """
    Objects that are called like functions.
    """

    class Plain:
        """
        Called like a function.
        """

        def __call__(self, number: int) -> int:
            """
            Return *number*.
            """
            return number

    class Awaited:
        """
        Called like a coroutine function.
        """

        async def __call__(self, number: int) -> int:
            """
            Return *number*.
            """
            return number


async def coroutine(number: int) -> int:
    """
    Return *number*.
    """
    return number


def function(number: int) -> int:
    """
    Return *number*.
    """
    return number


class Owner:
    """
    A class with a method of each kind.
    """

    base = 40

    def method(self, number: int) -> int:
        """
        Return *number* and the base.
        """
        return self.base + number

    async def awaited(self, number: int) -> int:
        """
        Return *number* and the base.
        """
        return self.base + number


@pytest.mark.parametrize(
    "target",
    [
        function,
        lambda number: number,
        partial(function),
        partial(partial(function), number=2),
        Callables.Plain(),
        partial(Callables.Plain()),
        abs,
        Owner().method,
        int.__abs__,
    ],
)
def test_what_is_called_like_a_function_is_called_so(gov: Governor, target: Any) -> None:
    """
    Functions, lambdas, partials, bound methods, builtins and callable objects are called through the gate.
    """
    governed = gov.throttled("s")(target)

    result = governed() if isinstance(target, partial) and target.keywords else governed(2)

    assert result in (2, 42)
    at_rest(gov, 1)


@pytest.mark.parametrize(
    "target",
    [coroutine, partial(coroutine), Callables.Awaited(), partial(Callables.Awaited()), Owner().awaited],
)
def test_what_is_awaited_is_awaited(gov: Governor, target: Any) -> None:
    """
    Coroutine functions, their partials and objects with an async ``__call__`` make coroutine functions.
    """
    governed = gov.throttled("s")(target)

    assert inspect.iscoroutinefunction(governed)
    assert asyncio.run(governed(2)) in (2, 42)
    at_rest(gov, 1)


def test_methods_of_all_kinds(gov: Governor) -> None:
    """
    A method, a class method and a static method work with the decorator on either side of ``@classmethod``.
    """
    throttled = gov.throttled("s")

    class Client:
        name = "client"

        @throttled
        def method(self, number: int) -> tuple[str, int]:
            return self.name, number

        @throttled
        async def awaited(self, number: int) -> tuple[str, int]:
            return self.name, number

        @throttled
        @classmethod
        def outside(cls, number: int) -> tuple[str, int]:
            return cls.name, number

        @classmethod
        @throttled
        def inside(cls, number: int) -> tuple[str, int]:
            return cls.name, number

        @throttled
        @staticmethod
        def static_outside(number: int) -> tuple[str, int]:
            return "client", number

        @staticmethod
        @throttled
        def static_inside(number: int) -> tuple[str, int]:
            return "client", number

    client = Client()
    results = [
        client.method(1),
        asyncio.run(client.awaited(1)),
        client.outside(1),
        Client.outside(1),
        client.inside(1),
        Client.inside(1),
        client.static_outside(1),
        Client.static_outside(1),
        client.static_inside(1),
    ]

    assert results == [("client", 1)] * 9
    at_rest(gov, 9)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Owner, "throttled: a class can't be throttled: decorate a function that makes Owner"),
        pytest.param(
            property(lambda self: 1),
            "throttled: a property can't be throttled: decorate the function, then make it a property",
            id="property",
        ),
        (5, "throttled: only what can be called can be throttled, not 5"),
        (None, "throttled: only what can be called can be throttled, not None"),
        ("text", "throttled: only what can be called can be throttled, not 'text'"),
        pytest.param(
            classmethod(property(lambda cls: 1)),  # type: ignore[arg-type]
            "throttled: a property can't be throttled: decorate the function, then make it a property",
            id="property of a class",
        ),
    ],
)
def test_what_cannot_work_is_refused_at_once(gov: Governor, target: Any, message: str) -> None:
    """
    What can't be throttled is refused at decoration, and the message says why.
    """
    with pytest.raises(ConfigError) as caught:
        gov.throttled("s")(target)

    assert str(caught.value) == message


def test_a_decorated_function_keeps_its_face() -> None:
    """
    Name, docstring, module, signature and annotations are those of the function, which is still to be had.
    """
    assert top_level.__name__ == "top_level"
    assert top_level.__qualname__ == "top_level"
    assert top_level.__doc__ == top_level.__wrapped__.__doc__  # type: ignore[attr-defined] # added by the decorator
    assert top_level.__module__ == __name__
    assert str(inspect.signature(top_level)) == "(number: 'int', *, more: 'int' = 0) -> 'int'"
    assert top_level.__annotations__ == {"number": "int", "more": "int", "return": "int"}


def test_a_partial_and_an_object_have_no_name_to_keep(gov: Governor) -> None:
    """
    What has no name is decorated all the same, and can be asked for what it wraps.
    """
    target = partial(function, 3)

    governed = gov.throttled("s")(target)

    assert governed.__wrapped__ is target  # type: ignore[attr-defined] # added by the decorator
    assert governed() == 3


@pytest.mark.parametrize("governed", [top_level, top_level_coroutine])
def test_a_decorated_function_is_pickled_by_its_name(governed: Any) -> None:
    """
    A top-level function that is decorated comes back from a pickle as itself, as worker pools need it.
    """
    assert pickle.loads(pickle.dumps(governed)) is governed  # noqa: S301 - our own bytes


def test_recursion_through_one_place_goes_on() -> None:
    """
    A decorated function that calls itself lends its place to the inner call, instead of waiting for itself.
    """
    gov = Governor({"s": {"max_concurrency": 1, "max_wait": 0.0}}, clock=FakeClock())

    @gov.throttled("s")
    def factorial(number: int) -> int:
        return 1 if number <= 1 else number * factorial(number - 1)

    @gov.throttled("s")
    async def afactorial(number: int) -> int:
        return 1 if number <= 1 else number * await afactorial(number - 1)

    assert factorial(10) == 3_628_800
    assert asyncio.run(afactorial(10)) == 3_628_800
    at_rest(gov, 20)


def test_a_mistake_in_the_arguments_is_the_functions_own(gov: Governor) -> None:
    """
    Wrong arguments raise the TypeError that the function raises by itself, and leave nothing behind.
    """
    with pytest.raises(TypeError, match="unexpected keyword argument 'nope'"):
        gov.throttled("s")(function)(1, nope=2)  # type: ignore[call-arg] # on purpose

    at_rest(gov, 1)


# --- generators ------------------------------------------------------------------------------------------------------


def test_a_generator_holds_its_place_from_the_first_item_to_the_last(gov: Governor) -> None:
    """
    A generator takes its permit with the first item, answers `send` and `throw`, returns its value, and lets go.
    """

    @gov.throttled("s")
    def talk() -> Any:
        heard = yield "hello"
        try:
            yield heard
        except KeyError as error:
            yield f"caught {error}"
        return "bye"

    generator = talk()
    assert gov.status()["s"]["in_flight"] == 0
    assert next(generator) == "hello"
    assert gov.status()["s"]["in_flight"] == 1
    assert generator.send("you") == "you"
    assert generator.throw(KeyError("k")) == "caught 'k'"
    with pytest.raises(StopIteration) as caught:
        next(generator)

    assert caught.value.value == "bye"
    assert inspect.isgeneratorfunction(talk)
    at_rest(gov, 1)


def test_a_generator_that_is_closed_runs_its_finally(gov: Governor) -> None:
    """
    `close` reaches the generator's own ``finally``, and its place is free.
    """
    ended = []

    @gov.throttled("s")
    def talk() -> Any:
        try:
            yield 1
        finally:
            ended.append("closed")

    generator = talk()
    next(generator)
    generator.close()

    assert ended == ["closed"]
    at_rest(gov, 1)


def test_a_generator_that_is_dropped_gives_its_place_back(gov: Governor) -> None:
    """
    A loop that breaks and forgets the generator gives the place back; so does one that never began, which took none.
    """

    @gov.throttled("s")
    def talk() -> Any:
        yield from range(10)

    for item in talk():
        if item == 3:
            break
    talk()
    gc.collect()

    at_rest(gov, 1)


def test_an_error_in_a_generator_comes_out_as_it_was_raised(gov: Governor) -> None:
    """
    What a generator raises, in its own code or because it was thrown in, is its attempt's failure, and comes out.
    """
    error = ConnectionRefusedError("down")

    @gov.throttled("s")
    def talk(*, broken: bool) -> Any:
        yield 1
        if broken:
            raise error

    with pytest.raises(ConnectionRefusedError) as caught:
        list(talk(broken=True))
    other = talk(broken=False)
    next(other)
    with pytest.raises(ZeroDivisionError):
        other.throw(ZeroDivisionError())

    assert caught.value is error
    assert gov.status()["s"]["categories"] == {"network": 1, "unknown": 1}
    at_rest(gov, 2)


def test_a_generator_that_is_refused_never_runs() -> None:
    """
    A refused generator raises at its first item, and its code does not run.
    """
    gov = Governor({"s": {"limits": ["1/minute burst 1"], "max_wait": 0.0}}, clock=FakeClock())
    ran = []

    @gov.throttled("s")
    def talk() -> Any:
        ran.append(1)
        yield 1

    list(talk())
    with pytest.raises(WaitTooLong):
        next(talk())

    assert ran == [1]


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_generator_with_a_fallback_is_refused_at_decoration(gov: Governor, kind: str) -> None:
    """
    A generator's fallback would come after items that can't be taken back, so there is none.
    """

    def plain() -> Any:
        yield 1

    async def awaited() -> Any:
        yield 1

    with pytest.raises(ConfigError, match="a generator has no fallback"):
        gov.throttled("s", fallback=[])(plain if kind == "plain" else awaited)


def test_code_between_the_items_is_not_inside_the_call(gov: Governor) -> None:
    """
    Whoever reads a generator makes calls of its own between the items: they wait for the generator's place.
    """

    @gov.throttled("s")
    def talk() -> Any:
        yield gov.call("s", lambda: "inner")

    generator = talk()
    assert next(generator) == "inner"
    with pytest.raises(WaitTooLong):
        gov.call("s", str, deadline=1.0)
    generator.close()

    assert gov.call("s", lambda: 1) == 1
    at_rest(gov, 3)


def test_an_async_generator_answers_like_one(gov: Governor) -> None:
    """
    An async generator takes its permit with the first item, answers `asend` and `athrow`, and lets go at its end.
    """

    @gov.throttled("s")
    async def talk() -> Any:
        heard = yield "hello"
        try:
            yield heard
        except KeyError as error:
            yield f"caught {error}"

    async def main() -> list[object]:
        generator = talk()
        told = [await anext(generator)]
        assert gov.status()["s"]["in_flight"] == 1
        told += [await generator.asend("you"), await generator.athrow(KeyError("k"))]
        told += [item async for item in generator]
        return told

    assert inspect.isasyncgenfunction(talk)
    assert asyncio.run(main()) == ["hello", "you", "caught 'k'"]
    at_rest(gov, 1)


def test_an_async_generator_that_is_closed_runs_its_finally(gov: Governor) -> None:
    """
    `aclose` reaches the generator's own ``finally``, which may await, and its place is free.
    """
    ended = []

    @gov.throttled("s")
    async def talk() -> Any:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.append("closed")

    async def main() -> None:
        generator = talk()
        await anext(generator)
        await generator.aclose()
        at_rest(gov, 1)

    asyncio.run(main())

    assert ended == ["closed"]


def test_a_loop_that_breaks_without_aclose_gives_the_place_back(gov: Governor) -> None:
    """
    A hundred broken loops over an async generator, none of them closed, leave one place free.
    """

    @gov.throttled("s")
    async def talk() -> Any:
        for number in range(10):
            yield number

    async def main() -> None:
        for _ in range(100):
            async for item in talk():
                if item == 3:
                    break
        gc.collect()
        for _ in range(3):
            await asyncio.sleep(0)
        at_rest(gov, 100)

    asyncio.run(main())


def test_an_error_in_an_async_generator_comes_out_as_it_was_raised(gov: Governor) -> None:
    """
    What an async generator raises is its attempt's failure, and comes out as it was raised.
    """
    error = ConnectionRefusedError("down")

    @gov.throttled("s")
    async def talk() -> Any:
        yield 1
        raise error

    async def main() -> None:
        with pytest.raises(ConnectionRefusedError) as caught:
            [item async for item in talk()]
        assert caught.value is error

    asyncio.run(main())

    assert gov.status()["s"]["categories"] == {"network": 1}
    at_rest(gov, 1)


def test_a_blocking_call_refuses_a_fallback_that_must_be_awaited(gov: Governor) -> None:
    """
    Regression: such a call returned a coroutine that nobody awaited.
    """

    async def last() -> int:
        return 1

    with pytest.raises(ConfigError, match="can't await its fallback"):
        gov.throttled("s", fallback=last)(lambda: 1)
    with pytest.raises(ConfigError, match="can't await its fallback"):
        gov.call("s", str, fallback=last)
