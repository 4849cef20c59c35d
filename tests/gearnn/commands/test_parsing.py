"""What is said to arguments that a command does not take."""

from __future__ import annotations

from typing import List

import pytest

from gearnn.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--sede", "1"], "gearnn run has no option --sede: did you mean --seed?"),
        (["run", "--limit_trian=3"], "gearnn run has no option --limit_trian: did you mean --limit-train?"),
        (["run", "--batch-size", "3"], "gearnn run has no option --batch-size: did you mean --optimizer.batch-size?"),
        (["run", "--budget.parms", "3"], "gearnn run has no option --budget.parms: did you mean --budget.params?"),
        (["demo", "--wat"], "gearnn demo has no option --wat: see gearnn demo --help"),
        (["profile", "net.onnx", "--trheads", "2"], "gearnn profile has no option --trheads: did you mean --threads?"),
        (["run", "photos"], "gearnn run does not take 'photos': did you mean --data photos?"),
        (["run", "my photos"], "gearnn run does not take 'my photos': did you mean --data 'my photos'?"),
        (["run", "--resume", "runs/a"], "gearnn run does not take 'runs/a': did you mean --out runs/a?"),
        (["run", "--data", "a", "b"], "gearnn run does not take 'b': see gearnn run --help"),
        (["bundle", "runs/a", "a.zip"], "gearnn bundle does not take 'a.zip': see gearnn bundle --help"),
        (["info", "x"], "gearnn info does not take 'x': see gearnn info --help"),
        (["bench", "augment", "--size", "8"], "gearnn bench has no option --size: did you mean --sizes?"),
    ],
)
def test_an_unknown_option_gets_one_sentence_with_a_suggestion(
    arguments: List[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_group_lists_its_options(capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "--epochs", "3"]) == 2
    assert "did you mean --epochs.seed or --epochs.regrow or --epochs.era or " in capsys.readouterr().err


def test_examples_of_help_stand_close_together(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    first = lines.index("Examples:")
    assert [line.split(" photos")[0] for line in lines[first + 1 : first + 3]] == [
        "  gearnn predict",
        "  gearnn predict runs/demo",
    ]
    assert ["", ""] not in [lines[place : place + 2] for place in range(len(lines))]
