"""
How the commands find a running gateway.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from egressor import ConfigError
from egressor.gateway import place
from egressor.gateway.place import Place


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    A state folder of the test's own.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("EGRESSOR_TOKEN", raising=False)
    return tmp_path


def test_written_for_this_user_only() -> None:
    """
    The file and its folder are nobody else's to read, and hold what is needed.
    """
    mine = Place("http://127.0.0.1:1234", "token", os.getpid())
    path = place.settle(mine)

    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert place.find() == mine
    assert place.find("http://127.0.0.1:1234/") == mine
    assert place.find("http://127.0.0.1:1") is None
    assert "token" not in repr(mine)


def test_the_last_one_that_lives_is_found() -> None:
    """
    Of several gateways the one that was started last counts, unless its process is gone.
    """
    older = Place("http://127.0.0.1:1", "a", os.getpid())
    newer = Place("http://127.0.0.1:2", "b", os.getpid())
    gone = Place("http://127.0.0.1:3", "c", 2**22 + 1)
    for seconds, each in enumerate((older, newer, gone)):
        os.utime(place.settle(each), (seconds, seconds))

    assert place.find() == newer


def test_only_its_own_is_removed() -> None:
    """
    A gateway that ends doesn't remove the file of one that has taken its port since.
    """
    path = place.settle(Place("http://127.0.0.1:1", "a", 7))
    place.leave(path, 8)
    kept = path.exists()
    place.leave(path, 7)
    place.leave(path, 7)

    assert (kept, path.exists()) == (True, False)


def test_nonsense_is_no_place(state: Path) -> None:
    """
    A file that holds something else is passed by; a missing folder is no gateway.
    """
    before = place.find()
    (state / "egressor").mkdir()
    for number, text in enumerate(("", "[]", "{", '{"url": "x"}')):
        (state / "egressor" / f"gateway-{number}.json").write_text(text)

    assert (before, place.find()) == (None, None)


def test_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A token is random, or the one of the environment, if that is long enough.
    """
    random = {place.new_token() for _ in range(3)}
    monkeypatch.setenv("EGRESSOR_TOKEN", "0123456789abcdef")
    given = place.new_token()
    monkeypatch.setenv("EGRESSOR_TOKEN", "short")
    with pytest.raises(ConfigError) as caught:
        place.new_token()

    assert (len(random), min(map(len, random)) >= 32, given) == (3, True, "0123456789abcdef")
    assert "short" not in caught.value.message
