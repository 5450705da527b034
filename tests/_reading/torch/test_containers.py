"""Whatever a forward does to what its model holds, it is put back, and no method of a user's runs."""

import types
import weakref
from collections import Counter, OrderedDict, UserDict, UserList, defaultdict, deque, namedtuple
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import isoinit
from isoinit._reading.torch.containers import containers, is_a, parts
from isoinit._reading.torch.isolate import untouched


class Token:
    """A value that is known by identity; it can be referred to weakly."""


def refusing(kind):
    """A class derived from a builtin container whose own methods raise."""

    def refuse(self, *_args, **_options):
        raise RuntimeError("touched")

    names = """__setitem__ __delitem__ __iter__ __len__ __contains__ __getitem__ update pop popitem
    clear setdefault append extend insert remove add discard keys values items copy __eq__"""
    body = dict.fromkeys((n for n in names.split() if hasattr(kind, n)), refuse)
    return type(f"Refusing{kind.__name__}", (kind,), {**body, "__hash__": None})


class Counting(dict):
    """A dict that counts its changes and reads."""

    def __init__(self, *args):
        super().__init__(*args)
        self.changes = 0

    def __setitem__(self, key, value):
        self.changes += 1
        super().__setitem__(key, value)

    def items(self):
        self.changes += 1
        return super().items()


class Slotted:
    __slots__ = ("a", "b", "c")

    def __init__(self):
        self.a, self.b = Token(), [Token()]


@dataclass(frozen=True)
class Fixed:
    a: object
    b: object


@dataclass(frozen=True, slots=True)
class FixedSlots:
    a: object
    b: object


class Odd:
    """A key whose equality raises, and whose hash is lost after a while."""

    def __init__(self):
        self.lost = False

    def __hash__(self):
        if self.lost:
            raise TypeError("unhashable by now")
        return 1

    def __eq__(self, other):
        raise RuntimeError("compared")


class Lying:
    """Says that it is a dict, and raises when it is asked for anything."""

    @property
    def __class__(self):
        raise RuntimeError("asked for its class")

    def __getattr__(self, name):
        raise RuntimeError(f"asked for {name}")


def keep(kind, held):
    """All that a container holds, by the builtin's methods."""
    if issubclass(kind, OrderedDict):
        return list(OrderedDict.items(held))
    if issubclass(kind, dict):
        return list(dict.items(held))
    base = next(b for b in (list, set, deque) if issubclass(kind, b))
    return list(base.__iter__(held))


def same(one, other):
    def flat(items):
        return [part for item in items for part in (item if type(item) is tuple else (item,))]

    one, other = flat(one), flat(other)
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


MAPS = [dict, OrderedDict, Counter, refusing(dict), refusing(OrderedDict)]
ROWS = [list, deque, refusing(list), refusing(deque)]
SETS = [set, refusing(set)]


def base_of(kind):
    return next(b for b in (OrderedDict, dict, list, set, deque) if issubclass(kind, b))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_changes_are_taken_back(data):
    kind = data.draw(st.sampled_from([*MAPS, *ROWS, *SETS]))
    base = base_of(kind)
    held = kind()
    tokens = [Token() for _ in range(6)]
    for token in tokens[:4]:
        add(base, held, token)
    model = nn.Linear(1, 1)
    model.held = held
    before = keep(kind, held)
    with untouched(model, lambda _: None):
        for _ in range(data.draw(st.integers(0, 5))):
            what = data.draw(st.sampled_from(["add", "change", "delete", "clear", "reorder"]))
            change(base, held, what, data.draw(st.sampled_from(tokens)))
    assert model.held is held
    after = keep(kind, held)
    if base is set:
        assert {id(t) for t in after} == {id(t) for t in before}
    else:
        assert same(before, after)


def add(base, held, token):
    if issubclass(base, dict):
        base.__setitem__(held, token, Token())
    elif base is set:
        set.add(held, token)
    else:
        base.append(held, token)


def change(base, held, what, token):
    size = base.__len__(held)
    if what == "clear":
        base.clear(held)
    elif what == "add" or not size:
        add(base, held, token)
    elif what == "delete":
        if issubclass(base, dict):  # `popitem` asks methods of the class in Python 3.10
            base.__delitem__(held, next(iter(base.__iter__(held))))
        else:
            base.pop(held)
    elif what == "reorder" and base is OrderedDict:
        base.move_to_end(held, next(iter(base.__iter__(held))))
    elif what == "reorder" and base in (list, deque):
        base.reverse(held)
    elif base is not set:
        key = next(iter(base.__iter__(held))) if issubclass(base, dict) else 0
        base.__setitem__(held, key, Token())


class Careless(nn.Module):
    """Holds something, and does something to it in its forward."""

    def __init__(self, held, act):
        super().__init__()
        self.linear, self.held, self.act = nn.Linear(4, 2), held, act

    def forward(self, x):
        self.act(self.held)
        return self.linear(x)


TOKEN = Token()
Pair = namedtuple("Pair", "table rows")


def grow(held):
    held["new"] = 1
    held["old"] = 2


def set_slots(held):
    held.a, held.c = 1, 2
    held.b.append(3)


def set_fixed(held):
    object.__setattr__(held, "a", 1)
    held.b.append(2)


