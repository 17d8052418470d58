"""The one error a user meets: a single line that names what is wrong and the next step."""

MOST_CHARACTERS = 1500


class PersonaError(ValueError):
    """A mistake in the input (a file, a key, a token, a base model, a number), told in one line.

    The message names the file, key, layer and expected shape where they exist, and ends with the next step. Names
    come from files, so whatever they hold, the message stays one line, and its middle is left out where it is long.
    """

    def __init__(self, message: str):
        line = " ".join(str(message).splitlines())
        if len(line) > MOST_CHARACTERS:
            line = f"{line[: MOST_CHARACTERS // 2]} ... {line[-MOST_CHARACTERS // 2 :]}"
        super().__init__(line)


class DamagedError(PersonaError):
    """The files of a concept do not belong together: one of them was cut, changed or replaced alone."""
