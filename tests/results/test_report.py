"""The report: numbers of a small store by hand, what is absent, and a page that stands alone."""

import base64
import json
from html.parser import HTMLParser

import pandas as pd
import pytest

from benchmarks.claims.build import write_claims
from benchmarks.figures.captions import CAPTIONS
from benchmarks.report.build import OPTIONAL as SCHEMAS
from benchmarks.report.build import few_photos, main, report, write_report
from benchmarks.report.sections import agreement, learner_costs, per_episode, seed_errors, spread
from benchmarks.results.reading import read_episodes, read_run, read_table
from benchmarks.results.schemas import COSTS, EPISODES
from benchmarks.tables.build import table2
from fewshot_landmarks.protocol import LEARNERS
from fewshot_landmarks.support.errors import UserError

HOSTILE = "<b>"
COLUMNS = {schema.name: list(schema.columns) for schema in SCHEMAS}
SHOTS = (1, 3, 5, 8, 10)
BASE = {"FT": 0.3, "PROTO": 0.2, "MetaCloth": 0.1, HOSTILE: 0.4}
UNSEEN = {"B-1": "trousers", "B-2": "skirt", "B-3": "sling dress", "B-4": "vest"}
SHIFT = {0: 0.01, 1: 0.03}  # of MetaCloth's second seed, by episode
RUN = {
    "preset": "smoke",
    "seed": 0,
    "version": "1.2",
    "data": {"name": "garments", "difficulty": "plain", "fingerprint": "0123456789abcdef"},
    "benchmarks": {name: {"seen": ["sling"], "unseen": [u]} for name, u in UNSEEN.items()},
    "plan": {"episodes": 2, "shots": list(SHOTS), "queries": 24},
    "numbers": {"network": "small", "network_options": {"channels": 7}, "size": 32},
    "settings": {"FT": {"rate": 0.25, "keep": True}, "PROTO": {"scale": 2}},
}
PIXEL = base64.b64decode(  # a PNG of one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)
OPTIONAL = {
    "claims.csv": [
        ("pairs", "PROTO < FT & more", "Table 2", "B-1", "")
        + ("0.2", "-0.1", "0.004", "-0.12 -0.08", 2, "holds"),
        ("pairs", "WG < FT", "Table 2", "B-1", "0.123", "", "", "", "", 0, "not measured"),
        *[
            ("order", f"claim {i}", "Table 2", "B-2", "0.8", "0.1", 0.2, "", "", 2, "doesn't")
            for i in range(13)
        ],
    ],
    "trials.csv": [
        ("B-1", "FT", 0, False, 0.3, "", "", json.dumps({"rate": 0.1}), 5.0),
        ("B-1", "FT", 1, True, 0.25, 0.35, 0.45, json.dumps({"rate": 0.025}), 6.0),
        ("B-1", HOSTILE, 0, True, 1.0, "", "", "{}", 6.0),
    ],
    "costs.csv": [
        ("draw", "", "garments", 0, 10.0, ""),
        ("base", "B-1", "cosine", 0, 20.0, 200.0),
        ("fit", "B-1", "FT", 0, 30.0, 300.0),
        ("evaluate", "B-1", "FT", 0, 2.0, 400.0),
        ("evaluate", "B-2", "FT", 0, 3.0, 350.0),
        ("evaluate", "B-1r", "FT", 0, 99.0, 350.0),  # has no records
    ],
    "calibration.csv": [
        ("B-1", "FT", "unseen", 0, 10, 0.05, 0.25),
        ("B-1", "FT", "unseen", 4, 0, "", ""),
        ("B-1", "FT", "unseen", 9, 30, 0.95, 0.85),
        ("B-1", "FT", "unseen, labelled", 0, 5, 0.05, 0.06),
        ("B-2", "PROTO", "unseen", 0, 5, 0.05, 0.05),
    ],
    "adequacy.csv": [("ignores the image", "B-1", "unseen", 5, 0.4321, 0.0123, 2)],
    "horizon.csv": [
        ("B-1", "PROTO", 1200, 0.21),
        ("B-1", "PROTO", 300, 0.25),
        ("B-2", "PROTO", 300, 0.5),
    ],
}


def error(learner, seed, episode, shots):
    return BASE[learner] + 0.01 * episode - 0.001 * shots + seed * SHIFT[episode]


def make_store(directory, optional=(), unseen=UNSEEN, run=RUN):
    keys = [
        (benchmark, learner, seed, category, episode, shots)
        for benchmark, category in unseen.items()
        for learner in BASE
        for seed in ((0, 1) if learner == "MetaCloth" else (0,))
        for episode in (0, 1)
        for shots in SHOTS
    ]
    rows = [(*key, error(key[1], key[2], *key[4:]), 48, 0, "0.1") for key in keys]
    directory.mkdir(exist_ok=True)
    pd.DataFrame(rows, columns=list(EPISODES.columns)).to_csv(
        directory / "episodes.csv.gz", index=False
    )
    (directory / "run.json").write_text(json.dumps(run), "utf-8")
    for name in optional:
        frame = pd.DataFrame(OPTIONAL[name], columns=COLUMNS[name])
        frame.to_csv(directory / name, index=False)
    return directory


@pytest.fixture
def bare(tmp_path):
    return make_store(tmp_path / "bare")


@pytest.fixture
def whole(tmp_path):
    directory = make_store(tmp_path / "whole", OPTIONAL)
    for name in CAPTIONS:
        (directory / f"{name}.png").write_bytes(PIXEL)
    return directory


class Page(HTMLParser):
    """What a page's tags hold: addresses, ids, texts of table cells; and that its tags close."""

    VOID = {"meta", "img", "br", "link", "hr"}

    def __init__(self, text):
        super().__init__()
        self.stack, self.addresses, self.ids, self.tags = [], [], [], set()
        self.rows, self.cell = [], None
        self.feed(text)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.add(tag)
        self.addresses += [found[name] for name in ("src", "href") if name in found]
        self.ids += [found["id"]] if "id" in found else []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell = ""
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag
        if tag in ("td", "th"):
            self.rows[-1].append(" ".join(self.cell.split()))
            self.cell = None

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data

    def starting(self, head):
        return [row for row in self.rows if row and row[0] == head]


# ---------------------------------------------------------------------------- the page


def test_the_page_parses_and_loads_nothing(whole):
    text = report(whole)
    page = Page(text)
    assert text.count("data:image/png;base64,") == len(CAPTIONS)
    assert all(address.startswith(("#", "data:image/png;")) for address in page.addresses)
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert "@import" not in text and "url(" not in text
    anchors = [address[1:] for address in page.addresses if address.startswith("#")]
    assert set(anchors) <= set(page.ids) and len(page.ids) == len(set(page.ids))


def test_the_same_files_give_the_same_bytes_anywhere(whole, tmp_path):
    first = write_report(whole).read_bytes()
    again = whole.rename(tmp_path / "elsewhere")
    assert write_report(again).read_bytes() == first
    assert str(tmp_path).encode() not in first


def test_each_learners_mean_stands_beside_the_papers(whole):
    page = Page(report(whole))
    table = table2(read_episodes(whole), read_run(whole))
    for learner in BASE:
        row = page.starting(learner)[0]  # "The answer in short" comes first
        for text, block in zip(row[1:], table.blocks, strict=True):
            ours, ci95, *paper = [float(word) for word in text.split() if word[0].isdigit()]
            mean = block.rows[learner][-1]
            assert (ours, ci95) == pytest.approx((mean.ne, mean.ci95), abs=6e-4)
            theirs = [block.paper[learner][-1].ne] if learner in block.paper else []
            assert paper == pytest.approx(theirs, abs=6e-4)
    measured = sum(0.01 * e - 0.001 * k for e in (0, 1) for k in SHOTS) / 10 + BASE["FT"]
    assert page.starting("FT")[0][1].startswith(f"{measured:.3f}")


def test_a_hostile_name_is_escaped(whole):
    text = report(whole)
    assert HOSTILE not in text and "&lt;b&gt;" in text
    assert Page(text).starting(HOSTILE)


def test_optional_files_are_shown(whole):
    page = Page(report(whole))
    (claim,) = page.starting("PROTO < FT & more")
    assert claim[1:] == [
        "✓ holds",
        "B-1",
        "—",
        "0.2",
        "−0.1000 ± 0.0040",
        "−0.1200, −0.0800",
        "2",
    ]
    (unmeasured,) = page.starting("WG < FT")
    assert unmeasured[3:6] == ["0.123", "—", "—"]
    assert [row[1:] for row in page.starting("all")][0] == ["1", "13", "1", "15"]
    assert ["FT, B-1", "2", "0.300", "0.250", "−0.050", "0.350", "rate = 0.025"] in page.rows
    whole_trial = ["0.250", "0.350", "0.450", "chosen", "rate = 0.025", "6"]
    assert ["FT, B-1", "1", *whole_trial] in page.rows
    assert ["ignores the image", "B-1", "unseen", "5", "0.432 ± 0.012", "2"] in page.rows
    assert ["PROTO, B-1", "0.250", "0.210", "−0.040"] in page.rows
    assert ["PROTO, B-2", "0.500", "—", "—"] in page.rows
    assert ["rate", "0.25", ""] in page.rows and ["keep", "yes", ""] in page.rows


def test_absent_files_are_named_with_their_command(bare):
    text = report(bare)
    Page(text)
    for name in (*COLUMNS, *CAPTIONS):
        assert name in text
    for module in ("claims", "figures"):
        assert f"python -m benchmarks.{module} --results DIR" in text
    assert "python -m benchmarks.tune --preset smoke --out DIR" in text


def test_calibration_errors_by_learner_and_benchmark(whole):
    page = Page(report(whole))
    heads = [row for row in page.rows if row[1:2] == ["B-1, all"]]
    assert heads == [["learner", "B-1, all", "B-1, labelled", "B-2, all", "B-2, labelled"]]
    assert ["FT", "0.125", "0.010", "—", "—"] in page.rows  # (10 * 0.2 + 30 * 0.1) / 40
    assert ["PROTO", "—", "—", "0.000", "—"] in page.rows


def test_absent_calibration_is_named_with_its_command(bare):
    text = report(bare)
    assert "python -m benchmarks.export --preset smoke --out DIR" in text
    (bare / "calibration.csv").write_text(",".join(COLUMNS["calibration.csv"]) + "\n")
    Page(report(bare))  # a file without rows is no exception


def test_a_run_on_another_data_set_says_nothing_of_the_papers_numbers(tmp_path):
    unseen = {"J-1": "chair", "J-2": "spider"}
    run = {
        **RUN,
        "data": {"name": "joints", "difficulty": "real"},
        "benchmarks": {
            "J-1": {"title": "2 shapes", "seen": ["hand"], "unseen": ["chair"]},
            "J-2": {"seen": ["hand"], "unseen": ["spider"]},
        },
        "settings": {"J-1": {"FT": {"rate": 0.25}}},
    }
    directory = make_store(tmp_path / "other", unseen=unseen, run=run)
    write_claims(directory)
    text = report(directory)
    page = Page(text)
    assert not any(f"B-{i}" in text for i in range(1, 5))
    for word in ('class="paper"', "Spearman", "garment", "drawn by a program", "trousers"):
        assert word not in text
    assert "J-1: 2 shapes; J-2." in " ".join(text.split())
    assert not any(name in text for name in ("figure4", "figure5", "figure6", "adequacy.csv"))
    assert "figure_shots.png" in text and "data" not in page.ids
    assert "python -m benchmarks.export --preset smoke --out DIR --data DATA" in text
    assert "python -m benchmarks.figures --results DIR<" in text
    assert page.starting("FT")[0][1].startswith("0.300 ± ")
    (head,) = [row for row in page.rows if row[:2] == ["claim", "verdict"]][:1]
    assert "paper" not in head
    assert "Settings of every learner on J-1" in text and ["rate", "0.25"] in page.rows


@pytest.mark.parametrize("name", OPTIONAL)
def test_each_optional_file_may_come_alone(tmp_path, name):
    Page(report(make_store(tmp_path / "one", [name])))


def test_one_seed_says_so(bare):
    episodes = read_episodes(bare)
    assert spread(episodes[episodes["seed"] == 0]) is None


# --------------------------------------------------------------------------- arithmetic


def test_seeds_are_compared_episode_by_episode(bare):
    found = spread(read_episodes(bare))
    assert found["pairs"] == 4 and found["parted"] == 4 and found["gap"] == "0.0200"
    # Shifts of 0.01 and 0.03: mean 0.02, standard error 0.01, times 1.96.
    first = 0.1 + 0.005 - 0.0054
    name, seed0, seed1, less, mean, episodes = found["table"].rows[0]
    assert (name, episodes, less) == ("MetaCloth, B-1", "2", "+0.020 ± 0.020 *")
    assert (float(seed0), float(seed1)) == pytest.approx((first, first + 0.02), abs=6e-4)
    # Averaged over seeds the two episodes differ by 0.01 + 0.01: half-width 1.96 * 0.01.
    assert mean == f"{first + 0.01:.3f} ± 0.020"


def test_trainings_agree_on_an_order_or_do_not():
    steps = [0.01 * i for i in range(len(LEARNERS))]
    errors = {("B-1", 0): steps, ("B-1", 1): [2 * step for step in steps], ("B-1", 2): steps[::-1]}
    errors |= {("B-2", 0): steps, ("B-2", 1): steps[:-1]}  # one learner short of a seed
    rows = [
        (benchmark, learner, seed, ne)
        for (benchmark, seed), own in errors.items()
        for learner, ne in zip(LEARNERS, own, strict=False)
    ]
    episodes = pd.DataFrame(rows, columns=["benchmark", "learner", "seed", "ne"])
    assert agreement(episodes).rows == [
        ("B-1", "0 and 1", "1.00"),
        ("B-1", "0 and 2", "−1.00"),
        ("B-1", "1 and 2", "−1.00"),
    ]
    assert agreement(episodes[episodes["seed"] == 0]) is None


def test_a_seed_in_part_or_diverged_is_left_out(bare):
    episodes = read_episodes(bare)
    own = episodes[(episodes["learner"] == "MetaCloth") & (episodes["benchmark"] == "B-2")]
    assert list(seed_errors(own)) == [0, 1]
    assert list(seed_errors(own[:-1])) == [0]
    diverged = own.assign(ne=own["ne"].where(own.index != own.index[-1]))
    assert list(seed_errors(diverged)) == [0]
    nothing = (diverged["episode"] == 1) & (diverged["shots"] == 10)
    unscored = diverged.assign(scored=diverged["scored"].where(~nothing, 0))
    unscored["ne"] = unscored["ne"].where(~nothing)
    assert seed_errors(unscored).shape == (1, 2)


def test_five_photos_best_first_and_who_ties(bare):
    episodes, run = read_episodes(bare), read_run(bare)
    costs = pd.DataFrame(columns=list(COSTS.columns))

    def ties(episodes):
        rows = few_photos(table2(episodes, run), episodes, costs).rows
        assert [row[0] for row in rows] == ["MetaCloth", "PROTO", "FT", HOSTILE]
        return [sum("≈" in text for text in row[2:6]) for row in rows]

    assert ties(episodes) == [4, 0, 0, 0]
    half = episodes["learner"].eq("PROTO") & episodes["episode"].eq(1)
    near = episodes.assign(ne=episodes["ne"].where(~half, 0.08))  # worse once, better once
    assert ties(near) == [4, 4, 0, 0]


def test_costs_count_only_work_that_has_records(whole):
    episodes = read_episodes(whole)
    costs = read_table(whole, COSTS)
    assert per_episode(costs, episodes) == pytest.approx({"FT": 1000 * 5 / 20})
    (row,) = learner_costs(costs, episodes).rows
    assert row == ("FT", "30", "104", "250.0", "400")


# -------------------------------------------------------------------------- the command


def test_the_command_writes_the_page(bare, capsys):
    assert main(["--results", str(bare)]) == 0
    assert capsys.readouterr().out.strip() == str(bare / "report.html")
    assert (bare / "report.html").is_file()


def test_a_file_without_its_columns_is_a_users_error(bare):
    (bare / "claims.csv").write_text("group,claim\na,b\n", "utf-8")
    with pytest.raises(UserError, match=r"claims\.csv.*where"):
        report(bare)
