"""Durations count as a histogram of Prometheus does."""

from __future__ import annotations

import random

from raft_exchange.metrics import APPLY_BUCKETS_S, Durations


def test_each_bucket_counts_what_was_not_longer() -> None:
    rng = random.Random(7)
    seen = [rng.choice([rng.uniform(0, 2), *APPLY_BUCKETS_S]) for _ in range(500)]
    durations = Durations(APPLY_BUCKETS_S)
    for duration_s in seen:
        durations.observe(duration_s)
    for bound, count in durations.buckets():
        assert count == sum(1 for duration_s in seen if duration_s <= float(bound))
    assert abs(durations.sum_s - sum(seen)) < 1e-9


def test_nothing_seen_is_all_zeros_up_to_infinity() -> None:
    bounds = [*map(float, APPLY_BUCKETS_S), float("inf")]
    assert [(float(bound), n) for bound, n in Durations(APPLY_BUCKETS_S).buckets()] == [
        (bound, 0) for bound in bounds
    ]
    assert APPLY_BUCKETS_S[0] == 1e-5
