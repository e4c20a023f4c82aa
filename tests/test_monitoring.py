"""The dashboard, the alerts and the example for Prometheus, against the figures that there are."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.routing import APIRoute

from cluster.jobs.model import ENDED
from cluster.monitoring import metrics
from cluster.monitoring.metrics import METRICS, Metric
from cluster.policy import PRIORITIES
from ladders.errors import FarmError
from serve.api.gate import OPEN_PATHS
from serve.api.media import busy, router

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "monitoring"
NAME = re.compile(r"\bfarm_[a-z0-9_]+")
SELECTED = re.compile(r"\b(farm_[a-z0-9_]+)\{([^}]*(?:\{[^}]*\}[^}]*)*)\}")
MATCHER = re.compile(r'([a-z_]+)(?:=|!=|=~|!~)"([^"]*)"')
BY = re.compile(r"\b(?:by|without) \(([^)]*)\)")


CODE = "".join(path.read_text("utf-8") for room in ("cluster", "serve") for path in (ROOT / room).rglob("*.py"))


def values_of(metric: Metric, label: str) -> set[str]:
    """What the label of the figure may say."""
    return {
        "priority": set(PRIORITIES),
        "status": {str(status) for status in ENDED} if metric is metrics.ENDED else set(metrics.STANDS),
        "state": set(metrics.SLOT_STATES),
        "code": {kind.code for kind in FarmError.every_class()},
        "outcome": set(re.findall(r'"(\w+)"', " ".join(re.findall(r"metrics\.CALLBACKS, (.*)\)", CODE)))),
        "route": {route.path for api in (router, busy) for route in api.routes if isinstance(route, APIRoute)},
    }[label]


def dashboard() -> Any:
    return json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))


def rules() -> list[Any]:
    (group,) = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


def queries() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (rule["expr"] for rule in rules())


def declared(sample: str) -> Metric:
    """The figure that a name in a query is a sample of."""
    if sample in METRICS:
        assert METRICS[sample].kind != "histogram", f"{sample} is a histogram: ask for its buckets, sum or count"
        return METRICS[sample]
    name, _, suffix = sample.rpartition("_")
    assert suffix in ("bucket", "sum", "count"), sample
    assert name in METRICS, sample
    assert METRICS[name].kind == "histogram", sample
    return METRICS[name]


@pytest.mark.parametrize("query", sorted(set(queries())))
def test_a_query_asks_for_figures_and_labels_that_there_are(query: str) -> None:
    asked = [declared(name) for name in NAME.findall(query)]
    for name, selector in SELECTED.findall(query):
        for label, value in MATCHER.findall(selector):
            assert label in {*declared(name).labels, "job"}, query
            assert label == "job" or set(value.split("|")) <= values_of(declared(name), label), f"{label}: {value}"
    of_any = {"le", *(label for metric in asked for label in metric.labels)}
    for labels in BY.findall(query):
        assert {label.strip() for label in labels.split(",")} <= of_any, query
    for name in re.findall(r"(?:rate|increase)\((farm_[a-z0-9_]+)", query):
        assert declared(name).kind != "gauge", f"{name} rises and falls"


def test_every_figure_is_shown_or_watched() -> None:
    assert set(METRICS) == {declared(name).name for query in queries() for name in NAME.findall(query)}


def test_every_figure_is_taken_somewhere() -> None:
    constants = {name for name, value in vars(metrics).items() if isinstance(value, Metric)}
    assert len(constants) == len(METRICS)
    assert {name for name in constants if not re.search(rf"\bmetrics\.{name}\b", CODE)} == set()


def test_figures_are_named_as_prometheus_asks_for() -> None:
    for metric in METRICS.values():
        assert metric.name.startswith("farm_")
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert list(metric.bounds) == sorted(set(metric.bounds)), metric.name
        # What callers choose, or what grows with every job, would be a series for ever.
        assert not {"job", "job_id", "media_id", "org", "url", "source", "path"} & set(metric.labels), metric.name


def test_an_alert_says_what_is_wrong_and_what_to_look_at() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook"].count(".") >= 1, rule["alert"]


def test_alerts_come_when_they_should_and_not_before() -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool of Prometheus is not here: when an alert comes is not shown")
    done = subprocess.run([promtool, "test", "rules", FOLDER / "alerts_test.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_example_scrapes_a_path_that_wants_a_key_and_loads_the_alerts() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text(encoding="utf-8"))
    (scrape,) = config["scrape_configs"]
    assert f'up{{job="{scrape["job_name"]}"}}' in rules()[0]["expr"]
    assert scrape["metrics_path"] not in OPEN_PATHS
    assert "credentials_file" in scrape["authorization"]
    assert (FOLDER / config["rule_files"][0]).is_file()


def test_the_panels_of_the_dashboard_lie_beside_one_another() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
