"""The help of a command with many flags, under headings."""

from collections.abc import Collection, Mapping, Sequence

import click

# In the order of the help; a flag that is in none of them is the command's own, and comes first.
SECTIONS = {
    "What to measure": ("server", "url", "model", "signature", "models", "instances", "layout", "mix"),
    "How a started server computes": (
        "merge_max",
        "merge_delay",
        "merge_threads",
        "intra_op_threads",
        "inter_op_threads",
        "pipeline_depth",
    ),
    "The load": (
        "workers",
        "concurrency",
        "batch_size",
        "duration",
        "request_count",
        "request_rate",
        "request_distribution",
        "max_in_flight",
        "timeout",
        "warmup_timeout",
        "warmup_request_count",
        "protocol",
        "client",
        "shared_memory",
    ),
    "Inputs": (
        "input",
        "images",
        "shape",
        "range",
        "string_length",
        "string_data",
        "jpeg_quality",
        "feed",
        "memory_budget",
        "seed",
    ),
    "How sure, and what fails": (
        "rounds",
        "baseline",
        "threshold",
        "max_error_rate",
        "stability_percentage",
        "strict",
        "verify",
        "tolerance",
        "calibrate",
    ),
    "Servers by url": ("tls_ca", "tls_cert", "tls_key", "tls_server_name", "header"),
    "Ray and hosts": (
        "address",
        "wait_for_workers",
        "server_node",
        "server_bind",
        "require_gpu",
        "heartbeat_timeout",
        "on_loss",
    ),
    "Output": ("details", "out", "name", "ui", "dry_run", "resume", "keep_failed", "help"),
}
_SIZING = {"How many replicas": ("request_rate", "inference_rate", "headroom", "spare", "price")}


class SectionedCommand(click.Command):
    """Lists its flags by what they are for, in place of one list."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {_name(each): record for each in self.get_params(ctx) if (record := _record(each, ctx))}
        sections = _sections(records)
        own = [record for name, record in records.items() if not any(name in names for names in sections.values())]
        found = {f"Of {self.name}": own} if own else {}
        for title, names in sections.items():
            found[title] = [records[name] for name in names if name in records]
        for title, rows in found.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _sections(there: Collection[str]) -> Mapping[str, Sequence[str]]:
    """The headings of a command; where it sizes, its request rate is what is to be served, and no load."""
    if "spare" not in there:
        return SECTIONS
    return {**_SIZING, **{title: [n for n in names if n != "request_rate"] for title, names in SECTIONS.items()}}


def _name(parameter: click.Parameter) -> str:
    return "help" if "--help" in parameter.opts else str(parameter.name)


def _record(parameter: click.Parameter, ctx: click.Context) -> tuple[str, str] | None:
    return parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
