"""The recipes: one file a published method. `get` and `list` read the registry."""

from ..recipe import get, list_recipes

list = list_recipes

__all__ = ["get", "list"]
