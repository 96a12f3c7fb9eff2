"""
Reloads that would open a door, end everything, or stop half-way: they change nothing.
"""

from __future__ import annotations

import gc
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from egressor import ConfigError
from egressor.gateway import serving
from egressor.gateway.keys import digest
from egressor.policies import ClientKey, Gateway, from_services
from tests.gateway.rig import gateway, gateway_of, upstream

pytestmark = pytest.mark.anyio
SECRET = "hunter2"
KEYS = (ClientKey(name="ann", sha256=digest("k")),)
SERVICES = {"t": {"base_url": "http://127.0.0.1:9"}}


async def fine(request: web.BaseRequest) -> web.Response:
    """
    Answer every *request*.
    """
    return web.Response(text=request.path)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


async def test_keys_do_not_vanish() -> None:
    """
    Half a file, without the keys that the whole one has, opens no door.
    """
    async with gateway_of(SERVICES, bounds={"keys": KEYS}) as rig:
        with pytest.raises(ConfigError, match="restart"):
            rig.gateway.reload(from_services(SERVICES))
        async with rig.session.get(rig.url + "/t/x") as answer:
            status = answer.status

    assert status == 401


async def test_services_do_not_vanish() -> None:
    """
    An empty file ends nothing.
    """
    async with gateway() as rig:
        with pytest.raises(ConfigError, match="no services"):
            rig.gateway.reload(from_services({}))

        assert list(rig.gov.config.services) == ["t"]


async def test_the_new_policy_holds_for_who_came_before() -> None:
    """
    Where requests of a kind go is remembered: each endpoint and priority by itself, and no longer than the policy.
    """
    once = {"limits": ["1/day fixed"]}
    rules = [{"match": {"user": "u"}, **once}]
    async with upstream(fine) as base, gateway(base, max_wait=0, endpoints={"a": once}, rules=rules) as rig:

        async def ask(path: str, **headers: str) -> int:
            async with rig.session.get(rig.url + path, headers=headers) as answer:
                return answer.status

        async def all_kinds() -> list[int]:
            return [await ask("/t/a"), await ask("/t/b"), await ask("/t/b", **{"Egressor-User": "u"})]

        before = [await all_kinds(), await all_kinds()]
        rig.gateway.reload(from_services({"t": {"base_url": base, "endpoints": {"b": once}, "max_wait": 0}}))
        after = [await all_kinds(), await all_kinds()]

    assert before == [[200, 200, 200], [429, 200, 429]]
    assert after == [[200, 200, 429], [200, 429, 429]]


@pytest.mark.parametrize(
    "value", [f"http://u:{SECRET}@proxy:99999", f"http://u:{SECRET}@proxy:no", "socks5://p:1", "//"]
)
async def test_a_bad_proxy_changes_nothing(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is an error of the configuration that shows no password, and the next reload finds everything in order.
    """
    monkeypatch.setenv("http_proxy", value)
    async with gateway() as rig:
        asking = replace(from_services({**SERVICES, "u": SERVICES["t"]}), gateway=Gateway(proxy="env"))
        with pytest.raises(ConfigError, match="http_proxy") as caught:
            rig.gateway.reload(asking)
        after_bad = list(rig.gov.config.services)
        rig.gateway.reload(from_services({"v": SERVICES["t"]}))

        assert SECRET not in str(caught.value)
        assert (after_bad, list(rig.gov.config.services)) == (["t"], ["v"])


async def test_a_fault_leaves_the_next_signal_heard(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """
    Whatever a reload raises, its kind is noted, and nothing else of it.
    """
    file = tmp_path / "egressor.toml"
    file.write_text('[services.t]\nbase_url = "http://127.0.0.1:9"\n', encoding="utf-8")

    def fail(config: object) -> None:
        raise ValueError(SECRET)

    async with gateway() as rig:
        monkeypatch.setattr(rig.gateway, "reload", fail)
        with caplog.at_level(logging.ERROR, "egressor.gateway"):
            await serving._reload(rig.gateway, file)

        assert rig.gateway.last_error == "a fault of ours: ValueError"
        assert SECRET not in caplog.text


def test_the_collector_is_as_it_was_at_the_end() -> None:
    """
    A program that runs a gateway for a while has its own garbage collection back.
    """
    before = gc.get_threshold(), gc.get_freeze_count()
    with serving._settled_memory():
        during = gc.get_threshold(), gc.get_freeze_count()

    assert (gc.get_threshold(), gc.get_freeze_count()) == before
    assert during[0] == serving._LOOKS
    assert during[1] > before[1]
