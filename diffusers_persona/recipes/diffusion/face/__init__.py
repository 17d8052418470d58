"""Recipes of the survey's section."""
