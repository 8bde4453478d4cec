"""Ids are UUIDv7 and sort by birth."""

import uuid

from fieldstation.core.ids import new_id


def test_an_id_is_a_canonical_uuid_of_version_7() -> None:
    made = new_id()
    assert str(uuid.UUID(made)) == made
    assert uuid.UUID(made).version == 7


def test_later_ids_sort_behind_earlier_ones() -> None:
    made = [new_id() for _ in range(2_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
