"""
The command that makes a client's key.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from egressor.cli.group import run
from egressor.cli.key import key
from egressor.gateway.keys import PREFIX, digest
from egressor.policies import load


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ci"], ("ci", None, None, ())),
        (
            ["a.b@c", "--user", 'zoë "z"', "--feature", "x\\y", "--service", "openai", "--service", "b"],
            ("a.b@c", 'zoë "z"', "x\\y", ("openai", "b")),
        ),
    ],
)
def test_what_is_printed_can_be_pasted(words: list[str], expected: tuple[object, ...], tmp_path: Path) -> None:
    """
    The output as a whole is a configuration that knows the key by its hash only.
    """
    out = CliRunner().invoke(key, words).output
    (tmp_path / "egressor.toml").write_text(out + "[services.openai]\n[services.b]\n", encoding="utf-8")
    (found,) = load(tmp_path / "egressor.toml").gateway.keys
    (secret,) = re.findall(rf"#   ({PREFIX}\S+)\n", out)

    assert (found.name, found.user, found.feature, found.services) == expected
    assert found.sha256 == digest(secret)
    assert out.count(secret) == 1


@pytest.mark.parametrize(
    "words", [["a b"], [""], ["a" * 65], ["a", "--user", "x\ny"], ["a", "--service", "Open AI"]], ids=range(5)
)
def test_a_name_that_is_none(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """
    What the configuration would not take is not printed, and no key is made.
    """
    code = run(["key", *words])

    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert "ClientKey." in printed.err
