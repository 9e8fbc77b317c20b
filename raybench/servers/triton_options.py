"""What a Triton that we start is asked to serve, and how."""

from dataclasses import dataclass
from pathlib import Path

from raybench.config import MULTI
from raybench.config.server_settings import OWN_CHOICE, ServerSettings
from raybench.servers.warm_up import WarmUp

MERGE_RULES = "merge.conf"  # triton_models/saved_model/1/merging.py reads it beside models.conf


@dataclass(frozen=True)
class TritonOptions:
    """What to load and how: models of a models.conf (None: all; none: `echo` alone), instances, calls to make before it
    is ready, and the knobs of the backend and of its TensorFlow.

    Models are one Triton model together or one each, by `layout`; `backend` is a model.py to serve `saved_model` in
    place of the shipped one. With `does_nothing` none is loaded: as many instances of `echo` take what the models take,
    each request by itself, and no GPU. With `keeps_gpu_inputs` inputs stay on GPU 0 that a client has put there.
    """

    models_conf: Path
    models: tuple[str, ...] | None = None
    instances: int = 1
    warm_up: tuple[WarmUp, ...] = ()
    settings: ServerSettings = OWN_CHOICE
    backend: Path | None = None
    bind: str = "127.0.0.1"
    grpc_port: int = 0
    layout: str = MULTI
    does_nothing: bool = False
    keeps_gpu_inputs: bool = False

    @property
    def gpu_inputs(self) -> dict[str, str]:
        """The parameter of Triton's python backend without which every input is copied to the host."""
        return {"FORCE_CPU_ONLY_INPUT_TENSORS": "no"} if self.keeps_gpu_inputs else {}
