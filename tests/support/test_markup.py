"""Names from outside in every language that they are written in."""

import csv
import gzip
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from benchmarks import metrics
from benchmarks.claims.build import write_claims
from benchmarks.figures.build import write_figures
from benchmarks.report.build import write_report
from benchmarks.results.reading import read_episodes, read_table
from benchmarks.results.schemas import CALIBRATION, CLAIMS, CURVES, EPISODES, Schema
from benchmarks.tables.build import write_tables
from fewshot_landmarks.data.keypoints import read_split
from fewshot_landmarks.photos.commands import compare, evaluate
from fewshot_landmarks.photos.errors import by_shots
from fewshot_landmarks.protocol import SHOTS
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.markup import Markdown, csv_text, latex, markdown, pipes, unquoted
from fewshot_landmarks.support.names import plain

NASTY = [
    "my_bench #1, 50%",
    "A&B_50% &amp; {x} ~^\\d\\",
    "größe $1 $x_{",
    "a, b; 'c' \"d\"",
    "=1+1",
    "@sum",
    "-x",
    "+ y",
    "'=z",
    "[a](b) *c* `d` ~~e~~",
    "* one",
    "1. one",
    "> 2",
    "__init__",
    "[1]",
    "日本語 \N{CHART WITH UPWARDS TREND}",
    "--",
]
pytestmark = pytest.mark.filterwarnings("ignore:Glyph", "ignore:constrained_layout")
CATEGORIES = [*NASTY, "<b>dress|short</b>", "a/b", "\\", "a\\|b"]
NO_ERRORS = by_shots.Errors(np.full((1001, 2), 0.1), np.full(1001, 0.1))
PLACES = ["=" + NASTY[0], " ".join(NASTY)]


def split_columns(line):
    """The cells of a line of a Markdown table, as GitHub parts them."""
    return [cell.strip() for cell in re.findall(r"(?:\\.|[^\\|])+", line.strip().strip("|"))]


def text_of(cell):
    """What a cell says when its escapes are read."""
    return re.sub(r"\\([^\w\s]|_)", r"\1", cell)


@pytest.mark.parametrize("name", CATEGORIES)
def test_a_table_keeps_its_columns_and_its_names(name):
    head, rule, row = pipes([["", name], [name, Markdown("**1**")]]).splitlines()
    assert [len(split_columns(line)) for line in (head, rule, row)] == [2, 2, 2]
    assert text_of(split_columns(row)[0]) == plain(name) and split_columns(row)[1] == "**1**"


@pytest.mark.parametrize("name", ["LD-Keep_M", "C:\\photos\\x", "module[extra]", "A&B", "-.012"])
def test_what_is_no_mark_stays(name):
    assert markdown(name) == name


def test_marks_of_markdown_are_escaped():
    assert markdown("<b>*x*") == r"\<b>\*x\*" and markdown("_a_") == r"\_a\_"
    assert markdown("- a") == r"\- a" and markdown("12. a") == r"12\. a"
    assert markdown("a\nb\x00c\u2028d\ud800") == "a b c d"


def test_csv_keeps_names_and_numbers():
    frame = pd.DataFrame({"name": CATEGORIES, "text": "-0.1 nan", "ne": -0.1})
    text = csv_text(frame)
    assert not [cell for row in csv.reader(io.StringIO(text)) for cell in row if cell[0] in "=+@"]
    back = pd.read_csv(io.StringIO(text), keep_default_na=False)
    assert unquoted(back["name"]).tolist() == CATEGORIES
    assert set(back["text"]) == {"-0.1 nan"} and set(back["ne"]) == {-0.1}
    for ours in ("-1.8% ± 0.7", "-.02 (-.10 to .10)"):
        assert ours in csv_text(pd.DataFrame({"ours": [ours]}))
        assert "'" not in csv_text(pd.DataFrame({"ours": [ours]}))


