"""What all trials of a run share."""

from dataclasses import dataclass
from pathlib import Path

from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.config import Benchmark
from raybench.driver.cluster import Cluster
from raybench.driver.input_shards import InputShards
from raybench.driver.placement import Placement
from raybench.driver.recorders import Recorders
from raybench.driver.run_observer import RunObserver
from raybench.models.reference import Reference


@dataclass(frozen=True)
class Session:
    """A connected Ray with everything that trials share, before there is a results folder."""

    benchmark: Benchmark
    observer: RunObserver
    cluster: Cluster
    placement: Placement
    recorders: Recorders
    inputs: InputShards
    models_conf: Path
    reference: Reference
    credentials: ConnectionCredentials


@dataclass(frozen=True)
class RunContext:
    """A session and the results folder that its trials go to."""

    session: Session
    folder: Path

    @property
    def benchmark(self) -> Benchmark:
        return self.session.benchmark

    @property
    def observer(self) -> RunObserver:
        return self.session.observer
