from __future__ import annotations

from gearnn.report.markup import Html, escape, facts, image, join, table, tag, value


def test_text_is_escaped_and_markup_is_not() -> None:
    assert escape("<b>\"'&") == "&lt;b&gt;&quot;&#x27;&amp;"
    assert escape(Html("<b>")) == "<b>"
    assert escape(None) == ""
    assert join(["a<", Html("<i>"), None], "&") == "a&lt;&amp;<i>&amp;"


def test_attributes_are_escaped_and_left_out_when_none() -> None:
    assert tag("p", "x", class_="a", id=None, aria_label='"q"') == '<p class="a" aria-label="&quot;q&quot;">x</p>'
    assert image("data:,", "<alt>", class_=None) == '<img src="data:," alt="&lt;alt&gt;">'


def test_cells_are_escaped_aligned_and_never_blank() -> None:
    written = table(["Name", "Count"], [["<x>", "1"], ["y", None]], marked=[1])
    assert '<th scope="row">&lt;x&gt;</th><td class="number">1</td>' in written
    assert '<tr class="marked"><th scope="row">y</th><td class="number"><span class="missing">not measured</span></td>' in written


def test_facts_show_what_is_missing() -> None:
    assert "<dt>a&lt;</dt><dd>1</dd>" in facts([("a<", "1")])
    assert value("not measured") == value(None) == '<span class="missing">not measured</span>'


def test_tables_that_are_too_wide_for_a_phone_name_their_cells() -> None:
    narrow = table(["Name", "Count"], [["a long name of many words that wrap", "1"]])
    assert "wide" not in narrow and "data-head" not in narrow
    wide = table([f"Column {place}" for place in range(8)], [["a", *["1.234 ms"] * 7]])
    assert '<table class="wide">' in wide and '<td class="number" data-head="Column 7">1.234 ms</td>' in wide
    numbered = table([f"Column {place}" for place in range(8)], [["32", *["1.234 ms"] * 7]])
    assert '<th scope="row" data-head="Column 0">32</th>' in numbered and '<th scope="row">a</th>' in wide
    assert "wide" not in table(["A", "B"], [[Html("<i class='a very long attribute that nobody sees at all'>x</i>"), "1"]])
