"""
The public names: a list that changes on purpose only, and an import that costs a program nothing.
"""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import egressor

SRC = Path(egressor.__file__).parent.parent

NAMES = [
    "BanPolicy",
    "Banned",
    "BreakerPolicy",
    "BudgetExceeded",
    "BudgetPolicy",
    "CachePolicy",
    "CircuitOpen",
    "Config",
    "ConfigError",
    "EgressorError",
    "ErrorCategory",
    "ErrorPattern",
    "ErrorSeverity",
    "Governor",
    "Limit",
    "NeverFits",
    "PartialResponse",
    "Paused",
    "Policy",
    "Priority",
    "QueueFull",
    "Rejected",
    "RetryPolicy",
    "Rule",
    "ServiceType",
    "StoreUnavailable",
    "Verdict",
    "WaitTooLong",
    "acquire",
    "classify",
    "configure",
    "default",
    "handle_with_retry",
    "handled",
    "throttled",
    "unwrap",
]


def test_the_public_names_are_these() -> None:
    """
    Sorted, each of them there, and nothing else that has no underscore but modules.
    """
    assert egressor.__all__ == NAMES == sorted(NAMES)
    assert all(getattr(egressor, name).__name__ for name in NAMES)
    assert set(NAMES) <= set(dir(egressor))


def test_what_is_not_there_is_an_attribute_error() -> None:
    """
    So that ``hasattr`` and typing tools work.
    """
    with pytest.raises(AttributeError, match="module 'egressor' has no attribute 'nothing'"):
        _ = egressor.nothing
    assert egressor.__version__


def every_module() -> list[str]:
    """
    Name every module of the base install, and of the rooms that need nothing else.
    """
    rooms = ("_core", "policies", "dialects", "stores", "_drivers", "telemetry", "governor", "clients")
    found = ["egressor.errors", "egressor.testing"]
    for room in rooms:
        package = importlib.import_module(f"egressor.{room}")
        found += [package.__name__]
        found += [each.name for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return found


@pytest.mark.parametrize("name", every_module())
def test_the_names_that_a_module_exports_are_sorted_and_there(name: str) -> None:
    """
    Every ``__all__`` is sorted, capitals first, and names what exists.
    """
    module = importlib.import_module(name)
    exported: list[str] = getattr(module, "__all__", [])

    assert exported == sorted(exported, key=lambda each: (not each.isupper(), not each[0].isupper(), each))
    assert [each for each in exported if not hasattr(module, each)] == []


def run(code: str) -> str:
    """
    Run *code* in a fresh interpreter that sees the standard library and our source, no environment and no packages.
    """
    start = f"import sys; sys.path.insert(0, {str(SRC)!r}); before = set(sys.modules); "
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", start + code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_importing_loads_nothing_heavy() -> None:
    """
    A program that imports us and never calls us pays for no event loop, no TLS, no time zones, and none of our rooms.
    """
    loaded = run("import egressor; print(*sorted(set(sys.modules) - before))").split()

    assert not {"asyncio", "ssl", "logging", "zoneinfo", "socket", "threading"} & set(loaded)
    assert [each for each in loaded if each.startswith("egressor")] == ["egressor"]


def test_the_base_works_without_any_package() -> None:
    """
    Governed calls, blocking and awaiting, need nothing but the standard library.
    """
    code = """
import asyncio, egressor
gov = egressor.Governor(services={"s": egressor.Policy(limits=["5/minute"])})
async def ahead(): return "ahead"
print(gov.call("s", lambda: "called"), asyncio.run(gov.acall("s", ahead)))
roots = {each.split(".")[0] for each in set(sys.modules) - before} - {"egressor"}
print(*sorted(roots - sys.stdlib_module_names - {each for each in roots if each.startswith("_sysconfigdata")}))
gov.close()
"""

    assert run(f"exec({code!r})") == "called ahead"


def test_every_public_name_is_there_without_any_package() -> None:
    """
    None of them hides an optional dependency.
    """
    assert run("import egressor; print(sum(hasattr(egressor, name) for name in egressor.__all__))") == str(len(NAMES))
