"""A reload of a running TensorFlow Serving, and what it reports to serve afterwards.

It applies a config before it waits, waits only for models with new names, and loads only new version numbers
(tensorflow_serving: model_servers/server_core.cc, core/aspired_versions_manager.cc): that it answers OK says little.
"""

import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

from raybench.clients import tfserving_client
from raybench.clients.grpc.channel import CallError, Channel
from raybench.models.model_facts import fingerprint
from raybench.models.saved_models import ModelConfig, serialize_models_conf
from raybench.servers.model_server import ModelServer
from raybench.servers.server_process import ServerError
from raybench.servers.started_server import OLD_SERVE

_RELOAD_S = 300.0
_POLL_S = 0.2
_SETTLE_S = 3.0  # for this long a failure may be that of an earlier load

_Id = tuple[str, int]  # name and version
_States = Mapping[str, Mapping[int, Any]]


class LoadedVersions:
    """The versions that a TensorFlow Serving has loaded, and what lay in their folders when it did."""

    def __init__(self, server: ModelServer, models: Iterable[ModelConfig]) -> None:
        self._server, self._loaded = server, _fingerprints(models)
        self._mounted = {model.base_path for model in models}  # what a container sees, as long as it runs

    def reload(self, url: str, models: tuple[ModelConfig, ...]) -> None:
        """Have it serve these models alone.

        Raises ServerError, one sentence, with what did not come about and what is served.
        """
        self._check_mounts(models)
        found, names = _fingerprints(models), {name for name, _ in self._loaded} | {model.name for model in models}
        began_s = time.monotonic()
        with closing(Channel(url)) as channel:
            before = _states(channel, names)
            refusal = self._ask(channel, models)
            after = _settled(channel, names, found.keys(), began_s=began_s, is_applied=refusal is None)
        kept = {id_ for id_ in self._loaded if _is_available(before, id_)}
        problems = [_missing(id_, after) for id_ in found if not _is_available(after, id_)]
        if refusal and not any(tfserving_client.failure(_state(after, id_)) for id_ in found):
            problems = [f"TF Serving refuses the models: {refusal}"]
        problems += [_replaced(id_) for id_ in found if id_ in kept and self._loaded[id_] != found[id_]]
        there = {id_ for id_ in (*found, *self._loaded) if _is_available(after, id_)}
        self._loaded = {id_: found[id_] if id_ in found and id_ not in kept else self._loaded[id_] for id_ in there}
        if problems:
            raise ServerError(f"{'; '.join(problems)}; {_serving(there)}")

    def _check_mounts(self, models: tuple[ModelConfig, ...]) -> None:
        unseen = [model for model in models if model.base_path not in self._mounted]
        if self._server.container and unseen:
            raise ServerError(
                f"the container of TF Serving cannot see {unseen[0].base_path}, the folder of model {unseen[0].name}: "
                f"start it again; {OLD_SERVE}"
            )

    def _ask(self, channel: Channel, models: tuple[ModelConfig, ...]) -> str | None:
        """Why it refused, or cannot load a model with a new name; None where it did not, or is still loading one."""
        config = serialize_models_conf(self._server.with_server_paths(models))
        try:
            tfserving_client.reload(channel, config, _RELOAD_S)
        except CallError as error:
            return None if error.status == "DEADLINE_EXCEEDED" else f"{error.status}: {error.said}"
        return None


def _fingerprints(models: Iterable[ModelConfig]) -> dict[_Id, str]:
    return {
        (model.name, version): fingerprint(model.version_folder(version))
        for model in models
        for version in model.specific
    }


def _states(channel: Channel, names: Iterable[str]) -> _States:
    """The versions of each model that it knows; raises ServerError where it does not say."""
    found = {}
    for name in names:
        try:
            found[name] = tfserving_client.states(channel, name)
        except CallError as error:
            if error.status != "NOT_FOUND":
                raise ServerError(
                    f"TF Serving does not say what it serves ({error.status}: {error.said}): look at its log"
                ) from error
            found[name] = {}
    return found


def _settled(channel: Channel, names: set[str], wanted: Iterable[_Id], *, began_s: float, is_applied: bool) -> _States:
    """The states as soon as every version that is wanted is available, or has failed; at the latest after RELOAD_S.

    Where it refused the models, the wanted may never come: then those that it loads are waited for.
    """
    while True:
        states, passed_s = _states(channel, names), time.monotonic() - began_s
        pending = [id_ for id_ in wanted if not _is_available(states, id_)]
        coming = [id_ for id_ in pending if is_applied or tfserving_client.is_coming(_state(states, id_))]
        failed = [id_ for id_ in coming if tfserving_client.failure(_state(states, id_))]
        is_over = len(coming) == len(failed) and (not pending or passed_s > _SETTLE_S)
        if is_over or passed_s > _RELOAD_S:
            return states
        time.sleep(_POLL_S)


def _state(states: _States, id_: _Id) -> Any:
    return states.get(id_[0], {}).get(id_[1])


def _is_available(states: _States, id_: _Id) -> bool:
    return tfserving_client.is_version_available(_state(states, id_))


def _missing(id_: _Id, after: _States) -> str:
    """Why a version that is wanted does not serve."""
    name, version = id_
    if said := tfserving_client.failure(_state(after, id_)):
        return f"TF Serving cannot load version {version} of {name} ({said}), and will not try this number again"
    return f"TF Serving has not loaded version {version} of {name} within {_RELOAD_S:.0f} s, and may yet"


def _replaced(id_: _Id) -> str:
    name, version = id_
    return (
        f"the files of version {version} of {name} changed, but TF Serving loads only new version numbers: "
        f"it answers as before; export the model as version {version + 1}"
    )


def _serving(there: set[_Id]) -> str:
    names = sorted({name for name, _ in there})
    listed = [f"{name} ({', '.join(str(n) for of, n in sorted(there) if of == name)})" for name in names]
    return f"it serves {', '.join(listed)} now" if listed else "it serves no model now"
