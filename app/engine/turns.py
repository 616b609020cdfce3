"""A queue in which owners take turns."""

from collections import OrderedDict, deque
from collections.abc import Collection, Hashable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """Items of several owners: taken one of each owner in turn, and each owner's own in order.

    A single item of a new owner so waits for one item of each other owner at most, however many they have.
    Not safe for threads by itself.
    """

    def __init__(self) -> None:
        self._owners: OrderedDict[Hashable, deque[Item]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, owner: Hashable, item: Item) -> None:
        """Put an item behind those of its owner, and a new owner behind the others."""
        self._owners.setdefault(owner, deque()).append(item)
        self._length += 1

    def take(self) -> Item:
        """The next item, whose owner goes behind the others.

        Raises:
            KeyError: there is none.
        """
        owner, items = self._owners.popitem(last=False)
        item = items.popleft()
        if items:
            self._owners[owner] = items
        self._length -= 1
        return item

    def discard(self, owner: Hashable, item: Item) -> None:
        """Remove an item if it is still there."""
        items = self._owners.get(owner, deque())
        if item in items:
            items.remove(item)
            self._length -= 1
            if not items:
                del self._owners[owner]

    @property
    def owners(self) -> Collection[Hashable]:
        """Those who have items here."""
        return self._owners.keys()

    def first_of_each(self) -> Iterator[Item]:
        """The next item of every owner."""
        return (items[0] for items in self._owners.values())
