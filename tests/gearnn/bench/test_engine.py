from __future__ import annotations

import time

import numpy as np
import pytest

from gearnn.bench.engine import NOTES, bench_engine, in_turn, surplus
from gearnn.errors import UserError
from gearnn.models import scaled_widths
from gearnn.network import Card, save_network


def test_rows_of_every_network_and_number_of_threads(tmp_path):
    card = Card("vgg19", scaled_widths("vgg19", 1 / 16), ("a", "b"), (0.4,), (0.3,), 32, 1)
    save_network(tmp_path / "model.safetensors", card.build(), card)
    rows, skipped = bench_engine(("mobilenet_v1", str(tmp_path)), (1,), width=1 / 16, seconds=0.05)
    assert [(row["name"], row["net"]) for row in rows if row["name"] in ("eager", "engine", "bare", "engine-int8")] == [
        (name, net) for net in ("mobilenet_v1", str(tmp_path)) for name in ("eager", "engine", "bare", "engine-int8")
    ]
    for row in rows:
        assert row["name"] in NOTES
        assert row["threads"] == 1
        assert row["q25"] <= row["latency_ms_p50"] <= row["q75"]
        assert row["n"] >= 17
        eager = next(other for other in rows if other["name"] == "eager" and other["net"] == row["net"])
        assert row["ratio_to_eager"] == pytest.approx(eager["latency_ms_p50"] / row["latency_ms_p50"])
    assert all(-1e3 < row["overhead_us"] < 1e4 for row in rows if row["name"] == "engine")
    assert skipped[0] == {"name": "compile", "reason": "not asked for: --compile"}


def test_calls_are_timed_one_by_one_and_in_turn():
    order = []

    def job(name, seconds):
        def call():
            order.append(name)
            time.sleep(seconds)

        return call

    taken = in_turn({"short": job("s", 0.001), "long": job("l", 0.003)}, 0.1)
    assert 0.001 <= np.median(taken["short"]) < 0.003 <= np.median(taken["long"])
    assert len(taken["short"]) == len(taken["long"]) >= 34
    turns = "".join(order).replace("s" * 20, "S").replace("l" * 20, "L")
    assert turns[:4] == "SLLS"


def test_surplus_is_the_difference_of_calls_side_by_side():
    assert 0.0005 < surplus(lambda: time.sleep(0.002), lambda: time.sleep(0.001), 0.05) < 0.002
    calls = []
    surplus(lambda: calls.append("a"), lambda: calls.append("b"), 0)
    assert "".join(calls) == "ab" * 20


def test_unknown_networks_are_refused():
    with pytest.raises(UserError, match="resnet19"):
        bench_engine(("resnet19",), (1,), seconds=0.01)
