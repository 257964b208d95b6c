"""Documents: links and commands lead somewhere, README shows what the results hold."""

import importlib.util
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("results/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
MODULE = re.compile(r"-m ((?:benchmarks|fewshot_landmarks)[\w.]*\w)")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Markdown's viewers make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@every_page
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text("utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@every_page
def test_commands_are_there(page):
    for module in MODULE.findall(page.read_text("utf-8")):
        assert importlib.util.find_spec(module), module


def test_readme_shows_what_the_results_hold():
    made = runpy.run_path(str(ROOT / "docs" / "readme.py"))
    assert made["TABLE"].findall(made["README"].read_text("utf-8")) == [made["table"]()]
