"""HTML that is safe by construction: text becomes markup only by being escaped."""

from __future__ import annotations

import html
from typing import Iterable, Optional, Sequence, Union

from gearnn.report.formats import MISSING


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

    Args:
        marked: indices of rows to emphasise.
    """

    def kind(column: int) -> Optional[str]:
        return None if column < text_columns else "number"

    header = tag("tr", *(tag("th", name, scope="col", class_=kind(column)) for column, name in enumerate(head)))
    body = [
        tag(
            "tr",
            *(
                tag("th", value(cell), scope="row") if column == 0 else tag("td", value(cell), class_=kind(column))
                for column, cell in enumerate(row)
            ),
            class_="marked" if index in marked else None,
        )
        for index, row in enumerate(rows)
    ]
    return tag("div", tag("table", tag("thead", header), tag("tbody", *body)), class_="scroll", tabindex="0")


def facts(pairs: Iterable[Sequence[Content]]) -> Html:
    """A list of names and their values."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value(content))) for name, content in pairs), class_="facts")
