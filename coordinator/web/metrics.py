"""Metrics in the format that Prometheus scrapes.

Owns the names. Every number is a counter that the service keeps anyway, read when it is scraped,
or a bounded query of the store; nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from coordinator.assembly import Coordinator
from coordinator.core.model import EffectKind
from coordinator.health import PARTITIONS_COUNTED, Lags, partitions_by_status
from coordinator.service.engine import Committed

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

COUNT_EVERY_SECONDS = 60.0
"""How old the numbers may be where each counted partition is billed as a read."""
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STORE_COUNTERS = {
    "commits": "Commits that wrote something.",
    "transactions": "Transactions decided, also those that wrote nothing.",
    "cache_hits": "Documents that transactions found decoded.",
    "cache_misses": "Documents that transactions looked for in the file.",
}


class Metrics:
    """The numbers of one application."""

    def __init__(self, application: Coordinator) -> None:
        self._application = application
        self._registry = CollectorRegistry(auto_describe=False)
        self._durations = Histogram(
            "coordinator_http_request_duration_seconds",
            "Time from the first byte of a request to the end of its answer.",
            ("method", "route", "status"),
            registry=self._registry,
            buckets=_BUCKETS,
        )
        self._children: dict[tuple[str, str, int], Histogram] = {}
        shared = application.engine.store.profile.shared
        self._count_every = COUNT_EVERY_SECONDS if shared else 0.0
        self._count_again_at = float("-inf")
        self._counters = _Counters(application)
        self._registry.register(self._counters)
        application.engine.listen(self._counters.committed)

    def http(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note one request. ``route`` is the path's template, so labels stay few."""
        key = (method if method in _METHODS else "other", route, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._durations.labels(key[0], route, str(status))
        child.observe(seconds)

    async def text(self, lags: Lags) -> bytes:
        """The page. Raises ``Unavailable``."""
        now = self._application.clock.monotonic()
        if now >= self._count_again_at:
            self._counters.partitions = await partitions_by_status(self._application)
            self._count_again_at = now + self._count_every
        self._counters.lags = lags
        return generate_latest(self._registry)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Counters(Collector):
    """Reads the service's own counters at each scrape."""

    def __init__(self, application: Coordinator) -> None:
        self._application = application
        self._moves: dict[tuple[str, str], int] = {}
        self._fired: dict[str, int] = {}
        self.partitions: dict[str, int] = {}
        self.lags = Lags()

    def committed(self, committed: Sequence[Committed]) -> None:
        """Count what has become durable."""
        for c in committed:
            after = c.decision.partition.status.value
            before = c.before.status.value if c.before is not None else "new"
            if before != after:
                self._moves[before, after] = self._moves.get((before, after), 0) + 1
            if c.decision.fired is not None:
                trigger = c.decision.fired.trigger.value
                self._fired[trigger] = self._fired.get(trigger, 0) + 1

    def collect(self) -> Iterable[Metric]:
        app = self._application
        events = CounterMetricFamily(
            "coordinator_events", "Events by table and outcome.", labels=("table", "outcome")
        )
        for (table, outcome), count in sorted(app.ingest.counts.items()):
            events.add_metric((table, outcome), count)
        yield events
        yield GaugeMetricFamily(
            "coordinator_events_waiting",
            "Events that wait for the store.",
            value=app.ingest.waiting,
        )
        yield CounterMetricFamily(
            "coordinator_events_turned_away",
            "Events answered 503 because too many waited for the store.",
            value=app.ingest.turned_away,
        )
        deliveries = CounterMetricFamily(
            "coordinator_deliveries", "Deliveries by effect and result.", labels=("kind", "result")
        )
        for (kind, result), count in sorted(app.relay.deliveries.items()):
            deliveries.add_metric((kind, result), count)
        yield deliveries
        moves = CounterMetricFamily(
            "coordinator_partition_transitions",
            "Changes of a partition's status.",
            labels=("before", "after"),
        )
        for (before, after), count in sorted(self._moves.items()):
            moves.add_metric((before, after), count)
        yield moves
        fired = CounterMetricFamily(
            "coordinator_generations_fired", "Generations fired, by trigger.", labels=("trigger",)
        )
        for trigger, count in sorted(self._fired.items()):
            fired.add_metric((trigger,), count)
        yield fired
        partitions = GaugeMetricFamily(
            "coordinator_partitions",
            f"Partitions of the registry's processors by status now; {PARTITIONS_COUNTED} means "
            "that many or more.",
            labels=("status",),
        )
        for status, count in self.partitions.items():
            partitions.add_metric((status,), count)
        yield partitions
        yield from self._lags()
        yield from self._lanes()
        yield from self._workers()
        yield from self._store()

    def _lags(self) -> Iterable[Metric]:
        lags = self.lags
        yield GaugeMetricFamily(
            "coordinator_outbox_lag_seconds",
            "How long the oldest due effect has been waiting for its delivery.",
            value=lags.outbox_seconds,
        )
        yield GaugeMetricFamily(
            "coordinator_sweep_lag_seconds",
            "How long the partition that is due longest has been waiting for a sweep.",
            value=lags.sweep_seconds,
        )
        if lags.sweep_age_seconds is not None:
            yield GaugeMetricFamily(
                "coordinator_sweep_age_seconds",
                "Time since this process last swept.",
                value=lags.sweep_age_seconds,
            )
        yield CounterMetricFamily(
            "coordinator_sweep_limit_reached",
            "Sweeps that stopped at their limit.",
            value=self._application.sweeper.limit_reached,
        )

    def _lanes(self) -> Iterable[Metric]:
        """What waits for each receiver, and which of them fails."""
        labels = ("kind", "receiver")
        waiting = GaugeMetricFamily(
            "coordinator_deliveries_waiting",
            "Effects that are due and wait for their turn at a receiver.",
            labels=labels,
        )
        active = GaugeMetricFamily(
            "coordinator_deliveries_active", "Deliveries on their way.", labels=labels
        )
        failing = GaugeMetricFamily(
            "coordinator_deliveries_failing",
            "Deliveries to a receiver that failed since the last that did not.",
            labels=labels,
        )
        dropped = CounterMetricFamily(
            "coordinator_notices_dropped",
            "Notices of no partition that were given up: too many waited, or every try failed.",
            labels=("receiver",),
        )
        for lane in self._application.relay.lanes:
            name = (lane.name.kind.value, lane.name.receiver)
            waiting.add_metric(name, len(lane.waiting))
            active.add_metric(name, lane.busy)
            failing.add_metric(name, lane.failures)
            if lane.name.kind is EffectKind.NOTIFY:
                dropped.add_metric((lane.name.receiver,), lane.dropped)
        yield from (waiting, active, failing, dropped)

    def _workers(self) -> Iterable[Metric]:
        """The pool of local workers, where this process has one."""
        pool = self._application.local_pool
        if pool is None:
            return
        yield GaugeMetricFamily(
            "coordinator_workers", "Local runs that may execute at a time.", value=pool.workers
        )
        yield GaugeMetricFamily(
            "coordinator_workers_busy", "Local runs that execute now.", value=pool.busy
        )
        yield GaugeMetricFamily(
            "coordinator_workers_waiting", "Launches that wait for a worker.", value=pool.waiting
        )
        replaced = CounterMetricFamily(
            "coordinator_workers_replaced",
            "Worker processes replaced, by why: exited, killed, interrupted, threads.",
            labels=("reason",),
        )
        for reason, count in sorted(pool.replaced.items()):
            replaced.add_metric((reason,), count)
        yield replaced

    def _store(self) -> Iterable[Metric]:
        """The counters that the store in use keeps, and those of the commits to it."""
        store, commits = self._application.engine.store, self._application.engine.commits
        for name, words in _STORE_COUNTERS.items():
            value = getattr(store, name, None)
            if isinstance(value, int):
                yield CounterMetricFamily(f"coordinator_store_{name}", words, value=value)
        for name, words, value in (
            ("failed_commits", "Commits whose callers got an error.", commits.failed_commits),
            ("retries", "Commits that were attempted again.", commits.retries),
        ):
            yield CounterMetricFamily(f"coordinator_store_{name}", words, value=value)
        yield GaugeMetricFamily(
            "coordinator_store_waiting",
            "Work whose commit has not begun.",
            value=commits.waiting + int(getattr(store, "waiting", 0)),
        )
