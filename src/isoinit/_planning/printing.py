"""A plan to be read: the table, the page, and one entry in full, as a mixin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import TYPE_CHECKING, cast

from isoinit._planning import shown
from isoinit._planning.overrides import match_patterns
from isoinit._planning.pages import READ, plan_page, sizes
from isoinit._reading.outline import Outline
from isoinit._showing.page import Page, Shown
from isoinit._showing.terminal import Printed, Tabled, counted, rough
from isoinit._system.packages import needs
from isoinit._version import __version__
from isoinit._writing.entry import Entry
from isoinit.errors import ArgumentError, UnknownParameterError

if TYPE_CHECKING:
    from torch import nn


class Entries(tuple[Entry, ...], Tabled):
    """Entries that a pattern matches: a tuple that prints as a table.

    Example:
        >>> import isoinit, torch
        >>> found = isoinit.plan(torch.nn.Linear(64, 2))["*"]
        >>> found
        <Entries: 2 tensors, 130 parameters>
        >>> found.names, found[0].std
        (('weight', 'bias'), 0.125)
    """

    __slots__ = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters."""
        return tuple(entry.name for entry in self)

    def show(self, *, verbose: bool = False) -> Printed:
        """Return the entries as a table, as `Plan.show` does.

        Args:
            verbose: a row for every parameter.
        """
        entries = {entry.name: entry for entry in self}
        warnings = [entry.warning for entry in self if entry.warning]
        return shown.table(size_of(self), entries, {}, (), warnings, verbose)

    def __str__(self) -> str:
        return str(self.show())

    def __repr__(self) -> str:
        return f"<Entries: {size_of(self)}>"


def size_of(entries: Iterable[Entry]) -> str:
    """Return how many tensors and parameters there are, in words."""
    sizes = [prod(entry.shape) for entry in entries]
    words = "parameter" if sum(sizes) == 1 else "parameters"
    return f"{counted(len(sizes), 'tensor')}, {rough(sum(sizes))} {words}"


