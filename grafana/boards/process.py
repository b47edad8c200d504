"""The dashboard Process."""

from __future__ import annotations

from typing import Final

from grafana.panels import Board, Panel, Query, each, one, quantiles, totals

_POD: Final = '{container="node",pod=~"$pod"}'

PROCESS: Final = Board(
    "raft-exchange-process",
    "Raft Exchange / Process and Kubernetes",
    "What the nodes use of their machines.",
    (
        Panel(
            "CPU",
            "Cores used",
            "none",
            one("rate(process_cpu_seconds_total{$S}[$__rate_interval])", "{{instance}}"),
        ),
        Panel(
            "Memory",
            "Resident and virtual",
            "bytes",
            (
                Query("process_resident_memory_bytes{$S}", "{{instance}} resident"),
                Query("process_virtual_memory_bytes{$S}", "{{instance}} virtual"),
            ),
        ),
        Panel(
            "Descriptors",
            "Open, of those allowed",
            "percentunit",
            one("process_open_fds{$S} / process_max_fds{$S}", "{{instance}}"),
            "timeseries",
            0.8,
        ),
        Panel(
            "Loop lag", "How late the loop ran its timers", "s", quantiles("loop_lag"), warn_at=0.1
        ),
        Panel(
            "Ticks",
            "Of the Raft group, and those of them that took 50 ms or longer",
            "ops",
            totals(
                ("raft_ticks_total", "{{instance}} all"), ("cycles_slow_total", "{{instance}} slow")
            ),
        ),
        Panel(
            "Longest tick",
            "Of the last minute or two",
            "s",
            each("cycle_longest_seconds", legend="{{instance}}"),
            warn_at=0.5,
        ),
        Panel("Tick", "What one took, all in all", "s", quantiles("cycle_duration")),
        Panel(
            "Bounds that refuse",
            "How much of each is used: when it is full, what comes is refused or cut off",
            "percentunit",
            one(
                'max by (bound) (raft_exchange_bound_use_ratio{$S,when_full="refuses"})',
                "{{bound}}",
            ),
            warn_at=0.8,
        ),
        Panel(
            "Bounds that forget or wait",
            "When it is full the oldest makes room, or what comes waits: some always are",
            "percentunit",
            one(
                'max by (bound) (raft_exchange_bound_use_ratio{$S,when_full!="refuses"})',
                "{{bound}}",
            ),
        ),
        Panel(
            "Disk",
            "Free, and kept free of new orders",
            "bytes",
            each("disk_free_bytes", "disk_reserve_bytes"),
        ),
        Panel(
            "Read-only",
            "1 while the disk's reserve is touched",
            "bool",
            each("read_only", legend="{{instance}}"),
            warn_at=1,
        ),
        Panel(
            "Uptime",
            "Since the process started",
            "s",
            one("time() - process_start_time_seconds{$S}", "{{instance}}"),
        ),
        Panel(
            "Version",
            "What runs where",
            "none",
            each("build_info", legend="{{instance}} {{version}} Python {{python}}"),
        ),
        Panel(
            "Collections",
            "Of Python's cycle collector",
            "ops",
            one(
                "sum by (generation) (rate(python_gc_collections_total{$S}[$__rate_interval]))",
                "{{generation}}",
            ),
        ),
        Panel("Collection pauses", "How long one held up the process", "s", quantiles("gc_pause")),
        Panel(
            "CPU throttling",
            "Share of periods in which the pod was held back (cAdvisor)",
            "percentunit",
            one(
                f"rate(container_cpu_cfs_throttled_periods_total{_POD}[$__rate_interval])"
                f" / rate(container_cpu_cfs_periods_total{_POD}[$__rate_interval])",
                "{{pod}}",
            ),
        ),
        Panel(
            "Volume",
            "Free share of the claims (kubelet)",
            "percentunit",
            one(
                'kubelet_volume_stats_available_bytes{persistentvolumeclaim=~".*$pod"}'
                ' / kubelet_volume_stats_capacity_bytes{persistentvolumeclaim=~".*$pod"}',
                "{{persistentvolumeclaim}}",
            ),
        ),
        Panel(
            "Restarts",
            "Of the pods' containers (kube-state-metrics)",
            "none",
            one(
                'increase(kube_pod_container_status_restarts_total{container="node",pod=~"$pod"}[1h])',
                "{{pod}}",
            ),
        ),
    ),
)
