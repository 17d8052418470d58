"""The command table and the exit codes."""

import os
import sys

import typer

from . import bench, compare, convert, demo, doctor, generate, inspect, learn, merge, pull, push, recipes
from .console import fail, help_text, tolerate_any_text, warn

USER_ERROR, BUG, INTERRUPTED = 2, 1, 130

app = typer.Typer(
    name="persona",
    help="Teach a diffusers pipeline a new concept from a few pictures, and use it in new ones.\n\n"
    "[bold]Start here[/]: [cyan]persona demo[/] runs the whole job on the embedded Toybox, with no download.",
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command("learn", help=help_text(learn.learn), rich_help_panel="The main job")(learn.learn)
app.command("generate", help=help_text(generate.generate), rich_help_panel="The main job")(generate.generate)
app.command("merge", help=help_text(merge.merge), rich_help_panel="The main job")(merge.merge)
app.command("compare", help=help_text(compare.compare), rich_help_panel="The main job")(compare.compare)
app.command("demo", help=help_text(demo.demo), rich_help_panel="The main job")(demo.demo)
app.command("push", help=help_text(push.push), rich_help_panel="Share")(push.push)
app.command("pull", help=help_text(pull.pull), rich_help_panel="Share")(pull.pull)
app.command("convert", help=help_text(convert.convert), rich_help_panel="Share")(convert.convert)
app.command("recipes", help=help_text(recipes.recipes), rich_help_panel="Look around")(recipes.recipes)
app.command("inspect", help=help_text(inspect.inspect), rich_help_panel="Look around")(inspect.inspect)
app.command("doctor", help=help_text(doctor.doctor), rich_help_panel="Look around")(doctor.doctor)
app.command("bench", cls=bench.WordLists, help=help_text(bench.bench), rich_help_panel="Measure")(bench.bench)


@app.callback(invoke_without_command=True)
def _options(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        from diffusers_persona import __version__

        print(__version__)
        raise typer.Exit()


def run(arguments: list[str] | None) -> int:
    """Run one command and turn whatever it raises into an exit code and a line on stderr."""
    import warnings

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    tolerate_any_text()
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _run(arguments)


def _run(arguments: list[str] | None) -> int:
    from diffusers_persona.errors import PersonaError

    try:
        return app(args=arguments, prog_name="persona", standalone_mode=False) or 0
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        fail(f"{error.format_message()} (try: {context.command_path if context else 'persona'} --help)")
        return USER_ERROR
    except PersonaError as error:
        fail(str(error))
        return USER_ERROR
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")
        return 0
    except OSError as error:
        if error.filename is None:
            return _bug(error)
        fail(f"{error.filename}: {error.strerror}")
        return USER_ERROR
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted; a learning run goes on from its last checkpoint with --resume")
        return INTERRUPTED
    except Exception as error:
        return _bug(error)


def _show_warning(message, category, *_, **__) -> None:
    if not issubclass(category, (DeprecationWarning, FutureWarning, PendingDeprecationWarning)):
        warn(str(message))


def _bug(error: BaseException) -> int:
    import traceback

    if type(error).__name__ == "OutOfMemoryError":
        fail("the device is out of memory; try --precision bf16, a smaller --batch-size or --resolution")
        return USER_ERROR
    traceback.print_exception(error)
    fail(f"this is a bug ({type(error).__name__}); please report these lines and the output of `persona doctor`")
    return BUG
