"""Counting in one process, summing up in another."""

import json
import threading

from prometheus_client.parser import text_string_to_metric_families

from cluster.monitoring import metrics
from cluster.monitoring.counts import Counts, Gauge, Wire, exposition

ROUTE = "/v1/jobs/{job_id}"


def shown(counted: Wire | None, gauges: tuple[Gauge, ...] = ()) -> dict[str, float]:
    """Every sample that Prometheus reads, by name and labels."""
    text = exposition(gauges, counted).decode()
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_counted_in_two_processes_is_summed_up_in_a_third() -> None:
    processes = [Counts(), Counts()]
    for counts in processes:
        counts.add(metrics.CALLS, ROUTE, "200")
        counts.add(metrics.SOURCE_BYTES, amount=1000)
        counts.observe(metrics.CALL_SECONDS, 0.03, ROUTE)
        counts.observe(metrics.CALL_SECONDS, 99.0, ROUTE)
    total = Counts()
    for counts in processes:
        total.merge(json.loads(json.dumps(counts.taken())))
    samples = shown(total.so_far())
    assert samples[f"farm_http_answers_total route={ROUTE} status=200"] == 2
    assert samples["farm_source_bytes_total"] == 2000
    assert samples[f"farm_http_seconds_bucket le=0.025 route={ROUTE}"] == 0
    assert samples[f"farm_http_seconds_bucket le=0.05 route={ROUTE}"] == 2
    assert samples[f"farm_http_seconds_bucket le=+Inf route={ROUTE}"] == 4
    assert samples[f"farm_http_seconds_sum route={ROUTE}"] == 2 * 99.03


def test_what_was_handed_on_is_not_handed_on_again() -> None:
    counts = Counts()
    counts.add(metrics.TAKE_OVERS)
    assert counts.taken() == [["farm_take_overs_total", [], [1.0]]]
    assert counts.taken() == []


def test_threads_lose_no_count() -> None:
    counts = Counts()

    def count() -> None:
        for _ in range(2000):
            counts.add(metrics.TAKE_OVERS)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shown(counts.so_far())["farm_take_overs_total"] == 8000


def test_figures_of_another_version_are_left_out_and_the_others_kept() -> None:
    counts = Counts()
    counts.merge([["farm_of_tomorrow_total", [], [1.0]], ["farm_http_answers_total", ["only one"], [1.0]]])
    counts.merge([["farm_http_seconds", [ROUTE], [1.0]], ["farm_take_overs_total", [], [3.0]]])
    assert counts.so_far() == [["farm_take_overs_total", [], [3.0]]]


def test_a_counter_without_labels_begins_at_zero_so_that_its_first_event_is_a_rise() -> None:
    assert shown([])["farm_take_overs_total"] == 0
    assert "farm_take_overs_total" not in shown(None)


def test_a_value_of_a_bound_belongs_below_it() -> None:
    counts = Counts()
    counts.observe(metrics.CALL_SECONDS, 0.05, ROUTE)
    assert shown(counts.so_far())[f"farm_http_seconds_bucket le=0.05 route={ROUTE}"] == 1
