"""Topic names and filters: what is well formed, and what matches what."""

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from fieldstation.adapters.mqtt_server.options import PacketLimits

Subscriber = TypeVar("Subscriber", bound=Hashable)
Asked = TypeVar("Asked")
Kept = TypeVar("Kept")

SHARED = "$share/"


def topic_fault(topic: str, limits: PacketLimits) -> str | None:
    """Say what is wrong with a topic to publish to, if anything."""
    if "+" in topic or "#" in topic:
        return "a topic to publish to holds a wildcard"
    return size_fault(topic, limits)


def filter_fault(topic_filter: str, limits: PacketLimits) -> str | None:
    """Say what is wrong with a topic filter, if anything."""
    if fault := length_fault(topic_filter, limits):
        return fault
    if topic_filter.startswith(SHARED):
        group, _, topic_filter = topic_filter.removeprefix(SHARED).partition("/")
        if not group or "+" in group or "#" in group:
            return "a shared subscription needs a group without wildcards"
    levels = topic_filter.split("/")
    if any("+" in level and level != "+" for level in levels):
        return "a + must be a whole level of a topic filter"
    if "#" in topic_filter and (levels[-1] != "#" or topic_filter.count("#") > 1):
        return "a # must be the last level of a topic filter"
    return size_fault(topic_filter, limits)


def size_fault(topic: str, limits: PacketLimits) -> str | None:
    if not topic:
        return "a topic is empty"
    if topic.count("/") >= limits.topic_levels_max:
        return f"a topic has more than {limits.topic_levels_max} levels"
    return length_fault(topic, limits)


def length_fault(topic: str, limits: PacketLimits) -> str | None:
    if len(topic.encode()) > limits.topic_bytes_max:
        return f"a topic is longer than {limits.topic_bytes_max} bytes"
    return None


class SubscriptionTree(Generic[Subscriber, Asked]):
    """Who subscribed to what in one topic space, and how: a trie by level.

    ``both`` makes one of two subscriptions of one subscriber that match.
    """

    def __init__(self, both: Callable[[Asked, Asked], Asked]) -> None:
        self._both = both
        self._root: _Branch[dict[Subscriber, Asked]] = _Branch()
        self._count = 0

    def __len__(self) -> int:
        """Count subscriptions, overlapping ones separately."""
        return self._count

    def add(self, subscriber: Subscriber, topic_filter: str, asked: Asked) -> None:
        """Subscribe, or change the same subscription."""
        leaf = self._root.grow(topic_filter)
        if leaf.kept is None:
            leaf.kept = {}
        self._count += subscriber not in leaf.kept
        leaf.kept[subscriber] = asked

    def remove(self, subscriber: Subscriber, topic_filter: str) -> None:
        """Unsubscribe; harmless when there is no such subscription."""
        leaf = self._root.find(topic_filter)
        if leaf is None or leaf.kept is None or subscriber not in leaf.kept:
            return
        del leaf.kept[subscriber]
        self._count -= 1
        if not leaf.kept:
            leaf.kept = None
            self._root.prune(topic_filter)

    def match(self, topic: str) -> dict[Subscriber, Asked]:
        """Return each subscriber once, with all its subscriptions that match."""
        found: dict[Subscriber, Asked] = {}
        branches = [self._root]
        wildcards = not topic.startswith("$")
        for level in topic.split("/"):
            following = []
            for branch in branches:
                children = branch.children
                if wildcards:
                    self._merge(found, children.get("#"))
                    if (any_level := children.get("+")) is not None:
                        following.append(any_level)
                if (child := children.get(level)) is not None:
                    following.append(child)
            branches = following
            wildcards = True
        for branch in branches:
            self._merge(found, branch)
            self._merge(found, branch.children.get("#"))
        return found

    def _merge(
        self, found: dict[Subscriber, Asked], branch: "_Branch[dict[Subscriber, Asked]] | None"
    ) -> None:
        if branch is None or branch.kept is None:
            return
        for subscriber, asked in branch.kept.items():
            known = found.get(subscriber)
            found[subscriber] = asked if known is None else self._both(known, asked)


class RetainedTree(Generic[Kept]):
    """What each topic of one topic space retains: a trie by level."""

    def __init__(self) -> None:
        self._root: _Branch[Kept] = _Branch()

    def get(self, topic: str) -> Kept | None:
        """Return what the topic retains."""
        branch = self._root.find(topic)
        return branch.kept if branch else None

    def put(self, topic: str, kept: Kept | None) -> None:
        """Keep something in place of what was there; ``None`` forgets it."""
        if kept is not None:
            self._root.grow(topic).kept = kept
        elif (branch := self._root.find(topic)) is not None:
            branch.kept = None
            self._root.prune(topic)

    def match(self, topic_filter: str) -> list[Kept]:
        """Return what the topics that match the filter retain."""
        branches = [self._root]
        for depth, level in enumerate(topic_filter.split("/")):
            if level == "#":
                return [kept for branch in branches for kept in _below(branch, at_root=depth == 0)]
            if level == "+":
                branches = [
                    child
                    for branch in branches
                    for name, child in branch.children.items()
                    if depth or not name.startswith("$")
                ]
            else:
                branches = [
                    branch.children[level] for branch in branches if level in branch.children
                ]
        return [branch.kept for branch in branches if branch.kept is not None]


def _below(branch: "_Branch[Kept]", *, at_root: bool) -> Iterator[Kept]:
    waiting = [branch]
    if at_root:
        waiting = [child for name, child in branch.children.items() if not name.startswith("$")]
    while waiting:
        branch = waiting.pop()
        if branch.kept is not None:
            yield branch.kept
        waiting.extend(branch.children.values())


class _Branch(Generic[Kept]):
    """One level of a trie."""

    __slots__ = ("children", "kept")

    def __init__(self) -> None:
        self.children: dict[str, _Branch[Kept]] = {}
        self.kept: Kept | None = None

    def grow(self, path: str) -> "_Branch[Kept]":
        branch = self
        for level in path.split("/"):
            branch = branch.children.setdefault(level, _Branch())
        return branch

    def find(self, path: str) -> "_Branch[Kept] | None":
        branch: _Branch[Kept] | None = self
        for level in path.split("/"):
            if branch is None:
                return None
            branch = branch.children.get(level)
        return branch

    def prune(self, path: str) -> None:
        """Remove the branches of a path that hold nothing any more."""
        levels = path.split("/")
        trail: list[_Branch[Kept]] = [self]
        for level in levels[:-1]:
            trail.append(trail[-1].children[level])
        for parent, level in zip(reversed(trail), reversed(levels), strict=True):
            child = parent.children[level]
            if child.children or child.kept is not None:
                return
            del parent.children[level]
