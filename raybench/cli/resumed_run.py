"""What is left of a run that was cut off, in words."""

import click

from raybench.results.resuming import Left


def show_left(left: Left) -> None:
    """What would be measured, in order, with what such trials took in this run."""
    if not left.trials:
        click.echo(nothing_left(left))
        return
    known = [left.seconds.get(trial.cell.id) for trial in left.trials]
    for trial, took_s in zip(left.trials, known, strict=True):
        click.echo(f"{trial.id}  {'no earlier time' if took_s is None else f'about {took_s:.0f} s'}")
    total_s = sum(took_s for took_s in known if took_s is not None)
    length = f"about {total_s:.0f} s plus starting servers"
    if None in known:
        length = f"more than {total_s:.0f} s: {known.count(None)} of them were never measured here"
    click.echo(f"{len(known)} trials are left, {left.kept} are kept; {length}")


def nothing_left(left: Left) -> str:
    return f"nothing is left to measure: all {left.kept} trials are there"
