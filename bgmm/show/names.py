"""Names of features as texts of a plot."""

from __future__ import annotations


def literal(name: str) -> str:
    """The name as matplotlib shows it unchanged: a dollar sign would begin a formula."""
    return name.replace("$", r"\$")
