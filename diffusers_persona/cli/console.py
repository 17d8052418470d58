"""What the terminal sees: results on stdout, everything else on stderr."""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

out = Console(highlight=False, soft_wrap=True)
notes = Console(stderr=True, highlight=False, soft_wrap=True)


def tolerate_any_text() -> None:
    """Names from files may hold what no terminal can show: it is replaced by a question mark."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")


def help_text(command: Callable) -> str:
    """A command's docstring for its help page: lines of a paragraph are joined, lines that begin with markup stay."""
    return re.sub(r"(?<!\n)\n(?![\n\[])", " ", inspect.cleandoc(command.__doc__ or ""))


def say(text: str) -> None:
    """A line of progress or advice for a person, on stderr; `text` may hold Rich markup."""
    notes.print(text)


def fail(text: str) -> None:
    """The one line of an error, on stderr, without markup and line breaks."""
    notes.print("[bold red]persona:[/] " + escape(" ".join(text.split())))


def warn(text: str) -> None:
    """One line of warning, on stderr."""
    notes.print("[yellow]note:[/] " + escape(" ".join(text.split())))


def table(
    title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()
) -> None:
    """Print a table on stdout; the columns named in `right` are right-aligned (numbers)."""
    shown = Table(title=title, title_justify="left", header_style="bold")
    for name in columns:
        shown.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*("" if value is None else escape(str(value)) for value in row))
    wide = Console(highlight=False, file=sys.stdout, width=None if sys.stdout.isatty() else 160)
    wide.print(shown)


def progress() -> Progress:
    """A progress bar with counts and the time left, on stderr; silent where stderr is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=notes,
        disable=not notes.is_terminal,
    )
