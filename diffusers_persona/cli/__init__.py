"""The command line: `persona learn`, `generate`, `compare`, `push`, `pull`, `recipes`, `inspect`, `bench`, ..."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 2 the user can fix it, 1 a bug, 130 interrupted.

    Args:
        arguments: words after ``persona``; those of the process when None.
    """
    from .app import run

    return run(arguments)
