"""Every table uses types that mean the same on each database."""

from sqlalchemy import DateTime

from fieldstation.tables import METADATA


def test_no_table_stores_a_time_in_a_database_s_own_way() -> None:
    found = [
        column
        for metadata in METADATA.values()
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, DateTime)
    ]
    assert found == []


def test_every_constraint_and_index_has_a_name() -> None:
    for metadata in METADATA.values():
        for table in metadata.tables.values():
            assert all(constraint.name for constraint in table.constraints)
            assert all(index.name for index in table.indexes)
