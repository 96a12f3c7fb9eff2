"""
The ``llm`` command, with a model of its user's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WAYS = ("gateway",)
MODELS = """
- model_id: {name}
  model_name: {name}
  api_base: {base}/v1
"""


class LlmError(Exception):
    """
    What the command says, with the code that it ends with.
    """


def ask(way: Any, name: str, *options: str) -> Any:
    """
    Ask the model *name*.
    """
    with tempfile.TemporaryDirectory() as home:
        Path(home, "extra-openai-models.yaml").write_text(MODELS.format(name=name, base=way.base), encoding="utf-8")
        program = str(Path(sys.executable).parent / "llm")
        command = [program, "--model", name, "--no-log", "--key", "k", *options, "hello"]
        environment = {**os.environ, "LLM_USER_PATH": home, "HOME": home}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise LlmError(done.returncode, done.stderr.strip().splitlines()[-1])
    return done.stdout


def plain(way: Any) -> Any:
    """
    Ask.
    """
    return ask(way, "m", "--no-stream")


def stream(way: Any) -> Any:
    """
    Ask, and read the answer as it comes.
    """
    return ask(way, "m")


def error(way: Any) -> Any:
    """
    Ask for what isn't there.
    """
    return ask(way, "bad", "--no-stream")


USES = {"plain": plain, "stream": stream, "error": error}
