"""Which values the models of a run accept, found out before any load: by TensorFlow here, by requests elsewhere."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from raybench.clients import connect
from raybench.clients.base import Client, ClientError, UnsupportedReplyError
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.config import ECHO, Benchmark, ConfigError
from raybench.driver.endpoints import Endpoint, Signatures, starts_here
from raybench.driver.run_observer import RunObserver
from raybench.inputs.batch_axis import items_of_a_request, on_the_wire
from raybench.inputs.legal_values import Choices, Found, NoLegalValuesError, Values, legal_values
from raybench.inputs.source import InputSource
from raybench.inputs.tensors import Batch
from raybench.models.saved_models import Accepted, Signature
from raybench.models.trial_calls import NotTriedError, Refusal, TrialCalls, unfinite

_DEADLINE_S = 120.0  # of all calls of TensorFlow, its start included
_REQUEST_S = 30.0
_ITEMS = 2  # of a request, where a model takes any number
_LONGEST_REASON = 200
Call = Callable[[Batch], Refusal | None]


@dataclass(frozen=True)
class _Tried:
    """An endpoint whose values are tried, with what calls it."""

    signature: Signature
    call: Call


def accepted(
    benchmark: Benchmark,
    signatures: Signatures,
    source: InputSource,
    models_conf: Path,
    credentials: ConnectionCredentials,
    observer: RunObserver,
) -> Signatures:
    """The signatures with the values that their models accept, where raybench makes integers or strings for them.

    Raises ConfigError where a model refuses all that raybench knows to make. What cannot be tried is noted.
    """
    found = dict(signatures)
    with ExitStack() as stack:
        local = stack.enter_context(TrialCalls(models_conf, _DEADLINE_S))
        for endpoints in _groups(benchmark, signatures):
            choices = _choices(endpoints, signatures, source)
            if not choices:
                continue
            names = ", ".join(dict.fromkeys(each.model for each in endpoints))
            observer.step(f"trying values on {names}")
            with ExitStack() as clients:
                try:
                    tried = list(_tried(endpoints, signatures, local, benchmark, credentials, clients))
                    values = _search(endpoints[0], choices, tried, source, benchmark.seed)
                except (NotTriedError, ClientError) as error:
                    observer.note(f"made values could not be tried on {names} ({error})")
                    continue
            if values.refused:
                observer.note(f"{names} refused a wider range of values: {_short(values.refused)}")
            found |= {each: _with_values(signatures[each], values.values) for each in endpoints}
    return found


def _groups(benchmark: Benchmark, signatures: Signatures) -> Iterator[list[Endpoint]]:
    """Endpoints that are to be sent the same: those of a model and a signature; with --mix of all models."""

    def key(endpoint: Endpoint) -> tuple[str, str]:
        return (endpoint.signature, "" if benchmark.mix else endpoint.model)

    asked = [each for each in signatures if each.server.kind != "fake" and each.model != ECHO]
    return (list(group) for _, group in groupby(sorted(asked, key=key), key))


def _choices(endpoints: Sequence[Endpoint], signatures: Signatures, source: InputSource) -> Choices:
    """What to try; nothing where there is no choice that a model could refuse."""
    found: dict[str, tuple[Accepted, ...]] = {}
    for endpoint in endpoints:
        try:
            found |= source.alternatives(signatures[endpoint])
        except ConfigError as error:
            raise ConfigError(f"signature is {endpoint.signature}; of model {endpoint.model} {error}") from error
    is_risky = any(each[0].form or (each[0].high or 0) > 2 for each in found.values())
    return found if is_risky else {}


def _tried(
    endpoints: Sequence[Endpoint],
    signatures: Signatures,
    local: TrialCalls,
    benchmark: Benchmark,
    credentials: ConnectionCredentials,
    clients: ExitStack,
) -> Iterator[_Tried]:
    """TensorFlow once for each model of this host, and every endpoint by url."""
    seen = set[str]()
    for endpoint in endpoints:
        signature = signatures[endpoint]
        if not starts_here(endpoint):
            client = connect(
                endpoint.server,
                url=endpoint.server.control_url,
                model=endpoint.model,
                signature=endpoint.signature,
                models=benchmark.models,
                spec=signature,
                credentials=credentials,
            )
            yield _Tried(signature, _by_request(clients.enter_context(closing(client)), signature))
        elif endpoint.model not in seen:
            seen.add(endpoint.model)
            yield _Tried(signature, _by_tensorflow(local, endpoint, signature))


def _by_tensorflow(local: TrialCalls, endpoint: Endpoint, signature: Signature) -> Call:
    return lambda batch: local.refusal(endpoint.model, endpoint.signature, on_the_wire(batch, signature))


def _by_request(client: Client, signature: Signature) -> Call:
    def call(batch: Batch) -> Refusal | None:
        reply = client.send(client.encode(on_the_wire(batch, signature)), _REQUEST_S)
        if reply.status in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"):
            raise NotTriedError(f"{reply.status}: {reply.error}")
        if not reply.is_ok:
            return Refusal(reply.error or reply.status)
        try:
            sentence = unfinite(client.decode(reply))
        except UnsupportedReplyError:
            return None
        return Refusal(sentence, is_computed=True) if sentence else None

    return call


def _search(endpoint: Endpoint, choices: Choices, tried: Sequence[_Tried], source: InputSource, seed: int) -> Found:
    def refusal(values: Values) -> Refusal | None:
        for each in tried:
            for batch in _batches(each.signature, values, source, seed):
                if refused := each.call(batch):
                    return refused
        return None

    try:
        return legal_values(choices, refusal)
    except NoLegalValuesError as error:
        raise _refused(endpoint, choices, error) from error


def _batches(signature: Signature, values: Values, source: InputSource, seed: int) -> Iterator[Batch]:
    """Requests as a run sends them: the largest numbers, the smallest, and some between."""
    bound = source.bind(_with_values(signature, values), seed)
    drawn = bound.batch(np.arange(items_of_a_request(signature) or _ITEMS))
    ranges = {name: (each.low, each.high - 1) for name, each in values.items() if each.high is not None}
    for end in (1, 0) if ranges else ():
        yield {name: _filled(array, ranges[name][end]) if name in ranges else array for name, array in drawn.items()}
    yield drawn


def _filled(array: np.ndarray, value: float | None) -> np.ndarray:
    return np.full_like(array, int(value or 0))


def _with_values(signature: Signature, values: Mapping[str, Accepted]) -> Signature:
    inputs = {name: replace(spec, accepts=values.get(name)) for name, spec in signature.inputs.items()}
    return replace(signature, inputs=inputs)


def _refused(endpoint: Endpoint, choices: Choices, error: NoLegalValuesError) -> ConfigError:
    strings = [name for name, each in choices.items() if each[0].form]
    numbers = [name for name, each in choices.items() if not each[0].form]
    flags = [f"--range {numbers[0]}:LOW,HIGH"] if numbers else []
    flags += ["--string-data TEXT"] if strings else []
    return ConfigError(
        f"model is {endpoint.model}; its signature {endpoint.signature} refuses the values that raybench makes for "
        f"{', '.join(choices)} ({_short(error.first)}): give legal ones with {' or '.join(flags)}, or with --input"
    )


def _short(sentence: str) -> str:
    line = " ".join(sentence.split())
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 3]}..."
