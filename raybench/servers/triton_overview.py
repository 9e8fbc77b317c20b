"""What a Triton that raybench started serves, as it and its backend report."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from raybench.config import ECHO, MULTI, SAVED_MODEL
from raybench.servers.server_process import ServerError, ServerProcess
from raybench.servers.start_times import covered_s

ASK_S = 30.0
_READY = "READY"
_AT = re.compile(r"\n\nAt:.*", re.DOTALL)  # where in the backend's Python it was raised
_KIND = re.compile(r"^(Internal: )?((\w+)Error: )?")


@dataclass(frozen=True)
class Overview:
    """What the backend serves, and, by model or model/signature, why it does not serve or does not merge others."""

    models: list[str] = field(default_factory=list)
    unservable: dict[str, str] = field(default_factory=dict)
    unmerged: dict[str, str] = field(default_factory=dict)
    signatures: dict[str, Any] = field(default_factory=dict)
    warm_ups: list[list[float]] = field(default_factory=list)  # begin and end, s of the host's monotonic clock


def overview(asking: triton_grpc.InferenceServerClient, layout: str) -> Overview:
    """What is served of all models; raises ServerError where Triton does not say."""
    if layout == MULTI:
        return _ask_backend(asking, SAVED_MODEL)
    reported, refused = _ask_backend(asking, ECHO), _refused(asking)
    found = [name for name in reported.models if name not in refused]
    mine = {
        part: {name: it for name, it in getattr(reported, part).items() if name.partition("/")[0] in found}
        for part in ("unservable", "unmerged", "signatures")
    }
    return Overview(found, {**refused, **mine["unservable"]}, mine["unmerged"], mine["signatures"], reported.warm_ups)


def warm_up_s(asking: triton_grpc.InferenceServerClient, layout: str) -> float | None:
    """The time in which any of the models made its warm-up calls; None where the backend does not say."""
    try:
        spans = overview(asking, layout).warm_ups
    except (ServerError, TypeError):  # another model.py than the shipped one
        return None
    return covered_s(spans) if spans else None


def states(asking: triton_grpc.InferenceServerClient) -> Mapping[str, str | None]:
    """By name of each Triton model None where a version of it is ready, else why none is."""
    found: dict[str, str | None] = {}
    for each in asking.get_model_repository_index(client_timeout=ASK_S).models:
        reason = None if each.state == _READY else readable(each.reason) or each.state or "it is not loaded"
        found[each.name] = None if None in (reason, found.get(each.name, "")) else reason
    return found


def readable(reason: str) -> str:
    """What the backend raised, without where, as Triton passes it on."""
    return " ".join(_KIND.sub("", _AT.sub("", reason.replace("\\n", "\n"))).split())


def self_check(client: triton_grpc.InferenceServerClient, process: ServerProcess) -> str:
    """Send known data both ways, compare, and return Triton's version.

    numpy 2 in the stub's environment garbles tensors without an error. Raises ServerError where what comes back is not
    what was sent.
    """
    known = np.random.default_rng(0).integers(0, 256, (1, 315), np.uint8)
    sent = triton_grpc.InferInput("known", known.shape, "UINT8").set_data_from_numpy(known)
    wanted = [triton_grpc.InferRequestedOutput("checksum")]
    try:
        answer = client.infer(ECHO, [sent], outputs=wanted, client_timeout=30)
        server_version = str(client.get_server_metadata(client_timeout=10).version)
    except InferenceServerException as error:
        raise ServerError(f"Triton did not pass its self-check: {error.message()}; {process.tail()}") from error
    weights = np.arange(1, known.size + 1, dtype=np.int64)
    expected, came = int((known.reshape(-1) * weights).sum()), int(answer.as_numpy("checksum")[0])
    if came != expected:
        raise ServerError(
            f"Triton's self-check sent the checksum {expected} and got {came}: data is corrupted between Triton and "
            f"its python backend; check that its Python environment has numpy<2\n{process.tail()}"
        )
    return server_version


def _ask_backend(asking: triton_grpc.InferenceServerClient, triton_model: str) -> Overview:
    all_models = triton_grpc.InferInput("model_name", [1, 1], "BYTES")
    all_models.set_data_from_numpy(np.array([[b""]], object))
    wanted = [triton_grpc.InferRequestedOutput("about")]
    try:
        answer = asking.infer(triton_model, [all_models], outputs=wanted, client_timeout=ASK_S)
    except InferenceServerException as error:
        raise ServerError(f"Triton does not say what it serves: {error.message()}") from error
    return Overview(**json.loads(answer.as_numpy("about")[0]))


def _refused(asking: triton_grpc.InferenceServerClient) -> dict[str, str]:
    return {name: reason for name, reason in states(asking).items() if reason is not None}
