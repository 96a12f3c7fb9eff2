"""
The fuzzer finds what breaks a promise, and says by which input.
"""

from __future__ import annotations

import random

import pytest

from scripts import fuzz


def test_a_moment_of_it() -> None:
    """
    For a moment of mutations there is one verdict for each input.
    """
    # real time: the fuzzer's own clock, which bounds it
    assert fuzz.main(["--plain", "--seconds", "0.3"]) == 0


def test_mutations_are_the_same_for_the_same_seed() -> None:
    """
    An input that was reported can be made again.
    """
    first, second = ([fuzz.mutated(b"abc", random.Random(7)) for _ in range(9)] for _ in range(2))

    assert first == second


def test_what_breaks_a_promise_ends_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The exit code is 1, and the input is shown.
    """

    def broken(data: bytes) -> None:
        fuzz.expect(len(data) < 3, "too long")

    monkeypatch.setattr(fuzz, "target_of", lambda: broken)

    assert fuzz.main(["--plain", "--seconds", "5"]) == 1
    assert "too long: b" in capsys.readouterr().err


def test_a_verdict_that_differs_is_found() -> None:
    """
    The same question must have the same answer.
    """
    answers = iter((1, 2))

    with pytest.raises(fuzz.BrokenPromiseError, match="another verdict"):
        fuzz.check(lambda *_, **__: next(answers), None, {})
