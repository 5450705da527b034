"""Recipes that are followed as they are: the model's own, and published ones. Loads torch.

`rerun` (a model's own initialization, run on memory of its own), `calls` and `values` (which
initializers those were), `own` (all of it as choices), `papers` (tables of published recipes).
Import the names below from here; a new published recipe is a table in `papers`.
"""

from __future__ import annotations

from torch import nn

from isoinit._planning.recipes.own import own_choices
from isoinit._planning.recipes.papers import PAPERS, paper_choices
from isoinit._planning.rules import Choice
from isoinit._reading.graph import Graph
from isoinit._reading.roles import Role
from isoinit.errors import ArgumentError, did_you_mean

RECIPES = ("own", *PAPERS)


def refuse_recipe(recipe: str | None, method: str) -> None:
    """Refuse a recipe that cannot be followed, before any work; None is no recipe.

    Raises:
        ArgumentError: for an unknown recipe, or one beside a method.
    """
    if recipe is None:
        return
    if recipe not in RECIPES:
        near = did_you_mean(recipe, RECIPES)
        raise ArgumentError(f"recipe={recipe!r}: expected one of {', '.join(RECIPES)}{near}")
    if method != "auto":
        raise ArgumentError(
            f"recipe={recipe!r} and method={method!r}: a recipe already decides every "
            "initializer. Leave method at 'auto', or plan without a recipe"
        )


def follow(
    recipe: str, model: nn.Module, graph: Graph, roles: dict[str, Role]
) -> tuple[dict[str, tuple[Role, Choice]], tuple[str, ...]]:
    """What a recipe gives each parameter.

    Args:
        recipe: one of `RECIPES`.
        model: the model, which is left as it was.
        graph: what was read of it.
        roles: what each parameter is for.

    Returns:
        By name, the role, with what the axes mean to the recipe, and the choice; and what is doubtful,
        in sentences.

    Raises:
        PlanError: if the recipe does not fit the model, naming what is missing.
    """
    if recipe == "own":
        return own_choices(model, roles)
    return paper_choices(recipe, graph, roles), ()


__all__ = ["RECIPES", "follow", "refuse_recipe"]
