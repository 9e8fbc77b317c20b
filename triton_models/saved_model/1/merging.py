"""Which signatures' requests may share a TensorFlow call: those with a proof, and those that a rule allows."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from dynamic_batching import SignatureKey
from graph_facts import GraphFacts, graph_facts
from loaded_models import LoadedModels
from merge_proof import Limits, NotLegal, NotProven, prove
from probe_rows import Rows, candidates
from saved_models import Signature
from tensorflow_executor import Executor

ALWAYS, NEVER = "always", "never"
SIDE_FILE = "merge.conf"  # beside models.conf, which TensorFlow Serving refuses with more in it than it knows
_TF32 = 2.0**-10  # the rounding of float32 products on a GPU


@dataclass(frozen=True)
class MergeRules:
    """The rules a user wrote, by "model" or "model/signature": always or never; the rest has to be proven."""

    rules: Mapping[str, str]

    @classmethod
    def read(cls, models_conf: Path | None, parameter: str) -> "MergeRules":
        """Of the parameter, which goes first, and of the file `merge.conf` beside a models.conf, where there is one.

        Lines, or entries separated by commas, of a name and a word; `#` begins a comment. Raises ValueError.
        """
        file = models_conf.parent / SIDE_FILE if models_conf else None
        text = file.read_text(encoding="utf-8") if file and file.exists() else ""
        return cls({**_rules(text, str(file)), **_rules(parameter, "parameter merge")})

    def of(self, key: SignatureKey) -> str | None:
        return self.rules.get(str(key)) or self.rules.get(key.model)

    def unknown(self, keys: Iterable[SignatureKey]) -> list[str]:
        """Names that no signature has."""
        known = {name for key in keys for name in (str(key), key.model)}
        return sorted(set(self.rules) - known)


class MergeDecision:
    """Decides for each signature, and says why one is not merged."""

    def __init__(self, tf: Any, executor: Executor, *, rules: MergeRules, max_items: int, merge_xla: bool) -> None:
        self._tf, self._executor, self._rules = tf, executor, rules
        self._max_items, self._merge_xla = max_items, merge_xla
        has_tf32 = (
            bool(tf.config.get_visible_devices("GPU")) and tf.config.experimental.tensor_float_32_execution_enabled()
        )
        self._coarsest = _TF32 if has_tf32 else 0.0

    def decide(self, loaded: LoadedModels, unservable: Collection[str] = ()) -> None:
        """Enter each signature of `loaded` that is served among those that merge, or why it does not."""
        for key, signature in loaded.signatures.items():
            if str(key) in unservable:
                continue
            reason = self._reason(key, signature, loaded.functions[key])
            if reason is None:
                loaded.batchable.add(key)
            else:
                loaded.unmerged[key] = reason

    def _reason(self, key: SignatureKey, signature: Signature, function: Any) -> str | None:
        """Why requests for a signature do not share calls; None where they do."""
        rule, facts = self._rules.of(key), graph_facts(function)
        if self._max_items <= 1:
            return "merge_max_items is 1"
        if rule == NEVER:
            return f"a rule in {SIDE_FILE} or parameter merge says never"
        if not signature.is_batched or not signature.inputs:
            return "an input or an output has no free first dimension"
        if rule == ALWAYS:
            return None
        if facts.is_compiled and not self._merge_xla:
            return "XLA compiles it for each size of a call; parameter merge_xla merges all such models"
        if facts.state:
            return f"it keeps state or draws random numbers ({facts.state})"
        try:
            self._prove(signature, function, facts)
        except NotProven as reason:
            return str(reason)
        except NotLegal as refusal:
            return f"it accepted none of the rows that would prove that they are independent: {refusal}"
        except Exception as error:  # a proof that fails costs no model its place
            return f"it cannot be proven: {type(error).__name__}: {error}"
        return None

    def _prove(self, signature: Signature, function: Any, facts: GraphFacts) -> None:
        call = partial(self._call, function, frozenset(signature.outputs))
        limits = Limits(self._max_items, max(facts.rounding, self._coarsest))
        refusal = NotLegal("it accepts nothing")
        for tried in candidates(signature, self._encode_jpeg, has_extremes=not facts.has_loop):
            try:
                return prove(call, tried, limits)
            except NotLegal as refused:
                refusal = refused
        raise refusal

    def _call(self, function: Any, outputs: frozenset[str], rows: Rows) -> Rows:
        return self._executor.call(function, {name: [array] for name, array in rows.items()}, outputs)

    def _encode_jpeg(self, pixels: np.ndarray) -> bytes:
        return bytes(self._tf.io.encode_jpeg(pixels).numpy())


def _rules(text: str, where: str) -> dict[str, str]:
    found = {}
    for entry in re.split(r"[,\n]", re.sub(r"#.*", "", text)):
        words = entry.split()
        if not words:
            continue
        if len(words) != 2 or words[1] not in (ALWAYS, NEVER):
            raise ValueError(
                f"{where}: {entry.strip()[:100]!r}; write MODEL or MODEL/SIGNATURE, then {ALWAYS} or {NEVER}"
            )
        found[words[0]] = words[1]
    return found
