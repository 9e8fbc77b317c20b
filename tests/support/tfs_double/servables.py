"""What is served: aspired versions are loaded and others unloaded, in a thread of its own.

A version that was loaded under a number is never loaded again under it, nor is one that failed, until its number was
out of the config; and a version that is no longer wanted answers until one that is does (aspired_versions_manager.cc).
"""

import os
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import config_files
import grpc
from config_files import Refusal
from session import Version, load_failure
from tensorflow_serving.apis import get_model_status_pb2

State = get_model_status_pb2.ModelVersionStatus
Id = tuple[str, int]
_POLL_S = 1.0  # file_system_poll_wait_seconds
_NOT_FOUND = grpc.StatusCode.NOT_FOUND


@dataclass
class Status:
    """A version's state, and the error of one that could not be loaded."""

    state: int
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""


class Models:
    """`retries` are of a load that fails, `slow_s` is how long one takes beside its work."""

    def __init__(self, config: Any, *, retries: int, slow_s: float) -> None:
        config_files.check_models(config)
        self._config, self._retries, self._slow_s = config, retries, slow_s
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._loaded: dict[Id, Version | None] = {}  # None: it failed
        self._states: dict[Id, Status] = {}  # of all that ever were
        threading.Thread(target=self._manage, daemon=True).start()

    def wait_at_start(self) -> None:
        """Until every model has a version; raises Refusal where one failed. What has no version is waited for."""
        self._wait({entry.name for entry in self._config.model_config_list.config}, "servable")

    def reload(self, config: Any) -> None:
        """Serve these models: applied at once, then waits for names that are new, and for those alone."""
        config_files.check_models(config, self._config)
        old = {entry.name for entry in self._config.model_config_list.config}
        new = {entry.name for entry in config.model_config_list.config} - old
        with self._changed:
            for id_ in [id_ for id_ in self._states if id_[0] in new]:
                del self._states[id_]  # its fresh monitor knows nothing of what was there before
        self._config = config
        self._wake.set()
        self._wait(new, "model")

    def find(self, spec: Any) -> tuple[int, Version]:
        """The version that answers a request; raises Refusal."""
        if not spec.name:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        there = self._available(spec.name)
        if spec.WhichOneof("version_choice") is None:
            number, asked = max(there, default=-1), f"Latest({spec.name})"
        else:
            number = self._labelled(spec) if spec.version_label else spec.version.value
            asked = f"Specific({spec.name}, {number})"
        if number not in there:
            raise Refusal(_NOT_FOUND, f"Servable not found for request: {asked}")
        return number, there[number]

    def statuses(self, spec: Any) -> list[tuple[int, Status]]:
        """Every version of a model that there ever was, or the one asked for, the highest first; raises Refusal."""
        with self._changed:
            there = {number: status for (name, number), status in self._states.items() if name == spec.name}
        if not spec.HasField("version"):
            if not there:
                raise Refusal(_NOT_FOUND, f"Could not find any versions of model {spec.name}")
            return sorted(there.items(), reverse=True)
        number = spec.version.value
        if number not in there:
            raise Refusal(_NOT_FOUND, f"Could not find version {number} of model {spec.name}")
        return [(number, there[number])]

    def _labelled(self, spec: Any) -> int:
        for entry in self._config.model_config_list.config:
            if entry.name == spec.name and spec.version_label in entry.version_labels:
                return int(entry.version_labels[spec.version_label])
        label = spec.version_label
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")

    def _available(self, name: str) -> dict[int, Version]:
        with self._changed:
            return {
                id_[1]: version
                for id_, version in self._loaded.items()
                if id_[0] == name and version and self._states[id_].state == State.AVAILABLE
            }

    def _wait(self, names: set[str], noun: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: all(self._is_decided(name) for name in names))
            failed = {
                id_: status for id_, status in self._states.items() if id_[0] in names and status.state == State.END
            }
            failed = {id_: status for id_, status in failed.items() if not self._is_available(id_[0])}
        if failed:
            said = "".join(
                f"{{{{name: {name} version: {number}}} due to error: {status.code.name}: {status.message}}}, "
                for (name, number), status in failed.items()
            )
            raise Refusal(grpc.StatusCode.UNKNOWN, f"{len(failed)} {noun}(s) did not become available: {{{said}}}")

    def _is_decided(self, name: str) -> bool:
        states = [status.state for (of, _), status in self._states.items() if of == name]
        return State.AVAILABLE in states or (bool(states) and all(state == State.END for state in states))

    def _is_available(self, name: str) -> bool:
        return any(of == name and each.state == State.AVAILABLE for (of, _), each in self._states.items())

    def _manage(self) -> None:
        try:
            while True:
                self._wake.clear()
                self._reconcile(self._config)
                self._wake.wait(_POLL_S)
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # a double that is broken is not to be waited for

    def _reconcile(self, config: Any) -> None:
        aspired = {entry.name: _versions(entry) for entry in config.model_config_list.config}
        dropped = [id_ for id_ in self._loaded if id_[0] not in aspired]
        self._unload(dropped)
        wanted = {(name, number): folder for name, there in aspired.items() for number, folder in there.items()}
        for id_, folder in wanted.items():
            if id_ not in self._loaded:
                self._load(id_, folder)
        surplus = [id_ for id_ in self._loaded if id_ not in wanted]
        self._unload([id_ for id_ in surplus if self._is_replaced(id_, wanted)])

    def _is_replaced(self, id_: Id, wanted: dict[Id, Path]) -> bool:
        return any(each[0] == id_[0] and self._loaded.get(each) for each in wanted) or not self._loaded[id_]

    def _load(self, id_: Id, folder: Path) -> None:
        self._set(id_, Status(State.LOADING))
        time.sleep(self._slow_s)
        for attempt in range(self._retries + 1):
            try:
                self._loaded[id_] = Version(folder)
            except Exception as error:
                self._loaded[id_], failure = None, load_failure(folder, error)
                if attempt < self._retries:
                    time.sleep(60)  # load_retry_interval_micros
                    continue
                self._set(id_, Status(State.END, *failure))
            else:
                self._set(id_, Status(State.AVAILABLE))
                break

    def _unload(self, ids: list[Id]) -> None:
        for id_ in ids:
            if self._loaded.pop(id_):
                self._set(id_, Status(State.END))

    def _set(self, id_: Id, status: Status) -> None:
        with self._changed:
            self._states[id_] = status
            self._changed.notify_all()


def _versions(entry: Any) -> dict[int, Path]:
    """The version folders that the policy of a model wants, of those that are there."""
    base, policy = Path(entry.base_path), entry.model_version_policy
    try:
        there = {int(path.name): path for path in base.iterdir() if path.name.isdecimal()}
    except OSError:
        there = {}
    kind = policy.WhichOneof("policy_choice") or "latest"
    numbers = {
        "all": sorted(there),
        "specific": [number for number in policy.specific.versions if number in there],
        "latest": sorted(there)[-(policy.latest.num_versions or 1) :],
    }[kind]
    if not numbers:
        print(f"No versions of servable {entry.name} found under base path {base}.", flush=True)
    return {number: there[number] for number in numbers}
