"""
A gateway that other machines can reach, as a program: only with keys, and found by its own commands.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from egressor.gateway.keys import digest

KEY = "egr_" + "k" * 43
TABLE = f'[[gateway.keys]]\nname = "ci"\nsha256 = "{digest(KEY)}"\n'
SERVICE = '[services.t]\nbase_url = "http://127.0.0.1:9"\nretry.attempts = 1\n'


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """
    Run a command in *folder*.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EGRESSOR_")}
    return subprocess.Popen(
        [sys.executable, "-m", "egressor.cli.main", *words],
        cwd=folder,
        env=environment | {"XDG_STATE_HOME": str(folder / "state")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def status_of(url: str, headers: dict[str, str]) -> int:
    """
    Return the status of an answer.
    """
    try:
        with urlopen(Request(url, headers=headers), timeout=20) as answer:  # noqa: S310 - our own URL
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_no_keys_no_start(tmp_path: Path, host: str) -> None:
    """
    Without keys an address for others is refused in one line that says what to do.
    """
    (tmp_path / "egressor.toml").write_text(SERVICE)
    with start(tmp_path, "serve", "--host", host, "--port", "0") as program:
        out, err = program.communicate(timeout=60)

    assert (program.returncode, out) == (2, "")
    assert err.startswith("egressor: gateway.keys")
    assert "egressor key NAME" in err
    assert len(err.splitlines()) == 1


def test_with_keys(tmp_path: Path) -> None:
    """
    With keys it starts, warns of plain HTTP, lets nobody in without one, and its own commands find it.
    """
    (tmp_path / "egressor.toml").write_text(TABLE + SERVICE)
    with start(tmp_path, "serve", "--host", "0.0.0.0", "--port", "0") as program:
        try:
            assert program.stdout is not None
            url = program.stdout.readline().split()[2]
            port = url.rpartition(":")[2]
            statuses = [
                status_of(f"{url}/t/x", {}),
                status_of(f"{url}/t/x", {"X-Api-Key": KEY}),
                status_of(f"{url}/t/x", {"X-Api-Key": KEY, "Host": "evil.test"}),
                status_of(f"{url}/t/x", {"X-Api-Key": KEY, "Host": f"127.0.0.1:{port}"}),
                status_of(f"{url}/-/status.json", {}),
                status_of(f"{url}/-/healthz", {}),
            ]
            with start(tmp_path, "status", "--json") as asking:
                shown, _ = asking.communicate(timeout=60)
        finally:
            program.terminate()
            _, err = program.communicate(timeout=60)

    assert statuses == [401, 502, 421, 502, 401, 200]
    assert set(json.loads(shown)["services"]) == {"t"}
    assert "plain HTTP" in err
    assert KEY not in err
    assert program.returncode == 0
