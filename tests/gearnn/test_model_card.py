from __future__ import annotations

from typing import Any, Dict

from gearnn.model_card import model_card

RESULT = {
    "arch": "vgg19", "params_final": 12345, "params_seed": 999, "image_size": 32, "in_chans": 3,
    "classes": ["<b>cat</b>", "dog|x"],
    "dataset": {"name": "pets", "source": "folder\nof pets", "n_train": 100, "notes": ["one | two"]},
    "method": "gearnn-2", "preset": "quick", "seed": 7,
}  # fmt: skip
ENTRY = {
    "clean": 0.912, "robust": 0.801, "ready": True, "reason": "", "latency_ms_p50": 0.5, "bytes": 2_000_000, "n": 50,
    "runtime": "onnxruntime", "version": "1.2",
}  # fmt: skip
CONDITIONS = {"device": {"name": "board"}, "threads": 2, "versions": {"numpy": "2.0"}}


def test_says_what_was_measured_and_what_is_not_ready() -> None:
    facts = {
        "fp32": ENTRY,
        "int8": {**ENTRY, "clean": 0.85, "ready": False, "reason": "clean accuracy is 6.20 points below FP32"},
    }
    card = model_card(RESULT, facts, "fp32", CONDITIONS)
    assert "| fp32 (default) | 91.2% | 80.1% | 0.500 ms | 2.00 MB | yes |" in card
    assert "| int8 | 85.0% | 80.1% | 0.500 ms | 2.00 MB | no |" in card
    assert "int8 is not ready: clean accuracy is 6.20 points below FP32." in card
    assert "12,345 parameters" in card


def test_names_from_folders_cannot_break_the_page() -> None:
    card = model_card(RESULT, {"fp32": ENTRY}, "fp32", CONDITIONS)
    assert "<b>" not in card
    assert "dog|x" not in card
    assert "folder of pets" in card


def test_where_the_data_lies_is_not_told() -> None:
    placed: Dict[str, Any] = {**RESULT, "dataset": {**RESULT["dataset"], "source": "image folders in /home/jo/pets"}}
    card = model_card(placed, {"fp32": ENTRY}, "fp32", CONDITIONS)
    assert "/home" not in card and "Trained on 100 images of pets (image folders), tested on others of it." in card
    placed["dataset"]["source"] = "image folders in /home/jo/my in box/pets"
    assert "Trained on 100 images of pets, tested on others of it." in model_card(placed, {"fp32": ENTRY}, "fp32", CONDITIONS)


def test_names_cannot_bring_links_or_pictures() -> None:
    evil = "![x](https://example.org/x.png)"
    card = model_card(
        {**RESULT, "arch": evil, "classes": [evil]}, {"fp32": {**ENTRY, "ready": False, "reason": evil}}, "fp32", CONDITIONS
    )
    assert "](" not in card and "![" not in card
