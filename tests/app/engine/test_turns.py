from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.engine.turns import Turns


def filled(owners: str) -> Turns[str]:
    """A queue to which each letter's owner adds an item: a0, b0, a1, ..."""
    turns: Turns[str] = Turns()
    counts: Counter[str] = Counter()
    for owner in owners:
        turns.add(owner, f"{owner}{counts[owner]}")
        counts[owner] += 1
    return turns


def emptied(turns: Turns[str]) -> list[str]:
    return [turns.take() for _ in range(len(turns))]


@pytest.mark.parametrize(
    ("owners", "order"),
    [
        ("", []),
        ("aaa", ["a0", "a1", "a2"]),
        ("aaab", ["a0", "b0", "a1", "a2"]),
        ("abab", ["a0", "b0", "a1", "b1"]),
        ("aaaabbc", ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]),
    ],
)
def test_owners_take_turns(owners: str, order: list[str]) -> None:
    assert emptied(filled(owners)) == order


def test_one_who_comes_later_waits_for_one_item_of_each_other() -> None:
    turns = filled("aaaabbbb")
    turns.take()
    turns.add("c", "c0")
    assert emptied(turns)[:3] == ["b0", "a1", "c0"]


def test_an_item_can_be_discarded_from_any_place_and_more_than_once() -> None:
    turns = filled("aab")
    turns.discard("a", "a1")
    turns.discard("a", "a1")
    turns.discard("b", "b0")
    turns.discard("c", "c0")
    assert len(turns) == 1
    assert list(turns.first_of_each()) == ["a0"]
    assert emptied(turns) == ["a0"]


def test_nothing_can_be_taken_from_an_empty_queue() -> None:
    with pytest.raises(KeyError):
        filled("").take()


@given(st.text("abcd"), st.sets(st.integers(0, 20)))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_item_comes_once_and_each_owners_in_order(owners: str, gone: set[int]) -> None:
    turns = filled(owners)
    items = [f"{owner}{owners[:place].count(owner)}" for place, owner in enumerate(owners)]
    for place in gone:
        if place < len(items):
            turns.discard(items[place][0], items[place])
    left = [item for place, item in enumerate(items) if place not in gone]
    assert len(turns) == len(left)
    taken = emptied(turns)
    assert sorted(taken) == sorted(left)
    for owner in set(owners):
        assert [item for item in taken if item[0] == owner] == [item for item in left if item[0] == owner]
