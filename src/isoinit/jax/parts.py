"""Some leaves of a tree told from the others: parameters from settings, arrays from numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from isoinit.errors import ArgumentError
from isoinit.jax.spelling import Leaf, is_array, leaves_of


@dataclass(frozen=True)
class Part:
    """Some leaves of a tree.

    Attributes:
        tree: the tree with only them: None in the place of each other leaf. The tree itself, if it has
            no others; and `{}` if it has none of them.
        places: where they are among all leaves.
    """

    tree: Any
    places: tuple[int, ...]

    @staticmethod
    def of(tree: Any, chosen: Callable[[Leaf], bool]) -> Part:
        """Return the part of a tree whose leaves are chosen."""
        leaves = leaves_of(tree)
        places = tuple(place for place, leaf in enumerate(leaves) if chosen(leaf))
        if len(places) == len(leaves):
            return Part(tree if leaves else {}, places)
        left: list[Any] = [None] * len(leaves)
        for place in places:
            left[place] = leaves[place].value
        structure = jax.tree_util.tree_structure(tree)
        return Part(jax.tree_util.tree_unflatten(structure, left) if places else {}, places)

    def put(self, tree: Any, part: Any) -> Any:
        """Return a new tree like the whole one, with another part in the places of this one.

        Args:
            tree: a tree of the structure of the whole one; it is not changed.
            part: a tree of the structure of this part.
        """
        leaves, structure = jax.tree_util.tree_flatten(tree)
        for place, leaf in zip(self.places, jax.tree_util.tree_leaves(part), strict=True):
            leaves[place] = leaf
        return jax.tree_util.tree_unflatten(structure, leaves)


@dataclass(frozen=True)
class Call:
    """The arguments that a model is called with.

    Arrays among the keyword arguments are inputs too. All else there are settings: `train=False`.

    Attributes:
        inputs: the arguments by place; then the arrays among those by name, as one dict, if any.
    """

    inputs: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    named: Part

    @staticmethod
    def of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        """Return a call with these arguments.

        Raises:
            ArgumentError: if there is no array, if an argument by place holds something else, or if a
                size is not known.
        """
        for leaf in leaves_of(args, before=(jax.tree_util.GetAttrKey("inputs"),)):
            if not is_array(leaf.value):
                raise ArgumentError(_no_array(leaf))
        named = Part.of(dict(kwargs), lambda leaf: is_array(leaf.value))
        inputs = (*args, named.tree) if named.places else args
        if not jax.tree_util.tree_leaves(inputs):
            raise ArgumentError(
                "there are no inputs. After the model and its parameters, pass example inputs for "
                "a call of the model, or their jax.ShapeDtypeStruct"
            )
        sized("inputs", inputs)
        return Call(inputs, dict(kwargs), named)

    def arguments(self, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments by place and by name for other inputs of the same structure.

        They are new objects: some models mark the state that they were given as used.
        """
        inputs = jax.tree_util.tree_map(lambda leaf: leaf, inputs)
        if not self.named.places:
            return inputs, dict(self.kwargs)
        return inputs[:-1], self.named.put(self.kwargs, inputs[-1])


def sized(what: str, tree: Any) -> None:
    """Raise ArgumentError if an array of a tree has a size that is not known."""
    for leaf in leaves_of(tree, before=(jax.tree_util.GetAttrKey(what),)):
        if is_array(leaf.value) and not all(isinstance(n, int) for n in leaf.value.shape):
            sizes = ", ".join("None" if n is None else str(n) for n in leaf.value.shape)
            raise ArgumentError(
                f"{_place(leaf)} has shape ({sizes}) with an unknown size. Pass an array with a "
                "known shape"
            )


def _no_array(leaf: Leaf) -> str:
    kind = f"{type(leaf.value).__module__}.{type(leaf.value).__qualname__}"
    found = f"{_place(leaf)} is {_article(kind.removeprefix('builtins.'))}"
    if isinstance(leaf.value, bool | int | float | complex | str):
        return (
            f"{found}: {leaf.value!r}. Pass a setting by its name in kwargs=, as {{'train': "
            "False}, and pass a number for the computation as jnp.asarray"
        )
    return f"{found}; expected a JAX or NumPy array, or a jax.ShapeDtypeStruct"


def _place(leaf: Leaf) -> str:
    return leaf.path.removeprefix(".")


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"
