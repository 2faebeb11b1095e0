"""What the site adds to docs/: pages from beside it, the recipes in the navigation, equations.

Equations become MathML, which browsers draw themselves: no script, no fonts, no network.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

HERE = Path(__file__).parent
ROOT = HERE.parent
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
}
"""Pages that stand beside docs/, and what they are called on the site."""
ASSETS = ("iframe-worker.js", "site.css")

LINK = re.compile(r"(\]\()([^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Draw ```math blocks, and list every recipe in the navigation."""
    fence = {"name": "math", "class": "math", "format": equation}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    recipes = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
    (section,) = (each["Recipes"] for each in config.nav or [] if "Recipes" in each)
    (index,) = (item for item in section if isinstance(item, dict) and "Every recipe" in item)
    index["Every recipe"] = ["recipes/README.md", *(f"recipes/{name}.md" for name in recipes)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages beside docs/, with their links as seen from within it, and what pages load."""
    for name, place in PAGES.items():
        text = LINK.sub(_from_docs, (ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, place, content=text))
    for name in ASSETS:
        files.append(File.generated(config, f"assets/{name}", abs_src_path=str(HERE / name)))
    return files


def _from_docs(link: re.Match[str]) -> str:
    start, target = link.groups()
    return start + PAGES.get(target, target.removeprefix("docs/"))


def equation(source: str, *_: Any, **__: Any) -> str:
    """Return a block of LaTeX as MathML."""
    upright = re.sub(r"\\operatorname\{", r"\\text{", source)  # else its letters stand apart
    return f'<div class="math">{convert(upright, display="block")}</div>'
