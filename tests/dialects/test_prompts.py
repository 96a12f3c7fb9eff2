"""
How much text a request sends.
"""

from __future__ import annotations

from typing import Any

import pytest

from egressor.dialects.prompts import measured

PICTURE = "iVBORw0KGgo" * 1000


@pytest.mark.parametrize(
    ("body", "size", "beside"),
    [
        ({}, 0, 0),
        ({"model": "m", "temperature": 1, "metadata": {"a": "b" * 99}}, 0, 0),
        ({"prompt": "x" * 400}, 400, 0),
        ({"prompt": ["ab", "cd"]}, 4, 0),
        ({"prompt": [1, 2, 3], "input": [[4, 5], [6]]}, 24, 0),
        ({"input": "äß"}, 4, 0),
        ({"input": "漢字 🙂"}, 11, 0),
        ({"input": "half \ud83d"}, 8, 0),
        ({"messages": [{"role": "user", "content": "hello"}]}, 20, 0),
        ({"system": "be brief", "messages": [{"content": [{"type": "text", "text": "hi"}]}]}, 29, 0),
        ({"instructions": None, "input": [True, 1.5, None]}, 0, 0),
        ({"contents": [{"parts": [{"text": "hi"}]}], "systemInstruction": {"parts": [{"text": "yes"}]}}, 23, 0),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"maximum": 9}}}]}, 42, 0),
    ],
)
def test_text_is_counted_in_bytes(body: dict[str, Any], size: int, beside: int) -> None:
    """
    Of what a model reads, with the names inside of it; settings are none of it.
    """
    assert (size, beside) == measured(body)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": PICTURE}},
        {"type": "file", "file": {"file_data": PICTURE}},
        {"inlineData": {"mimeType": "image/png", "data": PICTURE}},
        {"inline_data": {"mime_type": "image/png", "data": PICTURE}},
        {"fileData": {"fileUri": "gs://x"}},
    ],
)
def test_pictures_are_no_text(part: dict[str, Any]) -> None:
    """
    However they are sent: one beside the text, of which only a few names are left.
    """
    size, beside = measured({"messages": [{"content": [part]}]})

    assert beside == 1
    assert size < 100


def test_a_text_that_is_sent_as_data_is_text() -> None:
    """
    A plain document of Anthropic's stands where a picture's data would.
    """
    source = {"type": "text", "media_type": "text/plain", "data": "a text of words. " * 100}
    size, beside = measured({"messages": [{"content": [{"type": "document", "source": source}]}]})

    assert (size > 1700, beside) == (True, 1)


def test_depth_is_no_matter() -> None:
    """
    A body may nest as deep as it can be parsed.
    """
    body: Any = "x"
    for _ in range(100_000):
        body = [body]

    assert measured({"input": body}) == (1, 0)
