"""The documentation site: builds strictly, refuses broken links and anchors, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="the site needs MkDocs: pip install '.[docs]'")
pytest.importorskip("mkdocstrings", reason="the site needs mkdocstrings: pip install '.[docs]'")

ROOT = Path(__file__).parents[1]


def _build(source: Path, site: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=str(source), capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = _build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_navigation_and_has_content(site: Path) -> None:
    navigation = (site / "index.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        built = (site / f"{page.stem}.html").read_text(encoding="utf-8")
        assert len(re.sub(r"<[^>]+>", "", built.split("<article", 1)[1])) > 300, page.name
        assert f'href="{page.stem}.html"' in navigation or page.stem == "index", f"{page.name} is not in the navigation"


def test_files_beside_docs_and_the_api_are_there(site: Path) -> None:
    assert (site / "beside" / "SECURITY.html").is_file()
    assert list((site / "beside" / "benchmarks" / "results").glob("*.json"))
    assert not (site / "beside" / "beside").exists()
    api = (site / "api.html").read_text(encoding="utf-8")
    for name in ("grow", "ERA", "export_onnx", "Budget"):
        assert re.search(rf'<h\d id="[\w.]+\.{name}"', api), name


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loads = re.compile(r"""<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//""")
    for page in site.rglob("*.html"):
        assert not loads.search(page.read_text(encoding="utf-8")), page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet


@pytest.mark.parametrize(
    ("link", "complaint"),
    [
        ("[there](nowhere.md)", "nowhere.md"),
        ("[there](growth.md#no-such-heading)", "no-such-heading"),
        ("[x](../absent.md)", "absent.md"),
    ],
)
def test_broken_links_fail(tmp_path: Path, link: str, complaint: str) -> None:
    source = tmp_path / "repository"
    source.mkdir()
    for name in ("mkdocs.yml", "SECURITY.md", "CONTRIBUTING.md", "benchmarks", "cmake", "gearnn", "engine", "kernels"):
        (source / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "docs", source / "docs")
    with (source / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{link}\n")
    done = _build(source, tmp_path / "site")
    assert done.returncode != 0
    assert complaint in done.stderr
