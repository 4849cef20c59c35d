from __future__ import annotations

import numpy as np

from gearnn.records import outcome, per_class


def test_confusions_without_their_zeros() -> None:
    labels, named = np.array([0, 0, 0, 1, 0]), np.array([2, 0, 2, 1, 2])
    assert per_class(labels, named, ("cat", "dog", "ship")) == [
        {"class": "cat", "images": 4, "right": 1, "named": {"ship": 3, "cat": 1}},
        {"class": "dog", "images": 1, "right": 1, "named": {"dog": 1}},
        {"class": "ship", "images": 0, "right": 0, "named": {}},
    ]
    assert list(per_class(labels, named, ("cat", "dog", "ship"))[0]["named"]) == ["ship", "cat"]


def test_only_the_final_network_is_told_class_by_class() -> None:
    keys = ("clean_accuracy", "robust_accuracy", "comparison", "disagreement", "onnx_bytes", "opset", "params", "widths")
    networks = [
        {"name": name, "per_class": [name], **dict.fromkeys(keys, place)} for place, name in enumerate(("seed", "robust"))
    ]
    found = outcome(networks, "robust", {})
    assert found["per_class"] == ["robust"] and not any("per_class" in network for network in found["networks"])
    assert found["params_seed"] == 0 and found["params_final"] == 1