class Readable(Tabled, Shown):
    """A plan to be read, in a terminal, a notebook or a browser."""

    entries: dict[str, Entry]
    aliases: dict[str, str]
    method: str
    how: str
    seed: int | None
    outline: Outline | None

    @property
    def digest(self) -> str:
        """A hash of what decides the values."""
        raise NotImplementedError

    @property
    def warnings(self) -> list[str]:
        """What is doubtful about the plan, one sentence each; empty if nothing is."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries or name in self.aliases

    def __getitem__(self, pattern: str) -> Entry:
        """Return the entry of a name; for a glob or a role, what `matching` returns."""
        if pattern in self:
            return self.entries[self._resolve(pattern)]
        # A checker cannot tell a glob from a name, so it takes all text for a name.
        return cast("Entry", self.matching(pattern))

    def matching(self, pattern: str) -> Entries:
        """Return all entries that a pattern matches, as `plan[glob]` does; print them for a table.

        Type checkers take `plan[...]` for one entry, and this for several.

        Args:
            pattern: a name, a glob or a role, as for `Plan.override`.

        Raises:
            UnknownParameterError: if the pattern matches nothing. It is a `KeyError`.

        Example:
            >>> import isoinit, torch
            >>> nn = torch.nn
            >>> model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
            >>> plan = isoinit.plan(model)
            >>> [entry.name for entry in plan["*.weight"]], plan["role:weight of *"].names
            (['0.weight', '2.weight'], ('2.weight',))
        """
        roles = {entry.name: entry.role for entry in self}
        found = match_patterns([pattern], roles, self.aliases)
        return Entries(self.entries[name] for name in self.entries if name in found)

    def _resolve(self, name: str) -> str:
        """Return the name that a parameter goes by.

        Raises:
            UnknownParameterError: if there is none of this name.
        """
        resolved = self.aliases.get(name, name)
        if resolved not in self.entries:
            raise UnknownParameterError(name, [*self.entries, *self.aliases])
        return resolved

    def show(
        self, *, now: nn.Module | None = None, own: bool = False, verbose: bool = False
    ) -> Printed:
        """Return the plan as a table: one row a kind of parameter, and below it the reasons.

        Parameters are of one kind if their names differ in numbers alone (`h.0…11.attn.weight`), and
        shape, role, reason and kind of initializer agree. Where standard deviations differ, a row
        tells the least and the largest. The column `why` points at the numbered reasons below.
        In a narrow terminal roles stand beside the reasons alone, and shapes may be left out.

        Args:
            now: a model with the plan's parameters, or some of them. A column tells the standard
                deviation of the values that each has now.
            own: whether a column tells the standard deviation that the model's own initialization
                gives, as `isoinit.plan(model, recipe="own")` finds it. It needs `now`.
            verbose: a row for every parameter.

        Returns:
            Text, no wider than the terminal. `print(plan)` prints it, too.

        Raises:
            ArgumentError: if `own` comes without `now`, or `now` is no model with parameters.
            PlanError: if names or shapes of model and plan differ, or the model has no initialization
                of its own.

        Example:
            >>> import isoinit, torch
            >>> model = torch.nn.Linear(64, 2)
            >>> plan = isoinit.plan(model, torch.zeros(1, 64))
            >>> plan
            <Plan: 2 tensors, 130 parameters, 2 rules>
            >>> print(plan.show(now=model.requires_grad_(), own=True).splitlines()[2])
             parameter  shape  initializer  std    now    own    role                  why
        """
        beside, notes = self._beside(now, own)
        title = f"plan of {self._size()}, method {self.method!r}"
        return shown.table(title, self.entries, beside, notes, self.warnings, verbose)

    def _beside(self, now: nn.Module | None, own: bool) -> tuple[shown.Beside, list[str]]:
        """The columns beside the plan's, and what is to be said of them."""
        if now is None:
            if own:
                raise ArgumentError(
                    "show(own=True) runs the model's own initialization and needs the model. Call "
                    "show(now=model, own=True)"
                )
            return {}, []
        with needs("torch", "Plan.show(now=...)"):
            from isoinit._planning import today

        stds, unknown = today.present(now, self.entries, self.aliases)
        beside: shown.Beside = {"now": stds}
        notes = [
            f"now: {counted(unknown, 'tensor')} without values here (on the meta device, postponed or "
            "sharded)"
        ]
        if own:
            beside["own"] = today.own(now, self.entries, self.aliases)
        return beside, notes if unknown else []

    def _size(self) -> str:
        return size_of(self)

    def explain(self, name: str) -> str:
        """Return the whole chain of one choice, as text.

        The input and the output of the parameter, the rule that decided and those that came close,
        the formula with its numbers, the expected signal before and after, and the expected gradient.

        Args:
            name: the parameter's name, or another name of a tied one.

        Raises:
            UnknownParameterError: if the plan has no such parameter.

        Example:
            >>> import isoinit, torch
            >>> nn = torch.nn
            >>> model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
            >>> print(isoinit.plan(model, torch.randn(256, 8)).explain("2.weight"))
            2.weight: weight of the output, float32 of 2×32
              input    relu of weight
              output   output
              gets     Orthogonal(gain=1.414), standard deviation 0.25
              by rule  "ReLU": a weight after ReLU or leaky ReLU of slope a
              formula  Var = 2/((1 + a²) fan_in)
              where    fan_in = 32, fan_out = 2, E[x²] = 0.5
              because  its input is the output of relu, which reduces the second moment;
                       gain 1.414 restores it; orthogonal at this variance, which varies
                       less from seed to seed (He et al. 2015, eq. 10 and 15; Saxe et al.
                       2014; Yu et al. 2016)
              signal   root mean square 0.707 before, 1 after (for a standardized input)
              gradient root mean square 1 expected (for 1 at the model's output)
              close    "any activation", "measured signal"
        """
        return shown.explained(self.entries[self._resolve(name)])

    def _page(self) -> Page:
        return plan_page(self.entries, self.outline, self._facts(), self.warnings)

    def _facts(self) -> list[tuple[str, str]]:
        """What the head of the page tells."""
        layers = sum(entry.layout.is_map for entry in self)
        seed = [] if self.seed is None else [("seed", str(self.seed))]
        return [
            ("layers", f"{layers:,}"),
            *sizes(self),
            ("method", self.method),
            ("read from", READ[self.how]),
            *seed,
            ("digest", self.digest),
            ("isoinit", __version__),
        ]

    def __repr__(self) -> str:
        rules = len({entry.rule for entry in self if entry.rule})
        counts = {"rule": rules, "warning": len(self.warnings)}
        parts = [self._size(), *(counted(n, what) for what, n in counts.items() if n)]
        return f"<Plan: {', '.join(parts)}>"
