"""HTML that is safe by construction: text becomes markup only by being escaped."""

from __future__ import annotations

import html
import re
from typing import Iterable, Optional, Sequence, Union

from gearnn.report.formats import MISSING

_PHONE = 354  # CSS pixels: a phone of 390 without the page's margins
_LETTER, _SPACE = 7.2, 12  # CSS pixels of a letter in a table, and between columns


class Html(str):
    """Markup made here; any other string is text and is escaped where it is put in."""


Content = Union[str, Html, None]


def escape(content: Content) -> Html:
    """Markup as it is, text escaped, None as nothing."""
    if isinstance(content, Html):
        return content
    return Html("" if content is None else html.escape(content, quote=True))


def join(parts: Iterable[Content], separator: str = "") -> Html:
    """Parts one after the other, each escaped unless it is markup."""
    return Html(escape(separator).join(escape(part) for part in parts))


def tag(name: str, *children: Content, **attributes: Optional[str]) -> Html:
    """An element; ``class_`` stands for class, ``_`` for ``-``, and attributes that are None are left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items() if value is not None
    )
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def image(source: str, alt: str, **attributes: Optional[str]) -> Html:
    """An ``img``, which has no closing tag."""
    element = tag("img", src=source, alt=alt, **attributes)
    return Html(element[: -len("</img>")])


def value(content: Content) -> Html:
    """Text for a cell; what is missing is muted, not blank."""
    if content is None or content == MISSING:
        return tag("span", MISSING, class_="missing")
    return escape(content)


def table(head: Sequence[str], rows: Sequence[Sequence[Content]], text_columns: int = 1, marked: Sequence[int] = ()) -> Html:
    """A table whose first ``text_columns`` columns hold text and whose others hold numbers, aligned right.

    One that is too wide for a phone is of class "wide", and each of its cells knows the head of its column: there, the style
    sheet shows the cells of a row below its first.

    Args:
        marked: indices of rows to emphasise.
    """

    def kind(column: int) -> Optional[str]:
        return None if column < text_columns else "number"

    wide = _width(head, rows, text_columns) > _PHONE
    header = tag("tr", *(tag("th", name, scope="col", class_=kind(column)) for column, name in enumerate(head)))
    body = [
        tag(
            "tr",
            *(
                tag("th", value(cell), scope="row", data_head=head[0] if wide and re.fullmatch(r"[\d.,]+", cell or "") else None)
                if column == 0
                else tag("td", value(cell), class_=kind(column), data_head=head[column] if wide else None)
                for column, cell in enumerate(row)
            ),
            class_="marked" if index in marked else None,
        )
        for index, row in enumerate(rows)
    ]
    written = tag("table", tag("thead", header), tag("tbody", *body), class_="wide" if wide else None)
    return tag("div", written, class_="scroll", tabindex="0")


def _width(head: Sequence[str], rows: Sequence[Sequence[Content]], text_columns: int) -> float:
    """About how wide a table is at least, in CSS pixels: text wraps between words, numbers do not."""
    widest = [max(map(len, name.split()), default=0) for name in head]
    for row in rows:
        for column, cell in enumerate(row[: len(head)]):
            shown = re.sub("<[^>]*>", "", value(cell))
            parts = shown.split() if column < text_columns else [shown]
            widest[column] = max([widest[column], *map(len, parts)])
    return sum(_LETTER * letters + _SPACE for letters in widest)


def facts(pairs: Iterable[Sequence[Content]]) -> Html:
    """A list of names and their values."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value(content))) for name, content in pairs), class_="facts")
