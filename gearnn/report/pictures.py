"""The strip of example images, as PNG data URIs."""

from __future__ import annotations

import base64
import io
from typing import Dict, List, Optional, Sequence

import numpy as np
from PIL import Image

from gearnn.report.formats import words
from gearnn.report.markup import Html, image, tag
from gearnn.report.record import Examples, Run, items

LARGEST = 96  # pixels: the page shows them at 64 to 80
HOVERED = 64  # pixels: of the images over the heat maps, of which there are many


def data_uri(pixels: np.ndarray, largest: int = LARGEST) -> str:
    """A uint8 image (C, H, W) as a ``data:`` URI of a PNG, at most ``largest`` pixels on a side.

    Three or more channels are taken as red, green and blue, fewer as grey.
    """
    plain = np.ascontiguousarray(pixels[:3].transpose(1, 2, 0) if pixels.shape[0] >= 3 else pixels[0])
    picture = Image.fromarray(plain)
    if max(picture.size) > largest:
        picture.thumbnail((largest, largest))
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def examples(run: Run, shown: int = 3) -> Html:
    """A few test images: as they are, as training saw them, and corrupted; all but the first ``shown`` folded away."""
    found = run.examples
    if found is None:
        return tag("section", tag("h2", "Examples"), tag("p", "Not measured: no images in examples.npz.", class_="missing"))
    strips = [_strip(run, found, index) for index in range(len(found.clean))]
    rest = strips[shown:]
    more = tag("details", tag("summary", f"{len(rest)} more"), *rest) if rest else None
    lead = "Test images, the views that robust training makes of them, and the corruptions of the benchmark at severity 3."
    if found.named_clean is not None:
        lead += " Below an image stands what the deployed network named."
    return tag("section", tag("h2", "Examples"), tag("p", lead, class_="lead"), *strips[:shown], more)


def hover_pictures(run: Run) -> Dict[str, str]:
    """The first example as ``data:`` URIs: "clean", and under each corruption at each severity as "row,column" of the heat map.

    Runs that kept only severity 3 have only that column.
    """
    found, final = run.examples, run.final
    if found is None or final is None or not final.scores:
        return {}
    size = (len(final.scores), len(final.severities))
    cells: Dict[str, str] = {}
    if found.by_severity is not None and found.by_severity.shape[:2] == size:
        for row, column in np.ndindex(*size):
            cells[f"{row},{column}"] = data_uri(found.by_severity[row, column], HOVERED)
    elif found.corrupted is not None and found.corrupted.shape[1] == size[0] and "3" in final.severities:
        column = final.severities.index("3")
        cells = {f"{row},{column}": data_uri(pixels, HOVERED) for row, pixels in enumerate(found.corrupted[0])}
    return {"clean": data_uri(found.clean[0], HOVERED), **cells} if cells else {}


def _strip(run: Run, found: Examples, index: int) -> Html:
    crisp = "crisp" if max(found.clean.shape[2:]) <= 48 else None
    own = None if found.labels is None else int(found.labels[index])
    label = f"image {index + 1}" if own is None else _class_name(run, own)

    def picture(pixels: np.ndarray, caption: str, named: Optional[int] = None) -> Html:
        shown = image(data_uri(pixels), f"{label}, {caption}", class_=crisp, loading="lazy")
        said = None if named is None else _said(_class_name(run, named), None if own is None else named == own)
        return tag("figure", shown, tag("figcaption", caption, said))

    views = [picture(found.clean[index], "clean", None if found.named_clean is None else int(found.named_clean[index]))]
    if found.augmented is not None:
        views += [picture(view, f"view {place}") for place, view in enumerate(found.augmented[index], start=1)]
    names = _corruptions(run, found)
    said: Sequence[Optional[int]] = [None] * len(names)
    if found.named_corrupted is not None:
        said = [int(named) for named in found.named_corrupted[index]]
    corrupted = [] if found.corrupted is None else list(zip(found.corrupted[index], names, said))
    return tag(
        "div",
        tag("h3", label),
        tag("div", *views, class_="thumbs large"),
        tag("div", *(picture(pixels, name, named) for pixels, name, named in corrupted), class_="thumbs"),
        class_="example",
    )


def _said(name: str, right: Optional[bool]) -> Html:
    mark = {True: "✓ ", False: "✗ ", None: ""}[right]
    return tag("span", f"{mark}{name}", class_="said wrong" if right is False else "said")


def _class_name(run: Run, label: int) -> str:
    classes = items(run.result.get("classes"))
    return str(classes[label]) if 0 <= label < len(classes) else f"class {label}"


def _corruptions(run: Run, found: Examples) -> List[str]:
    """Names from the benchmark, which goes through the corruptions in the same order."""
    kinds = 0 if found.corrupted is None else found.corrupted.shape[1]
    names = list(run.final.scores) if run.final else []
    return [words(name) for name in names] if len(names) == kinds else [f"corruption {place + 1}" for place in range(kinds)]
