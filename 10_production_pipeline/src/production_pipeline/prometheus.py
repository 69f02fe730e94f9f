"""A pipeline's counts for Prometheus. prometheus-client is imported when one of these is used, and not before.

prometheus_client.REGISTRY.register(PrometheusCollector(pipeline, "ingest"))     # served as your program serves its own
print(prometheus_text(pipeline, "ingest"))                                       # the text itself
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .failures import optional

BOUNDS = (1e-6, 1e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)
"""Upper bounds of the exported buckets, in seconds."""


class PrometheusCollector:
    """All runs of a pipeline, those that go on included, as metrics with the labels ``pipeline`` and ``stage``.

    Parameters
    ----------
    pipeline : Pipeline
    name : str
        The label ``pipeline``.
    prefix : str
        What the metrics' names begin with.
    """

    def __init__(self, pipeline: Any, name: str = "pipeline", prefix: str = "pipeline") -> None:
        if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", prefix):
            raise ValueError(f"prefix must be letters, digits and underscores, not {prefix!r}")
        self._core = optional("prometheus_client.core", "prometheus-client", "PrometheusCollector")
        self._pipeline, self._name, self._prefix = pipeline, name, prefix

    def describe(self) -> list:
        """Nothing: registering does not collect."""
        return []

    def collect(self) -> Iterator[Any]:
        """What Prometheus asks for."""
        stages, states, running, read, out = self._pipeline._totals.snapshot()
        counter, gauge = self._core.CounterMetricFamily, self._core.GaugeMetricFamily
        whole, each = ["pipeline"], ["pipeline", "stage"]

        def family(kind: Any, name: str, text: str, labels: list[str]) -> Any:
            return kind(f"{self._prefix}_{name}", text, labels=labels)

        runs = family(counter, "runs", "Runs that ended, by how.", [*whole, "state"])
        for state, count in states.items():
            runs.add_metric([self._name, state], count)
        yield runs
        for kind, name, text, value in (
            (gauge, "runs_active", "Runs that go on.", running),
            (counter, "items_read", "Items taken from sources.", read),
            (counter, "items_delivered", "Items that came out.", out),
        ):
            metric = family(kind, name, text, whole)
            metric.add_metric([self._name], value)
            yield metric
        for kind, name, text, field in (
            (counter, "stage_items_in", "Items that the stage is done with.", "items_in"),
            (counter, "stage_items_out", "Items that came out of the stage.", "items_out"),
            (counter, "stage_items_filtered", "Items that the stage dropped.", "filtered"),
            (counter, "stage_items_failed", "Items that failed in the stage.", "failed"),
            (counter, "stage_retries", "Calls that were repeated.", "retries"),
            (counter, "stage_busy_seconds", "Seconds spent in the stage, by all workers.", "busy_s"),
            (gauge, "stage_queue_depth", "Items handed to the stage that it is not done with.", "queue_depth"),
        ):
            metric = family(kind, name, text, each)
            for stage in stages:
                metric.add_metric([self._name, stage.name], getattr(stage, field))
            yield metric
        latency = family(self._core.HistogramMetricFamily, "stage_latency_seconds", "Seconds per item in the stage.", each)
        for stage in stages:
            counts, total = stage.latency.buckets(), stage.latency.count
            buckets = [(f"{bound:g}", sum(n for upper, n in counts if upper <= bound)) for bound in BOUNDS]
            latency.add_metric([self._name, stage.name], [*buckets, ("+Inf", total)], stage.latency.sum_s)
        yield latency


def prometheus_text(pipeline: Any, name: str = "pipeline", prefix: str = "pipeline") -> str:
    """The metrics of a pipeline in Prometheus' text format.

    Parameters
    ----------
    pipeline : Pipeline
    name, prefix : str
        As for PrometheusCollector.

    Returns
    -------
    str
    """
    client = optional("prometheus_client", "prometheus-client", "prometheus_text")
    registry = client.CollectorRegistry()
    registry.register(PrometheusCollector(pipeline, name, prefix))
    return client.generate_latest(registry).decode()
