"""Leaks, contradictions, uneven classes; sentences of one line."""

from __future__ import annotations

import numpy as np

from gearnn.readers.audit import duplicates, imbalance, one_line


def test_equal_pixels_are_counted_and_named():
    train = np.random.default_rng(0).integers(0, 256, (6, 1, 16, 16), dtype=np.uint8)
    test = np.random.default_rng(1).integers(0, 256, (3, 1, 16, 16), dtype=np.uint8)
    labels = np.array([0, 1, 0, 1, 0, 1])
    names = (lambda row: f"train/{row}", lambda row: f"test/{row}")
    assert duplicates(train, labels, test, *names) == []
    train[4] = train[2]  # same label
    assert duplicates(train, labels, test, *names) == []
    train[5], test[1] = train[2], train[3]
    leak, conflict = duplicates(train, labels, test, *names)
    assert leak.startswith("1 of 3 test images is also in the training set")
    assert leak.endswith("test/1 = train/3")
    assert conflict == "pairs of equal training images with different labels: 1 (train/5 = train/2)"
    test[1, 0, 0, 0] ^= 1
    assert len(duplicates(train, labels, test, *names)) == 1


def test_uneven_classes_are_told_with_figures():
    assert imbalance(["ant", "bee"], np.repeat([0, 1], [6, 2])) == []
    (note,) = imbalance(["ant", "bee"], np.repeat([0, 1], [7, 2]))
    assert note == "uneven classes: ant has 7 training images, bee 2 (3.5 times fewer)"
    assert "single training image: bee" in imbalance(["ant", "bee"], np.array([0, 0, 1]))[0]


def test_line_breaks_become_escapes_and_letters_stay():
    assert one_line("a\nb\r\x1b[0m\u2028c\x85") == "a\\nb\\r\\x1b[0m\\u2028c\\x85"
    assert one_line("café 猫 👩‍🔬") == "café 猫 👩‍🔬"
