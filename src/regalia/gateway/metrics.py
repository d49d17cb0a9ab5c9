"""What the gateway counts, for Prometheus. No label holds a name, a key or a text."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The gateway's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "regalia_calls", "Calls by route and outcome.", ("route", "outcome"), registry=self.registry
        )
        self._seconds = Histogram(
            "regalia_call_seconds",
            "From admission to the durable outcome.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._tokens = Counter(
            "regalia_tokens", "Tokens by route and direction.", ("route", "direction"), registry=self.registry
        )
        self.open_calls = Gauge("regalia_open_calls", "Calls under way.", registry=self.registry)
        self.log_size = Gauge("regalia_log_entries", "Entries in the log.", registry=self.registry)
        self.log_available = Gauge(
            "regalia_log_available",
            "1 while the log records, 0 while calls are refused.",
            registry=self.registry,
        )
        self.engines_ready = Gauge(
            "regalia_engines_ready", "Engines that take calls.", registry=self.registry
        )
        self.audit_events_waiting = Gauge(
            "regalia_audit_events_waiting",
            "Published records that are not yet delivered as audit events.",
            registry=self.registry,
        )
        self.audit_export_failures = Gauge(
            "regalia_audit_export_failures",
            "How often in a row the delivery of audit events has failed; 0 while it works.",
            registry=self.registry,
        )
        self._decisions = Counter(
            "regalia_policy_decisions",
            "What the rails of policies did with requests and answers that were recorded.",
            ("rail_kind", "action", "mode"),
            registry=self.registry,
        )
        self._decided: dict[tuple[str, str, str], Counter] = {}
        self._ended: dict[tuple[str, str], Counter] = {}
        self._lasted: dict[str, Histogram] = {}
        self._counted: dict[tuple[str, str], Counter] = {}

    def ended(self, route: str, outcome: str, seconds: float, tokens_in: int, tokens_out: int) -> None:
        """Count one call that ended."""
        calls = self._ended.get((route, outcome))
        if calls is None:  # looking a labelled child up costs more than counting it
            calls = self._ended[route, outcome] = self._calls.labels(route, outcome)
            self._lasted[route] = self._seconds.labels(route)
            self._counted[route, "in"] = self._tokens.labels(route, "input")
            self._counted[route, "out"] = self._tokens.labels(route, "output")
        calls.inc()
        self._lasted[route].observe(seconds)
        self._counted[route, "in"].inc(tokens_in)
        self._counted[route, "out"].inc(tokens_out)

    def decided(self, kind: str, action: str, mode: str) -> None:
        """Count what one rail did with one call; `kind` is its detector, "condition" where it has none."""
        known = self._decided.get((kind, action, mode))
        if known is None:
            known = self._decided[kind, action, mode] = self._decisions.labels(kind, action, mode)
        known.inc()
