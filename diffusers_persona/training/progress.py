"""Progress of long work for people: a bar with the loss and the time left, silent where nobody watches."""

from __future__ import annotations

import contextlib


@contextlib.contextmanager
def bar(title: str, total: int, *, show: bool):
    """Gives `update(done, note)`, which moves a bar on the terminal; does nothing when `show` is False."""
    if not show:
        yield lambda done, note="": None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total, note="")
        yield lambda done, note="": progress.update(task, completed=done, note=note)


def note(text: str, *, show: bool):
    """A line for people, on stderr as the bar is."""
    if show:
        from rich.console import Console

        Console(stderr=True).print(text, markup=False)
