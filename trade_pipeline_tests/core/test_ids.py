"""Identities: a trade's UUID is derived, dated and ordered; an order id is unique and short."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core import ids

NOW = ids.micros(datetime(2026, 3, 1, 12, 30, 15, 123_456, tzinfo=UTC))
MOMENTS = st.integers(0, ids.micros(datetime(9999, 12, 31, tzinfo=UTC)))


@given(MOMENTS, st.binary(min_size=10, max_size=32))
def test_a_uuid_carries_its_millisecond_and_the_bits_of_version_7(
    moment: int, entropy: bytes
) -> None:
    uuid = ids.uuid7(moment, entropy)
    assert uuid.version == 7
    assert uuid.variant == RFC_4122
    assert ids.uuid7_micros(uuid) == moment // 1000 * 1000


@given(MOMENTS, MOMENTS, st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_uuids_are_ordered_by_time_as_numbers_and_as_texts(
    one: int, other: int, entropy: bytes, another: bytes
) -> None:
    first, second = sorted((one, other))
    before, after = ids.uuid7(first, entropy), ids.uuid7(second, another)
    if first // 1000 < second // 1000:
        assert before < after
        assert str(before) < str(after)
    assert ids.uuid7_floor(ids.moment_of(first)) <= before


@given(MOMENTS)
def test_the_floor_of_a_moment_lies_between_the_uuids_before_and_after_it(moment: int) -> None:
    floor = ids.uuid7_floor(ids.moment_of(moment))
    assert floor <= ids.uuid7(moment, bytes(10))
    if moment >= 1000:
        assert floor > ids.uuid7(moment - 1000, b"\xff" * 10)


def test_all_74_bits_that_are_no_time_come_from_the_entropy() -> None:
    seen = 0
    for bit in range(80):
        changed = ids.uuid7(NOW, (1 << bit).to_bytes(10, "big"))
        seen |= changed.int ^ ids.uuid7(NOW, bytes(10)).int
    assert seen.bit_count() == 74


@pytest.mark.parametrize("moment", [-1, (1 << 48) * 1000])
def test_a_moment_that_no_uuid_can_carry_is_refused(moment: int) -> None:
    with pytest.raises(ValueError, match=str(moment)):
        ids.uuid7(moment, bytes(10))


def test_a_decision_has_the_same_uuid_whenever_it_is_derived() -> None:
    # Written down, since every stored trade and every replay depends on it.
    assert ids.trade_uuid("session", "PEPE/USDT", 7, NOW) == UUID(
        "019ca960-bc53-7846-85b4-d1f224e4770c"
    )


def test_sessions_instruments_and_numbers_each_make_another_uuid() -> None:
    made = {
        ids.trade_uuid(session, instrument, number, NOW)
        for session in ("a", "b")
        for instrument in ("X", "Y", "X1")
        for number in (0, 1, 10, 11)
    }
    assert len(made) == 2 * 3 * 4
    assert ids.trade_uuid("a", "X", 0, NOW) != ids.trade_uuid("a", "X", 0, NOW + 1000)


@given(st.uuids(), st.integers(0, 1000))
def test_client_order_ids_fit_the_strictest_exchange(uuid: UUID, attempt: int) -> None:
    order = ids.client_order_id(uuid, "entry", attempt)
    assert len(order) <= 32
    assert order.isascii()
    assert order.isalnum()
    assert order == ids.client_order_id(uuid, "entry", attempt)


def test_every_leg_and_attempt_has_a_client_order_id_of_its_own() -> None:
    uuids = [ids.trade_uuid("s", "X", n, NOW) for n in range(3)]
    made = {
        ids.client_order_id(uuid, leg, attempt)
        for uuid in uuids
        for leg in ("entry", "exit")
        for attempt in range(12)
    }
    assert len(made) == 3 * 2 * 12


def test_a_sessions_id_depends_on_every_determinant_and_not_on_their_order() -> None:
    base = ids.session_id(market="simulated", seed=1, start=2)
    assert base == ids.session_id(start=2, seed=1, market="simulated")
    assert len(base) == 32
    others = {
        ids.session_id(market="recorded", seed=1, start=2),
        ids.session_id(market="simulated", seed=2, start=2),
        ids.session_id(market="simulated", seed=None, start=2),
        ids.session_id(market="simulated", start=2),
    }
    assert base not in others
    assert len(others) == 4


@given(
    st.datetimes(timezones=st.timezones(), allow_imaginary=False)
    | st.datetimes(timezones=st.just(timezone(timedelta(hours=5, minutes=30))))
)
def test_moments_survive_as_microseconds_exactly(moment: datetime) -> None:
    if not datetime(1, 1, 2, tzinfo=UTC) < moment < datetime(9999, 12, 30, tzinfo=UTC):
        return
    assert ids.moment_of(ids.micros(moment)) == moment.astimezone(UTC)
