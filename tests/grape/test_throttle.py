"""How much of one source a grape listens to."""

from grape.throttle import SOURCES_MAX, Throttle


def test_a_source_gets_its_burst_and_then_its_rate() -> None:
    throttle = Throttle(rate_per_s=10.0)
    assert sum(throttle.allows("a", now_s=0.0) for _ in range(50)) == 10
    assert sum(throttle.allows("a", now_s=0.5) for _ in range(50)) == 5
    assert sum(throttle.allows("a", now_s=100.0) for _ in range(50)) == 10


def test_one_source_takes_nothing_from_another() -> None:
    throttle = Throttle(rate_per_s=10.0)
    for _ in range(50):
        throttle.allows("a", now_s=0.0)
    assert throttle.allows("b", now_s=0.0)


def test_the_number_of_sources_remembered_is_bounded() -> None:
    throttle = Throttle(rate_per_s=10.0)
    for i in range(SOURCES_MAX + 100):
        throttle.allows(str(i), now_s=0.0)
    assert len(throttle) == SOURCES_MAX
