"""The ids that tie a request to its log lines are harmless and its own."""

import re
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from fieldstation.core.correlation import choose_correlation_id, current_ids, fresh_id


@given(st.binary(max_size=200))
def test_no_correlation_id_can_forge_a_header_or_a_line(offered: bytes) -> None:
    chosen = choose_correlation_id(offered)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", chosen)


def test_outside_of_a_request_ids_are_fresh() -> None:
    assert current_ids() != current_ids()


def test_a_fresh_id_is_a_random_uuid_in_its_usual_form() -> None:
    made = fresh_id()
    assert str(UUID(made)) == made
    assert (UUID(made).version, UUID(made).variant) == (4, RFC_4122)
