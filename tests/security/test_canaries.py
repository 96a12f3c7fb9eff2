"""
Canary secrets, in every place where a call may carry one, are in none of the places that we write to (I08).

The judge is plain: it looks for the canaries in bytes, in whatever form they may take there.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from pathlib import Path
from urllib.parse import quote

import pytest

from egressor import Governor
from egressor.cli.main import main
from egressor.transports.httpx import Transport
from tests.gateway.rig import TOKEN, gateway
from tests.transports.upstream import Caller, Upstream, answer

# Those that look like keys, and those that only their place, or their name, gives away.
CANARIES = {
    "query": "canarybird one",
    "userinfo": "canary-in-userinfo",
    "path": "123456789:AAF1canaryB2c3D4e5F6g7H8i9J0kLmNoPqR",
    "header": "Bearer canary-opaque-words",
    "own header": "canaryinownheader",
    "cookie": "canary-in-cookie",
    "body": "canary in body",
    "form": "canaryinform",
    "environment": "canary from environment",
    "config": "canary-from-config",
    "exception": "sk-canary12defghij",
    "cause": "xoxb-123456789012-canarycause",
    "note": "ghp_16C7e42Fcanary912E7710c838347Ae178B4a",
    "context": "canary-in-context",
    "deep context": "AKIAIOSFODNN7CANARY1",
    "repr": "Stranger(password='canary-in-repr')",
    "variable": "canary-in-a-variable",
    "scope": "eyJhbGciOiJIUzI1NiJ9.canary.dozjgNryP4J3jVmNHl0w5N",
    "pem": "canaryINpem",
    "answer": "canary-in-the-answer",
    "stranger": "canary-of-stranger",
}


class Stranger:
    """
    An object that shows a secret wherever it is shown.
    """

    def __repr__(self) -> str:
        return CANARIES["repr"]

    __str__ = __repr__

    @property
    def password(self) -> str:
        """
        A secret.
        """
        return CANARIES["stranger"]


def fail() -> None:
    """
    Fail as an SDK does that puts all it knows into its message.
    """
    local = CANARIES["variable"]
    assert local
    told = (
        f"POST https://bob:{CANARIES['userinfo']}@api.example.com/bot{CANARIES['path']}/x?api_key="
        f"{quote(CANARIES['query'])}&a=1 failed: {{'Authorization': '{CANARIES['header']}', 'Accept': '*/*'}}\n"
        f"X-Api-Key: {CANARIES['own header']}\nCookie: a=b; sid={CANARIES['cookie']}\n"
        f'{{"user": "bob", "password": "{CANARIES["body"]}"}} client_secret={CANARIES["form"]}&x=1 '
        f"with {CANARIES['exception']} from {CANARIES['environment']} and {CANARIES['config']}\n"
        f"-----BEGIN PRIVATE KEY-----\n{CANARIES['pem']}\n-----END PRIVATE KEY-----"
    )
    error = ConnectionError(told, Stranger())
    error.add_note(f"token: {CANARIES['note']}")
    raise error from TimeoutError(f"proxy said {CANARIES['cause']}")


def suffer(gov: Governor, path: str) -> None:
    """
    Let calls fail in all ways that carry a secret.
    """
    scope = {"user": "u1", "feature": CANARIES["scope"]}
    for _ in range(2):
        gov.call("t", fail, fallback=None, scope=scope)
    context = {"password": CANARIES["context"], "deep": [{"note": CANARIES["deep context"], "it": Stranger()}]}
    gov.record_error("t", ValueError(repr(Stranger())[:0], Stranger()), context=context)
    caller = Caller("httpx2", "sync", Transport(gov, "t"))
    headers = {"Authorization": CANARIES["header"], "X-Api-Key": CANARIES["own header"]}
    target = f"{path}?api_key={quote(CANARIES['query'])}"
    assert caller.client.get(target, headers=headers).status_code == 401
    caller.close()
    gov.tap(lambda _: fail())
    gov.call("t", fail, fallback=None)
    gov.taps.drain(20)
    gov.mute_error(gov.errors()["groups"][0]["fingerprint"], by=f"dana with {CANARIES['exception']}")
    gov.pause("t", f"leaked password={CANARIES['body'].split()[0]}")
    gov.resume("t")


def found_in(where: str, data: bytes | str) -> list[tuple[str, str]]:
    """
    The canaries that *data* holds, as they are or in another coat.
    """
    text = data if isinstance(data, bytes) else data.encode(errors="surrogatepass")
    coats = {
        name: [secret, quote(secret), json.dumps(secret)[1:-1], base64.b64encode(secret.encode()).decode()]
        for name, secret in CANARIES.items()
    }
    # A part of one gives it away as well: each of these words stands in no other place.
    low = text.lower()
    parts = [("a part", "canary")] if b"canary" in low else []
    return [(where, name) for name, forms in coats.items() if any(each.encode() in text for each in forms)] + [
        (where, name) for name, _ in parts
    ]


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """
    An environment with secrets, and a folder.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("EGRESSOR_TOKEN", TOKEN)
    monkeypatch.delenv("EGRESSOR_CONFIG", raising=False)
    monkeypatch.setenv("SOME_SERVICE_PASSWORD", CANARIES["environment"])
    monkeypatch.setenv("UPSTREAM_API_KEY", CANARIES["config"])
    (tmp_path / "egressor.toml").write_text(
        "[egressor]\nledger = 'sqlite:///history.db'\n[services.t]\nretry = {attempts = 2, base = 0.0}\n"
        "breaker = {enabled = false}\napi_key = {env = 'UPSTREAM_API_KEY'}\n"
    )
    return tmp_path