# ------------------------------------------------------------------------- every output


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A results directory whose names are as bad as they may be, and all that is made of it."""
    folder = tmp_path_factory.mktemp("results")
    rows = [
        (place, learner, 0, category, 0, shots, 0.1 + 0.01 * shots, 9, 0, "0.1 nan")
        for place in PLACES
        for learner in ("PROTO", "MetaCloth", "LD-Keep_M", "_own")
        for category in CATEGORIES
        for shots in SHOTS
    ]
    columns = list(EPISODES.columns)
    losses = [(place, "MAML", 0, step, 0.1) for place in PLACES for step in (1, 2)]
    scores = [(name, "_own", "unseen", 1, 9, 0.5, 0.4) for name in PLACES]
    for name, frame in {
        "episodes.csv.gz": pd.DataFrame(rows[:-1], columns=columns),  # so there is a note
        "curves.csv.gz": pd.DataFrame(losses, columns=list(CURVES.columns)),
        CALIBRATION.name: pd.DataFrame(scores, columns=list(CALIBRATION.columns)),
    }.items():
        content = csv_text(frame).encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    run = {
        "preset": "smoke",
        "data": {"name": "|".join(CATEGORIES), "difficulty": "real"},
        "plan": {"episodes": 1, "shots": list(SHOTS)},
        "settings": {place: {"PROTO": {"note": place}} for place in PLACES},
        "benchmarks": {
            place: {"title": title, "seen": CATEGORIES, "unseen": CATEGORIES}
            for place, title in zip(PLACES, CATEGORIES[::-1])
        },
    }
    (folder / "run.json").write_text(json.dumps(run))
    write_tables(folder)
    write_claims(folder)
    notes = write_figures(folder)
    write_report(folder)
    assert len(notes) == 1 and "figure_ranks" in notes[0]  # two learners have all their cells
    assert len(list(folder.glob("figure*.pdf"))) == 3
    return folder


def test_our_readers_read_the_names_again(written):
    episodes = read_episodes(written)
    assert set(episodes["benchmark"]) == set(PLACES)
    assert set(episodes["category"]) == set(CATEGORIES)
    for number, columns in {2: [], 3: ["category"], 4: []}.items():
        kinds = {name: str for name in ["benchmark", *columns]} | {"ne": float}
        table = read_table(written, Schema(f"table{number}.csv", kinds))
        assert set(table["benchmark"]) <= set(PLACES)
        assert not columns or set(table["category"]) == set(CATEGORIES)
    claims = read_table(written, CLAIMS)
    assert {where.rpartition(", ")[0] for where in claims["where"]} == set(PLACES)


def test_markdown_tables_keep_their_columns(written):
    frame = pd.DataFrame({"benchmark": PLACES, "learner": "_own", "seed": 0, "shots": 1, "NE": 0.1})
    (written / "metrics.md").write_text(metrics.to_markdown(frame))
    landmarks = pd.DataFrame({"category": CATEGORIES, "NE": 0.1, "low": 0.1, "high": 0.2})
    said = evaluate.report(landmarks, landmarks, CATEGORIES[0], CATEGORIES, "area")
    (written / "evaluated.md").write_text(said)
    results = {name: f"of {name}" for name in CATEGORIES}
    none = by_shots.ErrorsByShots((1, 3), {}, NO_ERRORS)
    (written / "compare.md").write_text(compare.to_markdown(none, results))
    for path in written.glob("*.md"):
        rows = 0
        for block in path.read_text().split("\n\n"):
            if block.startswith("|"):
                columns = [len(split_columns(line)) for line in block.splitlines()]
                assert len(set(columns)) == 1, (path.name, block)
                rows += len(columns)
        assert rows > 2
    heads = split_columns(next(
        line for line in (written / "table3.md").read_text().splitlines() if line.startswith("|")
    ))  # fmt: skip
    assert [text_of(head) for head in heads[1:]] == CATEGORIES


class Page(HTMLParser):
    """The tags of a page, and the texts of its cells."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag in ("th", "td"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


def test_the_report_shows_names_as_they_are(written):
    page = Page((written / "report.html").read_text("utf-8"))
    assert "b" not in page.tags
    assert {*CATEGORIES, *PLACES} <= {cell.strip() for cell in page.cells}


def test_a_comparison_is_drawn_with_any_name():
    errors = dict.fromkeys(NASTY[2:6], NO_ERRORS)
    assert compare.draw(by_shots.ErrorsByShots((1, 3), errors, NO_ERRORS)).startswith(b"\x89PNG")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex")
def test_the_tables_compile(written, tmp_path):
    names = "\n\n".join(map(latex, CATEGORIES))
    rows = "".join(f"{latex(name)} & 1 \\\\\n" for name in CATEGORIES)
    inputs = "".join(f"\\input{{{written / f'table{number}'}}}\n" for number in (2, 3, 4))
    table = f"\\begin{{tabular}}{{lc}}\n{rows}\\end{{tabular}}\n"
    (tmp_path / "all.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
        f"{inputs}{names}\n\n{table}\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stdout.decode("utf-8", "replace")[-2000:]


# ---------------------------------------------------------------------- at the start


@pytest.mark.parametrize("name", ["a\nb", "a\x00", "\ud800", "a/b", "", ".x", "x" * 200])
def test_a_benchmark_that_names_no_folder_is_refused(tmp_path, name):
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": "t.json", "benchmarks": {name: {"seen": ["a"]}}}))
    with pytest.raises(UserError, match=r"split\.json"):
        read_split(path)
    path.write_text(json.dumps({"train": "t.json", "benchmarks": {"=a, b_c": {"seen": ["a"]}}}))
    read_split(path)
