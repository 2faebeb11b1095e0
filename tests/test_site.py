"""The site of docs/ builds without a warning, and a browser opens each page without the network."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from optzoo.files.shipped import shipped

ROOT = Path(__file__).parent.parent
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
OPENER = """<!doctype html><meta charset="utf-8"><body><script>
const pages = %s, frame = document.createElement("iframe");
frame.width = 1200, frame.height = 900;
document.body.append(frame);
let opened = 0;
frame.onload = () => setTimeout(() => {
  document.title = `opened ${++opened}`;
  if (opened < pages.length) frame.src = pages[opened];
}, 100);
frame.src = pages[0];
</script></body>"""
"""One page that opens all others, one after another: a browser for each would take minutes."""
PAGE_ASKED = re.compile(r'"traffic_annotation":101845102,"url":"(https?:[^"]*)')
"""In Chromium's log of the network, what a page wanted; the browser has wishes of its own."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="no mkdocs-material here: pip install -e '.[docs]'")
    pytest.importorskip("latex2mathml", reason="no latex2mathml here: pip install -e '.[docs]'")
    place = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "-q",
        "-f",
        ROOT / ".site/mkdocs.yml",
        "-d",
        place,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def browse(tmp_path: Path) -> Any:
    """Open a place in a browser that has no window and reaches no network.

    Returns what it shows, and all messages and addresses that it asked the network for.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium here: `apt-get install chromium`")

    log = tmp_path / "network.json"

    def opened(place: str, seconds: int = 5) -> tuple[str, list[str]]:
        fixed = ("--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
        alone = ("--host-resolver-rules=MAP * ~NOTFOUND", f"--log-net-log={log}")
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        budget = f"--virtual-time-budget={1000 * seconds}"
        command = [CHROMIUM, *fixed, *alone, profile, budget, "--dump-dom", place]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        messages = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return done.stdout, messages + sorted(set(PAGE_ASKED.findall(log.read_text())))

    return opened


def open_all(site: Path, folder: Path, browse: Any) -> tuple[int, int, list[str]]:
    """Open every page; return how many there are, how many opened, and what they wrote."""
    pages = sorted(site.rglob("*.html"))
    opener = folder / "opener.html"
    opener.write_text(OPENER % [page.as_uri() for page in pages])
    shown, messages = browse(opener.as_uri(), seconds=len(pages))
    opened = re.search(r"<title>opened (\d+)", shown)
    return len(pages), int(opened.group(1)) if opened else 0, messages


@pytest.mark.slow
def test_every_page_opens_without_an_error_or_the_network(
    site: Path, tmp_path: Path, browse: Any
) -> None:
    pages, opened, messages = open_all(site, tmp_path, browse)
    assert pages >= len(shipped()) + 25
    assert opened == pages
    assert messages == []


@pytest.mark.slow
def test_a_broken_page_would_be_noticed(site: Path, tmp_path: Path, browse: Any) -> None:
    copy = tmp_path / "site"
    shutil.copytree(site / "assets", copy / "assets")
    text = (site / "zoo.html").read_text()
    (copy / "script.html").write_text(text.replace("</body>", "<script>notThere()</script></body>"))
    far = '<script src="https://example.org/far.js"></script></body>'
    (copy / "network.html").write_text(text.replace("</body>", far))
    _, opened, messages = open_all(copy, tmp_path, browse)
    assert opened == 2
    assert any("notThere is not defined" in line for line in messages)
    assert "https://example.org/far.js" in messages


@pytest.mark.slow
def test_the_search_finds_a_recipe_offline(site: Path, browse: Any) -> None:
    shown, messages = browse((site / "index.html").as_uri() + "?q=lion")
    assert messages == []
    results = re.findall(r'href="([^"]*)" class="md-search-result__link"', shown)
    assert any("recipes/lion.html" in unescape(each) for each in results), results


def test_pages_are_whole(site: Path) -> None:
    """Every recipe is in the navigation, equations are drawn, and nothing is fetched."""
    home = (site / "index.html").read_text()
    for name in shipped():
        assert f'href="recipes/{name}.html"' in home, name
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.search(
            r'<(?:script|img|iframe|link)[^>]*(?:src|href)="(?:https?:)?//', text
        ), page
        drawn = re.sub(
            r"<annotation.*?</annotation>|<pre.*?</pre>|<code.*?</code>", "", text, flags=re.DOTALL
        )
        assert r"\begin{" not in drawn, page
    assert (site / "recipes/ademamix.html").read_text().count("<math") == 2
