from __future__ import annotations

from gearnn.bundling import fastest_ready


def entry(milliseconds: float, ready: bool = True) -> dict:
    return {"latency_ms_p50": milliseconds, "ready": ready}


def test_the_default_is_fp32_unless_another_is_ready_and_clearly_faster() -> None:
    assert fastest_ready({"fp32": entry(1.0), "fp16": entry(0.95), "int8": entry(1.4)}) == "fp32"
    assert fastest_ready({"fp32": entry(1.0), "fp16": entry(0.8), "int8": entry(0.5)}) == "int8"
    assert fastest_ready({"fp32": entry(1.0), "fp16": entry(0.8), "int8": entry(0.5, ready=False)}) == "fp16"
