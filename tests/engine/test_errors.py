from __future__ import annotations

from gearnn.engine.errors import reason


def test_reason_is_one_short_line():
    assert reason(ValueError("\n first line.\nsecond")) == "first line"
    assert reason(KeyError()) == "KeyError"
    assert len(reason(ValueError("long " * 100))) == 201
