"""
The limit grammar: what it reads, how it prints, and what it refuses.
"""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from egressor.errors import ConfigError
from egressor.policies import Limit

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 1440 * MINUTE


@pytest.mark.parametrize(
    ("text", "canonical", "amount", "unit", "period_us", "burst", "fixed"),
    [
        ("20/minute", "20/minute", 20, "requests", MINUTE, None, False),
        (" 20 / minute ", "20/minute", 20, "requests", MINUTE, None, False),
        ("20 requests/minute", "20/minute", 20, "requests", MINUTE, None, False),
        ("20/1 minute", "20/minute", 20, "requests", MINUTE, None, False),
        ("20/minute" + " " * 91, "20/minute", 20, "requests", MINUTE, None, False),
        ("20/minutes", "20/minute", 20, "requests", MINUTE, None, False),
        ("20/5 minutes", "20/5 minutes", 20, "requests", 5 * MINUTE, None, False),
        ("20/5 minute", "20/5 minutes", 20, "requests", 5 * MINUTE, None, False),
        ("0.5/second burst 2", "1/2 seconds burst 2", 1, "requests", 2 * SECOND, 2, False),
        ("0.2/second burst 1", "1/5 seconds burst 1", 1, "requests", 5 * SECOND, 1, False),
        ("2.50/second", "5/2 seconds", 5, "requests", 2 * SECOND, None, False),
        ("2.0/second", "2/second", 2, "requests", SECOND, None, False),
        ("0.000001/second", "1/1000000 seconds", 1, "requests", 1_000_000 * SECOND, None, False),
        ("200_000 tokens/minute", "200000 tokens/minute", 200_000, "tokens", MINUTE, None, False),
        ("6000 weight/minute fixed", "6000 weight/minute fixed", 6000, "weight", MINUTE, None, True),
        ("7 gpu_seconds/hour", "7 gpu_seconds/hour", 7, "gpu_seconds", 60 * MINUTE, None, False),
        ("10000/day fixed", "10000/day fixed", 10_000, "requests", DAY, None, True),
        ("1/week", "1/week", 1, "requests", 7 * DAY, None, False),
        ("1/month", "1/month", 1, "requests", 31 * DAY, None, False),
        ("1/11 months", "1/11 months", 1, "requests", 341 * DAY, None, False),
        ("1/12 months fixed", "1/12 months fixed", 1, "requests", 366 * DAY, None, True),
        ("1/366 days", "1/366 days", 1, "requests", 366 * DAY, None, False),
        ("1000000000000/day", "1000000000000/day", 10**12, "requests", DAY, None, False),
        ("10_00/second burst 1_000_000_000", "1000/second burst 1000000000", 1000, "requests", SECOND, 10**9, False),
        ("1000000/second burst 1", "1000000/second burst 1", 1_000_000, "requests", SECOND, 1, False),
    ],
)  # fmt: skip
def test_reads(
    text: str, canonical: str, amount: int, unit: str, period_us: int, burst: int | None, fixed: bool
) -> None:
    """
    A text is read into whole numbers, and prints in its canonical form.
    """
    limit = Limit(text)

    assert (str(limit), limit.amount, limit.unit, limit.period_us, limit.burst, limit.fixed) == (
        canonical, amount, unit, period_us, burst, fixed,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "part", "nearest"),
    [
        ("", "AMOUNT [UNIT] / [N] PERIOD", None),
        ("20", "AMOUNT [UNIT] / [N] PERIOD", None),
        ("20 per minute", "AMOUNT [UNIT] / [N] PERIOD", "20/minute"),
        ("/minute", "amount is missing", None),
        ("x/minute", "amount 'x' is not a plain number", None),
        ("1e3/minute", "amount '1e3' is not a plain number", None),
        ("nan/minute", "amount 'nan' is not", None),
        ("inf/minute", "amount 'inf' is not", None),
        ("0x10/minute", "amount '0x10' is not", None),
        ("1__0/minute", "amount '1__0' is not", None),
        ("_1/minute", "amount '_1' is not", None),
        ("1./minute", "amount '1.' is not", None),
        (".5/minute", "amount '.5' is not", None),
        ("0.0000001/minute", "six decimals at most", None),
        ("+5/minute", "amount '+5' is not", None),
        ("-5/minute", "amount -5 is not above 0", None),
        ("0/minute", "amount 0 is not above 0", None),
        ("0.00/minute", "amount 0.00 is not above 0", None),
        ("1000000000001/minute", "is above 1000000000000", None),
        ("1000000.000001/minute", "is above 1000000000000 when its decimals are counted in", None),
        ("5 6/minute", "unknown unit '6'", None),
        ("5 request/minute", "unknown unit 'request'", "requests"),
        ("5 Requests/minute", "unknown unit 'Requests'", "requests"),
        ("5 reqs/minute", "unknown unit 'reqs'", "requests"),
        ("5 calls/minute", "unknown unit 'calls'", "requests"),
        ("5 token/minute", "unknown unit 'token'", "tokens"),
        ("5 toks/minute", "unknown unit 'toks'", "tokens"),
        ("5 wieght/minute", "unknown unit 'wieght'", "weight"),
        ("5 minute/hour", "unknown unit 'minute'", None),
        ("5 burst/hour", "unknown unit 'burst'", None),
        ("5 a-b/hour", "unknown unit 'a-b'", None),
        ("5 big tokens/hour", "'big tokens' is more than one unit", None),
        ("5/", "period is missing", None),
        ("5/3", "period is missing", None),
        ("5/min", "unknown period 'min'", "minute"),
        ("5/s", "unknown period 's'", "second"),
        ("5/Hour", "unknown period 'Hour'", "hour"),
        ("5/dya", "unknown period 'dya'", "day"),
        ("5/year", "unknown period 'year'", "365 days"),
        ("5/fortnight", "unknown period 'fortnight'", None),
        ("5/minute/2", "unknown period 'minute/2'", "minute"),
        ("5/0 minutes", "number of periods 0 is not between 1 and", None),
        ("5/-1 minutes", "number of periods '-1' is not a whole number", None),
        ("5/1.5 minutes", "number of periods '1.5' is not a whole number", None),
        ("5/5minutes", "number of periods '5minutes' is not a whole number", None),
        ("5/367 days", "367 days is longer than 366 days", None),
        ("5/53 weeks", "53 weeks is longer than 366 days", None),
        ("5/13 months", "13 months is longer than 366 days", None),
        ("0.001/day", "1000 days is longer than 366 days", None),
        ("5/minute burst", 'the number after "burst" is missing', None),
        ("5/minute burst 0", "burst 0 is not between 1 and 1000000000", None),
        ("5/minute burst -1", "burst '-1' is not a whole number", None),
        ("5/minute burst 1.5", "burst '1.5' is not a whole number", None),
        ("5/minute burst 1000000001", "burst 1000000001 is not between", None),
        ("5/minute burst 5 6", "unexpected '6' at the end", None),
        ("5/minute burst 5 fixed", "exclude each other", None),
        ("5/minute fixed burst 5", "exclude each other", None),
        ("5/minute brust 5", "unexpected 'brust 5'", "burst"),
        ("5/minute fxied", "unexpected 'fxied'", "fixed"),
        ("5/minute 7", "unexpected '7'", None),
        ("1000001/second burst 1", "more than one per microsecond", None),
        ("\uff15/minute", "plain ASCII characters", None),
        ("5\n/minute", "plain ASCII characters", None),
        ("5/minute" + " " * 93, "at most 100", None),
    ],
)  # fmt: skip
def test_refuses(text: str, part: str, nearest: str | None) -> None:
    """
    What is outside the grammar is an error that names the text, the part and the nearest word.
    """
    with pytest.raises(ConfigError) as caught:
        Limit(text)

    assert part in caught.value.message
    assert caught.value.nearest == nearest