@pytest.fixture
def echo() -> tuple[bytes, dict[str, str]]:
    """
    An answer that says what it was sent.
    """
    told = (
        f"bad key {CANARIES['exception']}; you sent X-Api-Key: {CANARIES['own header']}, token={CANARIES['answer']}, "
        f"and Authorization: {CANARIES['header']}"
    )
    return json.dumps({"error": {"message": told}}).encode(), {"Content-Type": "application/json"}


@pytest.mark.parametrize("is_away", [False, True])
def test_no_secret_is_on_the_disk_or_in_a_log(
    env: Path,
    echo: tuple[bytes, dict[str, str]],
    is_away: bool,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """
    Neither in the ledger's file, the spool, an export, a log at DEBUG, nor in what a command prints.
    """
    caplog.set_level(logging.DEBUG)
    if is_away:
        (env / "history.db").write_text("no database " * 1_000)
    with Upstream() as upstream, Governor.from_file("egressor.toml") as gov:
        path = upstream.script("/a", answer(401, *echo))
        suffer(gov, path)
        name = gov.errors()["groups"][0]["fingerprint"]
        values = json.dumps([gov.errors(recent=1_000), gov.history(), gov.status(), gov.bans()], default=repr)
    for words in (
        *(["errors"], ["errors", "--json"], ["errors", "--csv"], ["errors", "show", name], ["history"]),
        *(["history", "--kind", "error", "--json"], ["history", "--export", "out.jsonl"], ["check"], ["bans"]),
    ):
        main(words)
    said = capsys.readouterr()
    leaks = found_in("values", values) + found_in("out", said.out) + found_in("err", said.err)
    # What a client library logs of its own requests is not ours to write.
    ours = [each for each in caplog.records if each.name.startswith("egressor")]
    leaks += found_in("log", "\n".join(f"{each.getMessage()} {each.exc_text}" for each in ours))
    files = [path for path in env.rglob("*") if path.is_file()]
    for file in files:
        leaks += found_in(file.name, file.read_bytes())

    assert leaks == []
    assert sum(path.stat().st_size for path in files) > 3_000
    assert json.loads(values)[0]["total"] == 8


@pytest.mark.anyio
@pytest.mark.usefixtures("env")
async def test_no_secret_is_on_a_page(echo: tuple[bytes, dict[str, str]]) -> None:
    """
    Neither in a JSON document of the gateway's, nor in its metrics of services.
    """
    with Upstream() as upstream:
        path = upstream.script("/a", answer(401, *echo))
        async with gateway(upstream.url, breaker={"enabled": False}, api_key={"env": "UPSTREAM_API_KEY"}) as rig:
            await asyncio.to_thread(suffer, rig.gov, path)
            leaks: list[tuple[str, str]] = []
            for page in (
                "errors.json?recent=1000",
                "history.json?kind=error",
                "history.json",
                "status.json",
                "bans.json",
            ):
                async with rig.session.get(f"{rig.url}/-/{page}") as answered:
                    assert answered.status == 200
                    leaks += found_in(page, await answered.read())

    assert leaks == []
