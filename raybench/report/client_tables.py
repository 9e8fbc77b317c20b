"""What each item costs the client, as a table of text."""

from collections.abc import Mapping

from raybench.analysis import units
from raybench.analysis.client_cost import ClientCost
from raybench.analysis.plain_numbers import plain
from raybench.analysis.summary import Summary
from raybench.report.cost_tables import ReportTable
from raybench.report.result_table import ms

_DASH = "–"
_COLUMNS = ("server", "sent", "received", "encode CPU ms", "send CPU ms", "decode CPU ms")
_SIZES = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def client_tables(summary: Summary, names: Mapping[str, str]) -> list[ReportTable]:
    """A row for each cell of which something is known, by its name; a search has its curve instead."""
    costs = {cell.cell: cell.client_cost for cell in summary.cells if cell.client_cost}
    rows = [(names[cell], *values) for cell, cost in costs.items() if set(values := _values(cost)) != {_DASH}]
    if summary.search is not None or not rows:
        return []
    item = units.items(units.common(cell.unit for cell in summary.cells)).removesuffix("s")
    return [ReportTable(f"What each {item} costs the client", _COLUMNS, 1, rows)]


def _values(cost: ClientCost) -> tuple[str, ...]:
    return (
        size(cost.request_bytes_per_item),
        size(cost.reply_bytes_per_item),
        ms(cost.encode_ms_per_item),
        ms(cost.send_ms_per_item),
        ms(cost.decode_ms_per_item),
    )


def size(bytes_: float | None) -> str:
    """Three significant digits in the largest unit of which it is one or more: 512 B, 150 kB; a dash for not known."""
    if bytes_ is None:
        return _DASH
    unit = next((unit for unit in reversed(_SIZES) if bytes_ >= _SIZES[unit]), "B")
    return f"{plain(bytes_ / _SIZES[unit])} {unit}"
