"""The one error a user meets: a single line that names what is wrong and the next step."""


class PersonaError(ValueError):
    """A mistake in the input (a file, a key, a token, a base model, a number), told in one line.

    The message names the file, key, layer and expected shape where they exist, and ends with the next step.
    """
