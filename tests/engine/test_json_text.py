from __future__ import annotations

import time

import pytest

from gearnn.engine.json_text import parse_json


def test_reads_json() -> None:
    assert parse_json('{"a": [1, -2.5, null, "x"]}') == {"a": [1, -2.5, None, "x"]}


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "9" * 2_000_000, "[-" + "1" * 401 + "]", "{", "", "x"])
def test_whatever_is_wrong_is_a_value_error_and_soon(text: str) -> None:
    start = time.process_time()
    with pytest.raises(ValueError):
        parse_json(text)
    assert time.process_time() - start < 1
