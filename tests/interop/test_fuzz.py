"""Whatever a server sends, a call ends with a status, in time and in little memory."""

import fuzz


def test_mutated_answers_floods_and_bombs() -> None:
    """No bytes of a server make a call raise, exceed its deadline by much, or take much memory."""
    findings = fuzz.fuzz(cases=300, seed=1)
    assert findings.is_fine, str(findings)
