"""
What type checkers know of calls that pass the gate: `make check` holds these functions to what they assert.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import assert_type

import egressor
from egressor import Governor

GOV = Governor(services={"a": {"type": "internal_api", "limits": ["1000/second"], "max_concurrency": 10}})


@GOV.throttled("a")
def _plain(number: int, *, word: str = "") -> list[str]:
    return [word] * number


@GOV.throttled("a")
async def _awaited(number: int) -> str:
    return str(number)


@GOV.throttled("a")
def _several(number: int) -> Iterator[int]:
    yield from range(number)


@GOV.throttled("a")
async def _several_awaited(number: int) -> AsyncIterator[int]:
    for each in range(number):
        yield each


@GOV.handled("a")
def _without_limits(number: int) -> float:
    return number / 2


@egressor.throttled("internal_api")
def _of_the_default(number: int) -> bytes:
    return bytes(number)


class _Client:
    @GOV.throttled("a")
    def method(self, number: int) -> int:
        return number

    @GOV.throttled("a")
    @classmethod
    def of_the_class(cls, number: int) -> int:
        return number


def test_what_is_decorated_keeps_its_type() -> None:
    """
    Arguments and results are as they were.
    """
    assert assert_type(_plain(2, word="a"), list[str]) == ["a", "a"]
    assert list(assert_type(_several(2), Iterator[int])) == [0, 1]
    assert assert_type(_without_limits(1), float) == 0.5
    assert assert_type(_of_the_default(1), bytes) == b"\0"
    assert assert_type(_Client().method(3), int) == 3
    assert assert_type(_Client.of_the_class(3), int) == 3
    # A call that does not fit is a mistake to the checker: it would say that nothing is to be ignored here.
    assert "number" in str(_wrong())


def _wrong() -> TypeError:
    try:
        _plain(word=2)  # type: ignore[call-arg, arg-type] # on purpose
    except TypeError as error:
        return error
    msg = "a call without its argument"
    raise AssertionError(msg)


def test_a_call_has_its_functions_type() -> None:
    """
    Of `call`, `acall` and `handle_with_retry`, too.
    """

    def fetch(number: int) -> int:
        return number

    async def afetch(number: int) -> int:
        return number

    async def main() -> None:
        assert assert_type(await _awaited(1), str) == "1"
        assert [each async for each in assert_type(_several_awaited(2), AsyncIterator[int])] == [0, 1]
        assert assert_type(await GOV.acall("a", afetch, 2), int) == 2

    assert assert_type(GOV.call("a", fetch, 2), int) == 2
    assert assert_type(egressor.handle_with_retry(lambda: 1.5, "internal_api"), float) == 1.5
    asyncio.run(main())
