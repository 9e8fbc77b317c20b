"""The images of a run: made once, dealt to workers, and made anew where a node that held some of them is lost."""

from raybench.config import IMAGE_PX, Benchmark, ConfigError
from raybench.driver import memory_budget, node_liveness
from raybench.driver.trial import Shards
from raybench.inputs import dataset


class Pictures:
    """The images of a benchmark; the same ones whenever they are made.

    Raises ConfigError where there are none, and LostError where no node is left that could make them.
    """

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        self.remake()

    @property
    def unreadable(self) -> tuple[str, ...]:
        """The files that could not be read."""
        return self._images.unreadable

    def dealt(self, workers: int) -> Shards:
        """A shard for each of so many workers."""
        if workers not in self._shards:
            self._shards[workers] = node_liveness.while_there_are_cpus(lambda: dataset.shards(self._images, workers))
        return self._shards[workers]

    def are_whole(self) -> bool:
        """Whether every node is there that was when they were made."""
        return self._nodes <= node_liveness.alive()

    def remake(self) -> None:
        """Read them, and deal them when they are asked for.

        Ray would make lost ones again by itself, but only with a free CPU, and workers that wait for them may hold all.
        """
        self._shards: dict[int, Shards] = {}
        count, source = memory_budget.image_count(self._benchmark), self._benchmark.images
        try:
            self._images = node_liveness.while_there_are_cpus(
                lambda: dataset.load(source, count, size_px=IMAGE_PX, seed=self._benchmark.seed)
            )
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self._nodes = node_liveness.alive()
