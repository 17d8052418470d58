"""ToyBench's boards: for each thing that a recipe may learn from, the few held-out concepts that it is held to.

A name such as "hedgehog@1" is that concept with its first picture alone.
"""

from collections.abc import Sequence
from typing import Any

from diffusers_persona.errors import PersonaError

BOARDS = {
    "object": ("hedgehog", "dinosaur", "pumpkin", "ufo"),
    "person": ("diana-evans", "peter-bailey", "vera-cooper", "victor-rogers"),
    "style": ("blueprint", "mosaic", "sepia", "screen"),
    "relation": ("behind", "under", "above", "right-of"),
    "several": ("hedgehog-and-cupcake", "dinosaur-and-anchor", "flamingo-and-ufo", "snowman-and-pumpkin"),
    "stylised": ("hedgehog-in-blueprint", "ufo-in-mosaic", "pumpkin-in-sepia", "dinosaur-in-screen"),
    "pair": ("cat-to-blueprint", "car-to-mosaic", "house-to-sepia", "guitar-to-screen"),
    "merged": ("hedgehog-with-blueprint", "ufo-with-mosaic", "pumpkin-with-sepia", "dinosaur-with-screen"),
    "portrait": (
        "diana-evans-with-blueprint",
        "peter-bailey-with-mosaic",
        "vera-cooper-with-sepia",
        "victor-rogers-with-screen",
    ),
}
"""What a recipe learns from (`recipe.LEARNS`) -> names of concepts."""
COUNTED = ("object", "person", "style", "relation", "several")
"""Boards whose concepts have several pictures, of which a recipe may take fewer."""


def board_name(entry: Any) -> str:
    """The board of a registered recipe, e.g. "object", or "person@1" for a recipe that takes one picture."""
    counted = entry.pictures is not None and entry.learns in COUNTED
    return f"{entry.learns}@{entry.pictures}" if counted else entry.learns


def concepts_of(board: str) -> tuple[str, ...]:
    """Names of the concepts of a board.

    Raises:
        PersonaError: there is no such board.
    """
    name, _, count = board.partition("@")
    if name not in BOARDS or (count and not (count.isdigit() and int(count) > 0 and name in COUNTED)):
        boards = ", ".join(BOARDS)
        raise PersonaError(f"there is no board {board!r}: choose from {boards}, or e.g. object@1 for one picture each")
    return tuple(f"{concept}@{count}" if count else concept for concept in BOARDS[name])


def board_of(concept: str) -> str | None:
    """The board that a concept of a row belongs to; None for one of no board."""
    name, _, count = concept.partition("@")
    for board, names in BOARDS.items():
        if name in names:
            return f"{board}@{count}" if count else board
    return None


def order(boards: Sequence[str]) -> list[str]:
    """Boards in the order of `BOARDS`, those with fewer pictures after the others."""
    names = list(BOARDS)
    return sorted(set(boards), key=lambda board: (names.index(board.partition("@")[0]), board))
