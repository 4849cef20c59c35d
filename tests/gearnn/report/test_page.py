from __future__ import annotations

import base64
import builtins
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from gearnn.errors import UserError
from gearnn.report import describe, write_report
from gearnn.report.page import embedded, policy

MakeRun = Callable[..., Path]
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&"


class Elements(HTMLParser):
    """Start tags with their attributes, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: List[Any] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))


def hostile(result: Dict[str, Any]) -> None:
    result.update(arch=HOSTILE, method=HOSTILE, preset=HOSTILE, classes=[HOSTILE] * 10, warnings=[HOSTILE, "\ud800"])
    result["dataset"].update(name=HOSTILE, source=HOSTILE, notes=[HOSTILE])
    result["per_class"][0].update({"class": HOSTILE, "named": {HOSTILE: 30, "1": 6}})
    result["width_layers"][0] = HOSTILE
    result["versions"][HOSTILE] = HOSTILE
    result["device"]["name"] = HOSTILE
    result["engine"].update(runtime=HOSTILE, version=HOSTILE)
    result["engine"]["layers"][0].update(name=HOSTILE, op=HOSTILE, modules=[HOSTILE])
    result["growth"]["budget"][0].update(name=HOSTILE, unit=HOSTILE)
    result["growth"].update(bound_by=HOSTILE, fixed={HOSTILE: HOSTILE})
    for entry in [*result["networks"], *result["phases"]]:
        entry["label"] = entry["name"] = HOSTILE
    for entry in result["networks"]:
        entry["robustness"].update(kind=HOSTILE, per_corruption={HOSTILE: [0.5] * 5})


def test_the_page_is_one_file_that_loads_nothing(make_run: MakeRun) -> None:
    folder = make_run()
    path = write_report(folder)
    assert path == folder / "report.html" and not list(folder.glob(".report*"))
    for tag, attributes in Elements(path.read_text(encoding="utf-8")).found:
        assert tag not in ("link", "iframe", "object", "base", "form")
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:image/png;base64,", "#"))


def test_only_our_scripts_may_run(make_run: MakeRun) -> None:
    page = write_report(make_run()).read_text(encoding="utf-8")
    allowed = next(attributes["content"] for tag, attributes in Elements(page).found if "http-equiv" in attributes)
    scripts = re.findall(r'<script(?: type="text/plain" id="library")?>(.*?)</script>', page, re.DOTALL)
    assert len(scripts) == 2  # plotly, and what draws with it
    for script in scripts:
        assert "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'" in allowed
    assert "default-src 'none'" in allowed and "http" not in allowed and "unsafe-eval" not in allowed
    assert "unsafe-inline" not in allowed.split("script-src")[1].split(";")[0]


def test_what_came_from_data_is_escaped(make_run: MakeRun) -> None:
    folder = make_run(hostile)
    config = {HOSTILE: HOSTILE, "out": {"deep": [HOSTILE]}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    rows = [json.dumps({"phase": HOSTILE, "loss": 1 / epoch, "test_accuracy": 0.5}) for epoch in range(1, 9)]
    (folder / "metrics.jsonl").write_text("\n".join(rows), encoding="utf-8")
    page = write_report(folder).read_text(encoding="utf-8")
    found = Elements(page).found
    assert HOSTILE not in page and "&lt;/script&gt;&lt;img" in page
    assert [tag for tag, _ in found].count("script") == 4
    assert not any(name.startswith("on") for _, attributes in found for name in attributes)
    assert all(attributes.get("src", "data:").startswith("data:") for tag, attributes in found if tag == "img")


def test_figures_cannot_end_their_script() -> None:
    written = embedded({"a": "</script><!--"})
    assert "<" not in written and json.loads(written) == {"a": "</script><!--"}
    assert policy(["x"]) != policy(["y"])


@pytest.mark.parametrize(
    "content", ["{}", '{"networks": 3, "engine": [], "growth": "x", "phases": {"a": 1}, "warnings": [1, null]}']
)
def test_a_bare_result_still_makes_a_page(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content, encoding="utf-8")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert page.count("ot measured") > 15
    assert re.search(r'id="figures">(.*?)</script>', page).group(1) == "{}"  # type: ignore[union-attr]
    assert describe(tmp_path) == "Nothing was measured in this run."


def wrong(value: Any, kind: int) -> Any:
    """The same structure with every leaf of another type."""
    if isinstance(value, dict):
        return {key: wrong(entry, kind) for key, entry in value.items()}
    if isinstance(value, list):
        return [wrong(entry, kind) for entry in value]
    return [None, "text", {"a": 1}, [2], True, -1.5, 0][kind]


@pytest.mark.parametrize("kind", range(7))
def test_leaves_of_the_wrong_type_do_not_stop_the_page(make_run: MakeRun, kind: int) -> None:
    def replace(result: Dict[str, Any]) -> None:
        changed = wrong(result, kind)
        result.clear()
        result.update(changed)

    folder = make_run(replace)
    rows = [json.dumps({"phase": wrong("", kind), "loss": wrong(1, kind), "test_accuracy": wrong(1, kind)})] * 3
    (folder / "metrics.jsonl").write_text("\n".join(rows), encoding="utf-8")
    assert write_report(folder).stat().st_size > 1_000_000


def test_every_key_may_be_missing(make_run: MakeRun) -> None:
    keys = list(json.loads((make_run() / "result.json").read_text(encoding="utf-8")))
    assert len(keys) > 20
    for key in keys:
        write_report(make_run(lambda result, key=key: result.pop(key)))


def test_without_plotly_the_cure_is_named(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("plotly"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    folder = make_run()
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"gearnn\[report\]"):
        write_report(folder)
    assert not (folder / "report.html").exists()
