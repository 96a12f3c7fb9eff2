"""
The house rules catch what they name, and nothing else.
"""

from __future__ import annotations

import ast

import pytest

from scripts.check_house import long_rules, skips, sleeps

A_SLEEP = "a test sleeps: use FakeClock, or say `# real time: why`"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("time.sleep(0.1)", [(1, A_SLEEP)]),
        ("sleep(1)", [(1, A_SLEEP)]),
        ("anyio.sleep(delay)", [(1, A_SLEEP)]),
        ("asyncio.sleep(delay=1)", [(1, A_SLEEP)]),
        ("asyncio.sleep(0)", []),
        ("asyncio.sleep(0.0)", []),
        ("time.sleep(0.1)  # real time: nginx opens its port", []),
        ("clock.advance(3)", []),
        ("# time.sleep(1)", []),
        ("calls[0](1)", []),
    ],
)
def test_sleeps(line: str, expected: list[tuple[int, str]]) -> None:
    """
    A sleep in a test is refused, unless it only yields or says what real thing it waits for.
    """
    assert expected == list(sleeps(ast.parse(line), [line]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@pytest.mark.skip\ndef test(): ...", ["skip"]),
        ("@pytest.mark.skipif(True, reason='')\ndef test(): ...", ["skipif"]),
        ("pytestmark = pytest.mark.xfail", ["xfail"]),
        ("pytest.skip('no server')", ["skip"]),
        ("pytest.importorskip('redis')", ["importorskip"]),
        ("@unittest.skipUnless(x, 'y')\ndef test(): ...", ["skipUnless"]),
        ("reader.skip(3)", []),
        ("calls[0].skip(3)", []),
        ("pytest.mark.parametrize", []),
    ],
)
def test_skips(text: str, expected: list[str]) -> None:
    """
    A skipped test and one that may fail are refused in each of their forms.
    """
    found = [rule.split("`")[1] for _, rule in skips(ast.parse(text))]

    assert expected == found


@pytest.mark.parametrize(("lines", "expected"), [(0, 1), (1, 0), (6, 0), (7, 1)])
def test_long_rules(lines: int, expected: int) -> None:
    """
    A room's rule has one to six lines.
    """
    text = '"""\n' + "A line.\n" * lines + '"""\n'

    assert expected == len(list(long_rules(ast.parse(text))))
