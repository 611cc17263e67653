"""How far a verb is: lines and bars on the error output, away from what scripts read. The verbs are in cli.py."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click


class OnProgress(Protocol):
    """Is told how much is done, and of how much where that is known."""

    def __call__(self, done: int, total: int | None = None) -> None:
        """Show it."""


def say_aside(line: str) -> None:
    """Say how it goes without disturbing what is printed for scripts."""
    click.echo(line, err=True)


def tell(what: str, done: int, total: int) -> None:
    """A line of progress where a person watches; it is written over by the next."""
    if sys.stderr.isatty():
        click.echo(f"{done:,} of {total:,} {what}" + ("\n" if done == total else "\r"), nl=False, err=True)


@contextmanager
def progress_bar(what: str, unit: str) -> Iterator[OnProgress]:
    """A bar on a terminal, nothing elsewhere; of bytes in kB, MB or GB."""
    from tqdm import tqdm

    with tqdm(desc=what, unit=unit, unit_scale=unit == "B", disable=None, leave=False, dynamic_ncols=True) as bar:

        def on_progress(done: int, total: int | None = None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield on_progress
