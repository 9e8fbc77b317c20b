"""Whole searches of simulated servers, in virtual time, against queueing theory."""

import pytest
from virtual_search import Server, goal_of, rate_in_theory, searched


@pytest.mark.parametrize(
    ("server", "percentile", "limit_ms"),
    [
        (Server("constant", 0.02, 1), "p50", 40),
        (Server("constant", 0.02, 1), "p90", 100),
        (Server("exponential", 0.02, 4), "p99", 200),
        (Server("constant", 0.02, 1), "p90", 2000),
    ],
)
def test_a_search_finds_the_rate_of_theory(server: Server, percentile: str, limit_ms: float) -> None:
    """What is certified is within 10 % of what queueing theory gives, and never more than the server can do."""
    theory = rate_in_theory(server, percentile, limit_ms / 1e3)
    found = searched(goal_of(percentile, limit_ms, 0.3 * server.capacity_rps, 4 * server.capacity_rps), server, seed=1)
    assert found.is_over
    assert found.feasible_max is not None
    assert found.feasible_max <= server.capacity_rps
    assert found.feasible_max == pytest.approx(theory, rel=0.1)


@pytest.mark.parametrize(
    ("server", "percentile", "limit_s", "share"),
    [
        (Server("exponential", 1.0, 1), "p90", 10.0, 0.76974),  # 1 - ln(10) / 10
        (Server("exponential", 1.0, 1), "p50", 1.0, 0.30685),  # 1 - ln(2)
        (Server("constant", 1.0, 1), "p50", 1.0, 0.5),  # P(no wait) = 1 - load
    ],
)
def test_theory_is_the_textbooks(server: Server, percentile: str, limit_s: float, share: float) -> None:
    """The formulas that searches are held against give what can be worked out by hand."""
    assert rate_in_theory(server, percentile, limit_s) == pytest.approx(share, rel=1e-3)
