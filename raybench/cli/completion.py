"""What a shell completes beyond flags and choices."""

from pathlib import Path

import click
from click.shell_completion import CompletionItem


def complete_model(ctx: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
    """The models of models.conf; folders where a path was begun."""
    from raybench.models.saved_models import read_models_conf

    if typed.startswith((".", "/", "~")):
        return [CompletionItem(typed, type="dir")]
    try:
        models = read_models_conf(Path(ctx.params.get("models") or "models") / "models.conf")
    except ValueError:
        return []
    return [CompletionItem(model.name) for model in models if model.name.startswith(typed)]
