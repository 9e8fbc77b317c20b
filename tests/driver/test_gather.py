"""What the driver keeps of the chunks that workers send."""

from helpers import sample

from raybench.driver.gather import Gathered
from raybench.results import samples


def test_chunks_are_put_together() -> None:
    """Every row is kept, in order of arrival, and few tables of many chunks: each as it came holds more memory."""
    gathered = Gathered()
    for n in range(250):
        gathered.add(samples.table([sample(n, n + 1, seq=n)]))
    assert samples.merge(gathered.tables)["seq"].to_pylist() == list(range(250))
    assert len(gathered.tables) == 2 + 50
    assert all(table["seq"].num_chunks == 1 for table in gathered.tables)
