"""What is made of the metrics: a dashboard, rules for alerts, and the page that explains them."""

import json
import re
import shutil
import subprocess

import pytest
from conftest import ROOT
from scraping import Scraped

PROMTOOL = shutil.which("promtool")


@pytest.fixture
def scraped(tmp_path):
    with Scraped(tmp_path / "db") as scraped:
        yield scraped


def names_in(text):
    return set(re.findall(r"\b(?:meilies|process)_[a-z_]+\b(?!\.py)", text))


@pytest.mark.parametrize("path", ["docs/grafana.json", "docs/alerts.yml", "docs/operations.md"])
def test_every_metric_that_is_named_is_there(scraped, path):
    scraped.use()
    found = {key if isinstance(key, str) else key[0] for key in scraped.metrics()}
    families = names_in(scraped.get("/metrics")[2])
    named = names_in((ROOT / path).read_text())
    assert len(named) > 10
    assert named <= found | families, sorted(named - found - families)


def test_every_metric_is_explained(scraped):
    scraped.use()
    families = {line.split()[2] for line in scraped.get("/metrics")[2].splitlines() if line.startswith("# TYPE")}
    assert families <= names_in((ROOT / "docs" / "operations.md").read_text())


def test_the_dashboard_is_json_whose_panels_do_not_overlap():
    board = json.loads((ROOT / "docs" / "grafana.json").read_text())
    seen = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & seen and at["x"] + at["w"] <= 24, panel["title"]
        seen |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) > 10


@pytest.mark.skipif(not PROMTOOL, reason="promtool isn't installed")
def test_promtool_takes_the_rules_for_alerts(tmp_path):
    checked = subprocess.run([PROMTOOL, "check", "rules", str(ROOT / "docs" / "alerts.yml")], capture_output=True,
                             check=False)
    assert checked.returncode == 0, checked.stdout.decode() + checked.stderr.decode()
