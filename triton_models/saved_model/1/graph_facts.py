"""What the graph behind a signature says of itself: state, loops, XLA, and the precision that it computes in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Relative rounding errors by TensorFlow's DataType: float32, float64, bfloat16, float16.
_ROUNDING = {1: 2.0**-23, 2: 2.0**-52, 14: 2.0**-7, 19: 2.0**-10}
_LOOPS = re.compile(r"(Stateless)?While|LoopCond")
# TensorFlow registers these as stateful, and they neither change what a later call finds nor differ from call to call.
_HARMLESS = re.compile(
    r"(Stateful)?PartitionedCall|If|While|Case|VarHandleOp|ReadVariableOp|VarIsInitializedOp|VariableV2|Variable"
    r"|ResourceGather(Nd)?|(Anonymous)?HashTable(V2)?|LookupTable(Find|Size)(V2)?|Assert|Print(V2)?|TensorArray\w*|Stack\w*"
    r"|_Arg|_Retval"
)
# Variables of TensorFlow 1 are changed by operations that it does not register as stateful.
_CHANGES = re.compile(r"Assign\w*|Scatter(Nd)?(Update|Add|Sub|Mul|Div|Min|Max)|(Sparse)?Apply\w+|CountUpTo")


@dataclass(frozen=True)
class GraphFacts:
    """`state` names an operation that keeps state between calls or draws random numbers, `rounding` is the relative
    rounding error of the least precise type that it computes in."""

    state: str | None
    has_loop: bool
    is_compiled: bool
    rounding: float


def graph_facts(function: Any) -> GraphFacts:
    """The facts of a concrete function and of every function that it calls."""
    graph = function.graph.as_graph_def(add_shapes=False)
    nodes = [*_reached(graph)]
    ops = dict.fromkeys(node.op for node in nodes)
    called = (*nodes, *graph.library.function)
    return GraphFacts(
        state=next((op for op in ops if _keeps_state(op)), None),
        has_loop=any(_LOOPS.fullmatch(op) for op in ops),
        is_compiled=any("_XlaMustCompile" in each.attr and each.attr["_XlaMustCompile"].b for each in called),
        rounding=max((_ROUNDING.get(kind, 0.0) for kind in {*_types(nodes)}), default=0.0) or _ROUNDING[1],
    )


def _reached(graph: Any) -> Iterator[Any]:
    """The nodes of the graph and of all functions that it calls; a SavedModel has others, such as for training."""
    library = {function.signature.name: function for function in graph.library.function}
    seen: set[str] = set()
    waiting = [graph.node]
    while waiting:
        for node in waiting.pop():
            yield node
            for name in _functions(node):
                if name in library and name not in seen:
                    seen.add(name)
                    waiting.append(library[name].node_def)


def _functions(node: Any) -> Iterator[str]:
    yield node.op  # an operation may be a function itself
    for attribute in node.attr.values():
        yield attribute.func.name
        yield from (each.name for each in attribute.list.func)


def _types(nodes: list[Any]) -> Iterator[int]:
    for node in nodes:
        for attribute in node.attr.values():
            yield attribute.type


def _keeps_state(op: str) -> bool:
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(op)
    is_stateful = definition is not None and definition.is_stateful and not _HARMLESS.fullmatch(op)
    return is_stateful or bool(_CHANGES.fullmatch(op))
