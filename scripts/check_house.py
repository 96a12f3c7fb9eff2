"""
House rules that no linter knows.

- A test doesn't sleep: time comes from `egressor.testing.FakeClock`. Where the real part takes real time (a server that
  starts, a window of a real limiter), the line says so with ``# real time: why``. `sleep(0)` only yields, and is fine.
- A test isn't skipped or expected to fail: what can't run here is installed, or is no test.
- A room's rule, the docstring of its ``__init__.py``, has at most six lines.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXCUSE = "# real time:"
SKIPS = frozenset({"importorskip", "skip", "skipif", "skipIf", "skipUnless", "xfail", "expectedFailure"})
RULE_LINES = 6


def main() -> int:
    """
    Check this tree, and print each broken rule as ``file:line: rule``.

    Returns:
        The exit code: 1 if a rule is broken.
    """
    broken = [f"{path.relative_to(ROOT)}:{line}: {rule}" for path in python_files() for line, rule in complaints(path)]
    for complaint in broken:
        print(complaint)
    print(f"{len(broken)} house rules broken")
    return 1 if broken else 0


def python_files() -> list[Path]:
    """
    List our own Python files, in a stable order.
    """
    return sorted(path for folder in ("src", "tests") for path in (ROOT / folder).rglob("*.py"))


def complaints(path: Path) -> Iterator[tuple[int, str]]:
    """
    Yield line and rule for everything in *path* that breaks a rule which applies to it.
    """
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, filename=str(path))
    if "src" in path.relative_to(ROOT).parts[:1]:
        if path.name == "__init__.py":
            yield from long_rules(tree)
    else:
        yield from sleeps(tree, text.splitlines())
        yield from skips(tree)


def long_rules(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """
    Yield a complaint if a room's docstring is missing or has more than six lines.
    """
    lines = (ast.get_docstring(tree) or "").splitlines()
    if not 1 <= len(lines) <= RULE_LINES:
        yield 1, f"the room's rule has {len(lines)} lines, and must have 1 to {RULE_LINES}"


def sleeps(tree: ast.Module, lines: list[str]) -> Iterator[tuple[int, str]]:
    """
    Yield a complaint for each call of something named ``sleep`` that isn't ``sleep(0)`` and gives no reason.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name_of(node.func) == "sleep" and not is_yield(node):
            statement = lines[node.lineno - 1 : node.end_lineno]
            if not any(EXCUSE in line for line in statement):
                yield node.lineno, f"a test sleeps: use FakeClock, or say `{EXCUSE} why`"


def skips(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """
    Yield a complaint for each skip or expected failure, as a call, a mark or a decorator.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in SKIPS and roots_in(node, {"pytest", "unittest"}):
            yield node.lineno, f"`{node.attr}`: a test runs, or it is no test"


def name_of(function: ast.expr) -> str:
    """
    Return the last name of what is called: ``sleep`` for ``time.sleep``.
    """
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def roots_in(node: ast.Attribute, names: set[str]) -> bool:
    """
    Tell whether a dotted name begins with one of *names*.
    """
    value: ast.expr = node
    while isinstance(value, ast.Attribute):
        value = value.value
    return isinstance(value, ast.Name) and value.id in names


def is_yield(call: ast.Call) -> bool:
    """
    Tell whether a sleep is a plain ``sleep(0)``.
    """
    match call.args:
        case [ast.Constant(value=value)]:
            return value == 0
    return False


if __name__ == "__main__":
    sys.exit(main())
