"""Trading under random faults: after recovery every order stands once and every balance is told."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from trade_pipeline.core.execution.orders import OrderIntent, OrderStatus
from trade_pipeline.core.execution.venue_errors import OrderUnknown, VenueRefused, VenueUnavailable
from trade_pipeline.local_exchange.faults import FaultPlan
from trade_pipeline_tests.conftest import FULL_COUNTS
from trade_pipeline_tests.local_exchange.served import SYMBOL, Served, run
from trade_pipeline_tests.local_exchange.served import intent as order

SEEDS = 200 if FULL_COUNTS in os.environ else 2
START = datetime(2026, 1, 5, tzinfo=UTC)
KINDS = (
    "too_many_requests", "server_error", "maintenance", "delay", "slow_answer", "cut_before",
    "cut_after", "bad_json", "duplicate_fill", "late_fill", "late_report", "partial_fill",
    "clock_skew",
)  # fmt: skip


def plan(random: Random) -> FaultPlan:
    """Some kinds of faults, each on about one request in six."""
    faults: list[dict[str, Any]] = [
        {
            "kind": kind,
            "probability": random.uniform(0.05, 0.3),
            "seconds": random.choice([0.01, 0.05, 0.3]),
            "milliseconds": random.choice([-3_000, 3_000]),
        }
        for kind in random.sample(KINDS, 5)
    ]
    return FaultPlan.model_validate({"seed": random.randrange(1 << 30), "faults": faults})


def wanted(random: Random) -> list[OrderIntent]:
    """Orders of every kind, in the order in which they are sent."""
    low, high = Decimal("0.0009"), Decimal("0.0011")
    kinds = (
        order(amount="20000"),
        order(amount="9000", price=low),
        order(amount="9000", price=high),
        order("sell", "6000"),
        order("sell", "6000", stop_price=low),
    )
    return [replace(random.choice(kinds), attempt=number) for number in range(6)]


@pytest.mark.reliability
@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_faults_lose_and_double_nothing(tmp_path: Path, seed: int) -> None:
    random = Random(seed)

    async def trade(exchange: Served, intents: list[OrderIntent]) -> set[str]:
        """Send orders, some of which are cancelled; gives those that the venue refused."""
        refused = set()
        for intent in intents:
            try:
                await exchange.venue.submit(intent)
                if random.random() < 0.3:
                    await exchange.venue.cancel(intent.client_order_id, SYMBOL)
            except VenueRefused:
                refused.add(intent.client_order_id)
            except (VenueUnavailable, OrderUnknown):
                # It is resolved when the faults are over.
                pass
            exchange.move(random.choice(["0.00095", "0.001", "0.00105"]))
        return refused

    async def test(exchange: Served) -> None:
        await exchange.venue.submit(order(amount="50000", attempt=100))
        exchange.server.faults.replace(plan(random))
        intents = wanted(random)
        refused = await trade(exchange, intents)
        exchange.server.faults.replace(FaultPlan())
        # Late fills have come.
        await asyncio.sleep(0.4)
        usdt, pepe = Decimal(1000), Decimal(0)
        stand = 0
        for intent in [*intents, order(amount="50000", attempt=100)]:
            state = await exchange.venue.resolve(intent)
            if intent.client_order_id in refused:
                assert state is None
            if state is None:
                continue
            stand += 1
            assert state.status is not OrderStatus.SUBMITTED
            fills = state.fills
            assert sum(fill.amount for fill in fills) == state.filled
            sign = 1 if state.side == "buy" else -1
            usdt -= sum(sign * fill.value for fill in fills)
            pepe += sum(sign * fill.amount for fill in fills)
            usdt -= sum(fill.fee for fill in fills if fill.fee_asset == "USDT")
            pepe -= sum(fill.fee for fill in fills if fill.fee_asset == "PEPE")
        ids = [stored.client_id for stored in exchange.orders()]
        assert len(ids) == len(set(ids)) == stand
        balances = await exchange.venue.balances()
        assert balances["USDT"].free + balances["USDT"].locked == usdt
        assert balances["PEPE"].free + balances["PEPE"].locked == pepe

    run(tmp_path, test, call_seconds=0.25, window_seconds=0.4, deadline_seconds=1.5)
