"""Pages link to files beside docs/, such as ../SECURITY.md. GitHub follows such links; here each such file joins the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any, Dict

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = re.compile(r"\]\(\.\./([\w./-]+)")
RELATIVE = re.compile(r"\]\((?!\w+:)([\w./-]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add what the pages link to outside docs/, and what that links to, under ``beside/``; MkDocs reports links to nowhere."""
    waiting = [name for file in files.documentation_pages() for name in OUTSIDE.findall(file.content_string)]
    found: Dict[str, bytes] = {}
    while waiting:
        name = waiting.pop()
        if name in found or name.startswith("docs/") or not (ROOT / name).is_file():
            continue
        found[name] = (ROOT / name).read_bytes()
        if name.endswith(".md"):
            links = RELATIVE.findall(found[name].decode("utf-8"))
            waiting += [posixpath.normpath(posixpath.join(posixpath.dirname(name), link)) for link in links]
    for name in sorted(found):
        files.append(File.generated(config, f"beside/{name}", content=found[name]))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point those links, and such files' links back to docs/, at their places in the site."""
    if not page.file.src_uri.startswith("beside/"):
        return OUTSIDE.sub(r"](beside/\1", markdown)
    up = "../" * page.file.src_uri.count("/")
    return re.sub(r"\]\((?:\.\./)*docs/", f"]({up}", markdown)