@pytest.mark.parametrize("value", [20, None, b"20/minute", ["20/minute"]])
def test_refuses_what_is_no_text(value: object) -> None:
    """
    A limit is a text; anything else says so instead of failing somewhere inside.
    """
    with pytest.raises(ConfigError, match=f"limit of type {type(value).__name__}"):
        Limit(value)  # type: ignore[arg-type]


def test_equality_follows_the_canonical_text() -> None:
    """
    Two spellings of one limit are one limit, in sets too.
    """
    assert {Limit("0.5/second"), Limit("1/2 seconds"), Limit("1 / 2 second")} == {Limit("1/2 seconds")}


def test_survives_pickle_and_copy() -> None:
    """
    A limit can cross processes.
    """
    limit = Limit("20 tokens/minute burst 5")

    assert pickle.loads(pickle.dumps(limit)).burst == copy.deepcopy(limit).burst == 5  # noqa: S301 - our own bytes


def test_repr_can_be_evaluated() -> None:
    """
    The repr is the call that makes the limit.
    """
    assert repr(Limit("20 / minute")) == "Limit('20/minute')"


amounts = st.one_of(
    st.integers(1, 10**12).map(str),
    st.tuples(st.integers(0, 999), st.integers(1, 999_999)).map(lambda pair: f"{pair[0]}.{pair[1]:06d}"),
)
periods = st.sampled_from(["second", "minutes", "hour", "3 hours", "day", "7 day", "week", "month", "2 months"])
endings = st.one_of(st.just(""), st.just(" fixed"), st.integers(1, 10**9).map(lambda burst: f" burst {burst}"))
units = st.sampled_from(["", " requests", " tokens", " weight", " zzz_9"])


@given(st.builds(lambda a, u, p, e: f"{a}{u}/{p}{e}", amounts, units, periods, endings))
def test_canonical_text_reads_as_itself(text: str) -> None:
    """
    Printing and reading a limit gives the same limit, with all of its numbers.
    """
    try:
        limit = Limit(text)
    except ConfigError:
        return  # a fraction so fine that its period is longer than a year
    again = Limit(str(limit))

    assert again == limit
    assert [getattr(again, name) for name in Limit.__slots__] == [getattr(limit, name) for name in Limit.__slots__]


@given(st.integers(0, 999_999), st.integers(1, 999_999), st.integers(1, 30))
def test_a_fraction_keeps_its_rate(whole: int, millionths: int, seconds: int) -> None:
    """
    A decimal amount becomes whole units per whole microseconds at exactly the same rate.
    """
    try:
        limit = Limit(f"{whole}.{millionths:06d}/{seconds} seconds")
    except ConfigError as error:
        assert "longer than 366 days" in error.message  # noqa: PT017 - one of two right answers
        return

    assert limit.amount * seconds * SECOND * 10**6 == (whole * 10**6 + millionths) * limit.period_us


@given(st.text(max_size=40) | st.text("0123456789./_-+ burstfixedmonthsecday", max_size=40))
@example("1/" + "9" * 90)
def test_reads_or_refuses(text: str) -> None:
    """
    Any text at all is a limit or a ConfigError, never another exception.
    """
    try:
        limit = Limit(text)
    except ConfigError as error:
        assert error.message.startswith("limit ")  # noqa: PT017 - one of two right answers
    else:
        assert Limit(limit.text) == limit