def grow_weakly(held):
    held.clear()
    held[TOKEN] = 1


HELD = {
    "defaultdict": (lambda: defaultdict(list, old=1), lambda h: h["made"].append(1), dict),
    "counter": (lambda: Counter("aab"), lambda h: h.update("abc"), dict),
    "user dict": (lambda: UserDict(old=1), grow, dict),
    "user list": (lambda: UserList([1, 2]), lambda h: h.append(3), list),
    "mapping proxy": (lambda: types.MappingProxyType({"a": [1]}), lambda h: h["a"].append(2), repr),
    "namespace": (
        lambda: types.SimpleNamespace(a=[1]),
        lambda h: vars(h).update(a=2, b=3),
        lambda h: dict(vars(h)),
    ),
    "slots": (Slotted, set_slots, lambda h: (h.a, list(h.b), hasattr(h, "c"))),
    "frozen": (lambda: Fixed(1, [1]), set_fixed, repr),
    "frozen slots": (lambda: FixedSlots(2, [1]), set_fixed, repr),
    "named tuple": (lambda: Pair([1], {2}), lambda h: (h.table.append(1), h.rows.add(3)), repr),
    "weak keys": (lambda: weakref.WeakKeyDictionary({TOKEN: 2}), grow_weakly, dict),
    "weak values": (lambda: weakref.WeakValueDictionary(a=TOKEN), lambda h: h.pop("a"), dict),
    "weak set": (lambda: weakref.WeakSet([TOKEN]), lambda h: h.clear(), list),
    "frozen set": (lambda: frozenset([Fixed(1, 2)]), lambda h: [set_it(o) for o in h], repr),
    "attributes of a dict": (lambda: Counting({"old": 1}), grow, lambda h: (dict(h), h.changes)),
}


def set_it(held):
    object.__setattr__(held, "b", 5)


@pytest.mark.parametrize("verb", [isoinit.plan, isoinit.check, isoinit.read])
@pytest.mark.parametrize("name", HELD)
def test_what_a_forward_does_is_undone(name, verb):
    build, act, shown = HELD[name]
    model = Careless(build(), act)
    before = shown(model.held)
    held = model.held
    verb(model, torch.randn(8, 4))
    assert model.held is held
    assert shown(held) == before
    act(held)
    assert shown(held) != before  # the forward does do something


@pytest.mark.parametrize("verb", [isoinit.plan, isoinit.check, isoinit.read])
@pytest.mark.parametrize("kind", [refusing(dict), refusing(list), refusing(OrderedDict), Counting])
def test_lending_calls_no_method_of_a_container(kind, verb):
    base, table = base_of(kind), torch.ones(4)
    held = kind()
    base.append(held, table) if base is list else base.__setitem__(held, "table", table)

    def multiply(held):
        got = base.__getitem__(held, 0 if base is list else "table")
        got.mul_(2)

    verb(Careless(held, multiply), torch.randn(8, 4))
    assert same(keep(kind, held), [table] if base is list else [("table", table)])
    assert table.tolist() == [1.0] * 4
    assert getattr(held, "changes", 0) == 0


def test_a_named_tuple_is_lent_as_one():
    held = Pair(torch.ones(2), torch.zeros(2))

    def change(held):
        assert type(held) is Pair
        held.table.add_(1)

    model = Careless(held, change)
    isoinit.plan(model, torch.randn(8, 4))
    assert model.held is held
    assert held.table.tolist() == [1.0, 1.0]


def test_keys_that_cannot_be_compared_or_hashed_any_more():
    first, second = Odd(), torch.zeros(2)
    held = {}
    held[first] = 1
    held[second] = 2
    first.lost = True
    model = Careless(held, lambda h: dict.clear(h))
    isoinit.plan(model, torch.randn(8, 4))
    assert same(list(held.items()), [(first, 1), (second, 2)])


def test_a_tensor_in_a_set_keeps_its_values():
    table = torch.ones(2)
    model = Careless({table}, lambda held: next(iter(held)).mul_(3))
    isoinit.check(model, torch.randn(8, 4))
    assert table.tolist() == [1.0, 1.0]


def test_what_is_held_is_not_asked_what_it_is():
    lying = Lying()
    model = Careless([lying, {"a": lying}, (lying,)], lambda held: held.append(1))
    vars(model)["lying"] = lying
    for verb in (isoinit.plan, isoinit.check, isoinit.read):
        verb(model, torch.randn(8, 4))
    assert len(model.held) == 3
    assert not is_a(lying, dict)
    assert parts(lying) == []


def test_the_namespace_of_a_class_is_not_written():
    class Shared:
        count = 0

    model = Careless(vars(Shared), lambda _: setattr(Shared, "count", 5))
    held = [c.held for c in containers([vars(model)])]
    assert not any("count" in c for c in held if type(c) is dict)
    isoinit.plan(model, torch.randn(8, 4))


def test_what_died_during_the_run_does_not_come_back():
    token = [Token()]
    held = weakref.WeakKeyDictionary({token[0]: 1})

    def drop(held):
        held[TOKEN] = 2
        token.clear()

    model = nn.Linear(4, 2)
    model.held = held
    with untouched(model, lambda _: None):
        drop(held)
    assert len(held) == 0
