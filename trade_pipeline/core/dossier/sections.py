"""The sections of a dossier: what was known, the orders, the outcome, the ledger."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from trade_pipeline.core.dossier.decision_section import decision_section
from trade_pipeline.core.dossier.facts import Content, Dossier, OrderStory
from trade_pipeline.core.dossier.lineage_section import lineage_section
from trade_pipeline.core.dossier.page import Block, Note, Page, Picture, Section, Table
from trade_pipeline.core.dossier.pictures import has_a_price, needs_a_closer_look, price_png
from trade_pipeline.core.dossier.verdict import result_in_words, subtitle, verdict
from trade_pipeline.core.dossier.words import (
    ENDED,
    TABLES,
    duration,
    moment,
    number,
    percent,
    price,
    short,
    usd,
)
from trade_pipeline.core.records import TerminationReason
from trade_pipeline.core.research.rug import WEIGHTS

_CENT = 0.01
# From this share of a barrier on, a price is told to be past it.
_PLAINLY = 0.01
_SOURCE_STATES = {
    "stored": "its bytes are stored",
    "removed": "removed, as its time was over; the address still proves what it was",
    "missing": "missing, although it should be there",
    "unrecorded": "not recorded in this store",
}
_HEURISTICS = {
    "liquidity_removed": "liquidity was taken out of the pool within 24 h",
    "lp_unlocked": "whoever made the pool can take its liquidity out",
    "developer_holding": "the developer holds a large part of the supply",
    "holder_concentration": "ten holders own a large part of the supply",
    "sell_failures": "sales of others failed lately",
    "no_sells": "many bought and hardly anybody sold: perhaps nobody can",
    "young_token": "it trades for less than three days",
    "mintable": "more of the token can be made at will",
    "trade_tax": "the contract keeps a part of each trade",
    "unverified_contract": "the contract's source is not published",
    "unaudited": "nobody audited the contract",
}
_MARKET: Mapping[str, tuple[str, Callable[[float | None], str]]] = {
    "return_1h": ("Price move, 1 h", percent),
    "return_6h": ("Price move, 6 h", percent),
    "return_24h": ("Price move, 24 h", percent),
    "volatility_24h": ("Volatility an hour, over 24 h", percent),
    "drawdown_24h": ("Below its 24 h high", percent),
    "flow_imbalance_1h": ("Bought less sold, share of volume, 1 h", percent),
    "flow_imbalance_24h": ("Bought less sold, share of volume, 24 h", percent),
    "buys_24h": ("Purchases, 24 h", number),
    "sells_24h": ("Sales, 24 h", number),
    "turnover_24h": ("Volume of 24 h by liquidity", number),
}


def page_of(dossier: Dossier) -> Page:
    """The whole page."""
    outcome = dossier.realised
    tone = ""
    if outcome is not None:
        tone = "good" if outcome["realized_pnl_percent"] > 0 else "bad"
    return Page(
        str(dossier.uuid),
        verdict(dossier),
        tone,
        subtitle(dossier),
        (
            _known(dossier),
            decision_section(dossier),
            _orders(dossier),
            _outcome(dossier),
            lineage_section(dossier),
            _ledger(dossier),
        ),
    )


def _known(dossier: Dossier) -> Section:
    intro = "What the system had been told about the token when it decided, and nothing later."
    research, blocks = dossier.research, list[Block]()
    if research is None:
        blocks.append(Note("No research is stored for this trade.", warns=True))
    else:
        rows = [
            ("Token", str(dossier.candidate["instrument"])),
            ("Contract", research["contract_address"] or "none is known"),
            ("Decided at", moment(dossier.candidate["decided_at"])),
            ("Newest fact known at", moment(research["known_at"])),
            ("Price", price(research["price_usd"])),
            ("Market cap", _whole_usd(research["initial_market_cap"])),
            ("Liquidity, both sides", _whole_usd(research["liquidity_usd"])),
            ("Volume, 24 h", _whole_usd(research["volume_24h_usd"])),
            ("Holders", number(research["holders"])),
        ]
        rows += [
            (name, shown(research["market"][key]))
            for key, (name, shown) in _MARKET.items()
            if key in research["market"]
        ]
        known = [row for row in rows if row[1] != "unknown"]
        blocks.append(Table("Market at the decision", ("", ""), known))
        if unknown := [name for name, value in rows if value == "unknown"]:
            blocks.append(Note(f"Not known: {'; '.join(unknown)}."))
        blocks += _rug(research)
        blocks.append(_sentiment(research))
        if facts := research["facts"]:
            blocks.append(
                Table(
                    "Facts about the contract and its holders", ("Fact", "Value"),
                    [(key.replace("_", " "), _fact(key, value)) for key, value in facts.items()],
                )
            )  # fmt: skip
    blocks += _sources(dossier)
    return Section("What was known", intro, blocks)


def _rug(research: Content) -> list[Block]:
    scores: Mapping[str, float] = research["rugpull_heuristic_scores"]
    title = f"Signs of a rug pull: combined risk {percent(research['rug_risk'])}"
    names = sorted(scores, key=lambda name: -scores[name])
    rows = [(_HEURISTICS.get(name, name.replace("_", " ")), percent(abs(scores[name])))
            for name in names]  # fmt: skip
    blocks: list[Block] = [
        Table(title, ("Sign", "How plain it was"), rows,
              marks=["bad" if scores[name] >= 0.5 else "" for name in names])
    ]  # fmt: skip
    if unknown := [one.replace("_", " ") for one in WEIGHTS if one not in scores]:
        blocks.append(Note(f"Could not be judged: {', '.join(unknown)}."))
    return blocks


def _sentiment(research: Content) -> Block:
    scores: Mapping[str, float] = research["social_sentiment_scores"]
    if not scores:
        return Note("Sentiment: no source had said anything about this token.")
    rows = [(source, number(level)) for source, level in scores.items()]
    rows += [
        ("all together", number(research["sentiment"])),
        ("change in 6 h", number(research.get("sentiment_momentum"))),
        ("agreement of the sources", number(research.get("sentiment_consensus"))),
    ]
    return Table("Sentiment by source (0 bad, 0.5 neutral, 1 good)", ("Source", "Level"), rows)


def _sources(dossier: Dossier) -> list[Block]:
    raw = [one for one in dossier.sources if one.role == "raw answer"]
    if not raw:
        mode, market = dossier.run["mode"], dossier.run["market"]
        told = {
            "backtest": f"The session read a {_kind(market)}: there are no answers of providers "
            f"behind it. Market content: {dossier.run['market_address'] or 'unknown'}.",
            "manual": "No raw answers were stored with this trade.",
        }.get(mode, "No provider had answered about this token before the decision.")
        return [Note(told)]
    rows = [
        (
            one.address, moment(one.fetched_at), "for ever" if one.expires_at is None
            else moment(one.expires_at), _SOURCE_STATES[one.state],
        )
        for one in raw
    ]  # fmt: skip
    marks = ["" if one.state == "stored" else "bad" for one in raw]
    return [
        Table(
            "The providers' raw answers that these facts were read from",
            ("Address (hash of the content)", "Fetched", "Kept until", "Now"), rows, marks=marks,
        )
    ]  # fmt: skip


def _kind(market: str) -> str:
    return "simulated market" if market == "simulated" else f"recording of {market}"


def _orders(dossier: Dossier) -> Section:
    intro = (
        "What was sent, what came back, and the market around it. A barrier is a price at which "
        "the whole position could be sold, after the pool's fee and the sale's own impact."
    )
    blocks: list[Block] = []
    if has_a_price(dossier):
        blocks.append(
            Picture("Price and liquidity", lambda: price_png(dossier), dossier.market_note)
        )
    if needs_a_closer_look(dossier):
        blocks.append(
            Picture(
                "The same, from entry to exit", lambda: price_png(dossier, near=True),
                "the price between stop and target",
            )
        )  # fmt: skip
    blocks.append(Note(dossier.market_note, warns=dossier.market is None))
    if dossier.barriers is not None:
        at = dossier.barriers
        blocks.append(
            Table(
                "Barriers", ("Closed when", "USD per token"),
                [
                    ("Paid per token, fees inside the price included", price(at.entry)),
                    ("Stop: a sale would fetch at most", price(at.stop)),
                    ("Target: a sale would fetch at least", price(at.target)),
                    ("Longest holding time ends", moment(at.until)),
                ],
            )
        )  # fmt: skip
    blocks += _past_the_barrier(dossier)
    if not dossier.orders:
        blocks.append(Note("No order was sent."))
    else:
        head = (
            "Order", "Sent", "What came of it", "Price per token", "Value", "Worse than decided",
            "Fees",
        )  # fmt: skip
        marks = ["bad" if one.ended == "rejected" else "" for one in dossier.orders]
        rows = [_order_row(one) for one in dossier.orders]
        blocks.append(Table("Orders", head, rows, marks=marks))
        inside = [
            (_order_name(one), name.replace("_", " "), usd(amount), where)
            for one in dossier.orders
            for costs, where in (
                (one.costs_usd, "paid on top"), (one.inside_usd, "inside the price"),
            )
            for name, amount in costs.items()
            if amount
        ]  # fmt: skip
        if inside:
            blocks.append(Table("What they cost", ("Order", "Cost", "Amount", "How"), inside))
    blocks += _intents(dossier)
    return Section("Orders, and the market around them", intro, blocks)


def _past_the_barrier(dossier: Dossier) -> list[Block]:
    """Where the sale fetched plainly more or less than the barrier that caused it."""
    at, outcome = dossier.barriers, dossier.realised
    barrier = None
    if at is not None and outcome is not None:
        barrier = {
            TerminationReason.STOP_LOSS: ("stop", at.stop),
            TerminationReason.PROFIT_TARGET: ("target", at.target),
        }.get(outcome["termination_reason"])
    sold = [one for one in dossier.orders if one.leg == "exit" and one.price is not None]
    if barrier is None or not sold or sold[-1].price is None:
        return []
    name, level = barrier
    off = sold[-1].price / level - 1.0
    if abs(off) < _PLAINLY:
        return []
    side = "above" if off > 0 else "below"
    return [
        Note(
            f"The {name} was reached, and the sale fetched {percent(abs(off))} {side} it: an order "
            "is sent when an event of the market shows the barrier reached, that event can lie "
            "far past it, and the market moves on until the order arrives."
        )
    ]


def _order_name(order: OrderStory) -> str:
    number_of = "" if not order.attempt else f", attempt {order.attempt + 1}"
    return f"{'Buy' if order.leg == 'entry' else 'Sell'}{number_of}"


def _order_row(order: OrderStory) -> tuple[str, ...]:
    how = order.ended.replace("_", " ")
    if order.fills > 1:
        how += f" in {order.fills} parts"
    if order.latency_ms is not None:
        how += f" after {duration(order.latency_ms / 1_000)}"
    elif order.ended_at is not None and order.submitted_at is not None:
        how += f" after {duration((order.ended_at - order.submitted_at).total_seconds())}"
    if order.note:
        how += f": {order.note}"
    if order.stop_price:
        how += f"; a stop that rested at the venue, at {price(order.stop_price)}"
    elif order.reason:
        how += f"; sent {_sent(order.reason)}"
    return (
        _order_name(order),
        moment(order.submitted_at),
        how,
        price(order.price) if order.price is not None else "-",
        usd(order.value_usd) if order.value_usd is not None else "-",
        percent(order.slippage, 2) if order.slippage is not None else "-",
        usd(sum(order.costs_usd.values())) if order.costs_usd else "-",
    )


def _sent(reason: str) -> str:
    return ENDED.get(reason, reason).replace("sold ", "")


def _intents(dossier: Dossier) -> list[Block]:
    blocks: list[Block] = []
    if dossier.intents:
        rows = [
            (
                one["client_order_id"], one["leg"], str(one["attempt"] + 1),
                usd(one["stake_usd"]) if one["stake_usd"] is not None
                else f"{number(one['tokens'])} tokens",
                price(one["decision_price"]), price(one["stop_price"]) if one.get("stop_price")
                else "-", str(one["epoch"]),
            )
            for one in dossier.intents
        ]  # fmt: skip
        blocks.append(
            Table(
                "Intents: each is stored before its order may be sent",
                ("Client order id", "Leg", "Attempt", "Amount", "Decided at price", "Stop",
                 "Lease epoch"),
                rows,
            )
        )  # fmt: skip
    if dossier.reconciliations:
        found = [
            (
                one["kind"].replace("_", " "), "yes" if one["explained"] else "no",
                one["client_order_id"] or "-",
                ", ".join(f"{k} {v}" for k, v in one["facts"].items()) or "-",
            )
            for one in dossier.reconciliations
        ]  # fmt: skip
        blocks.append(
            Table(
                "What a restarted session found when it compared the records with the venue",
                ("Finding", "Explained", "Order", "Facts"), found,
            )
        )  # fmt: skip
    return blocks


def _outcome(dossier: Dossier) -> Section:
    intro = (
        "Realised is what the trade really brought. Shadow is what the same rules would have "
        "brought with a standard stake, executable prices included; every candidate gets one, also "
        "those skipped, so that skipping can be judged."
    )
    if not dossier.outcomes:
        told = {
            "enter": "Nothing is stored yet: the trade is open, or was not filled.",
            "skip": "Nothing was bought, and no shadow is computed so far.",
        }[dossier.candidate["decision"]]
        return Section("What came of it", intro, [Note(told)])
    facts = [
        (
            str(one["kind"]) + (f", correction {one['revision']}" if one["revision"] else ""),
            result_in_words(one).rstrip("."),
            ENDED.get(one["termination_reason"], one["termination_reason"])
            + (" (what was left could not be sold)" if one.get("written_off") else ""),
            duration(one["time_in_market_seconds"]),
            moment(one["closed_at"]),
            _points(one["worst_percent"]),
            _points(one["best_percent"]),
            "unknown" if one["fees_usd"] is None else usd(one["fees_usd"]),
            percent(one["exit_impact"], 2),
        )
        for one in dossier.outcomes
    ]
    names = (
        "", "Result after all costs", "Ended", "In the market", "Closed",
        "Worst moment, if all had been sold", "Best moment, if all had been sold",
        "Fees and gas", "Own impact of the sale",
    )  # fmt: skip
    head, *rows = zip(names, *facts, strict=True)
    return Section("What came of it", intro, [Table("", head, rows), *_sum(dossier)])


def _sum(dossier: Dossier) -> list[Block]:
    """How the realised result adds up, where all amounts are stored."""
    outcome = dossier.realised
    filled = [one for one in dossier.orders if one.fills]
    if outcome is None or outcome["pnl_usd"] is None:
        return []
    if any(one.value_usd is None for one in filled):
        return []
    paid = math.fsum(one.value_usd or 0.0 for one in filled if one.leg == "entry")
    got = math.fsum(one.value_usd or 0.0 for one in filled if one.leg == "exit")
    fees = math.fsum(cost for one in dossier.orders for cost in one.costs_usd.values())
    rows = [
        ("Got for the tokens", f"{got:+,.2f} USD"),
        ("Paid for the tokens", f"{-paid:+,.2f} USD"),
        ("Fees and gas on top, of every order", f"{-fees:+,.2f} USD"),
        ("Result", f"{outcome['pnl_usd']:+,.2f} USD"),
    ]
    blocks: list[Block] = [Table("How the result adds up", ("", ""), rows)]
    if abs(got - paid - fees - outcome["pnl_usd"]) > _CENT:
        blocks.append(Note("These amounts do not add up to the stored result.", warns=True))
    return blocks


def _ledger(dossier: Dossier) -> Section:
    intro = (
        "Every record is hashed, and each hash is chained to the one before it, so that an edited "
        "record breaks its chain. A chain has one writer, such as a session."
    )
    rows = [
        (
            TABLES.get(one.table, one.table) + (f" ({one.key})" if one.key else ""),
            one.chain_id, f"{one.seq:,}", one.content_hash,
            moment(one.recorded_at),
        )
        for one in dossier.ledger
    ]  # fmt: skip
    head = ("Record", "Chain", "Number", "Content (SHA-256)", "Stored")
    run = dossier.run
    facts = [
        ("Session", run["session_id"]),
        ("Code version", run["code_version"]),
        ("Settings", dossier.candidate["params_ptr"]),
        ("Market content", run["market_address"] or "-"),
        ("Seed", "-" if run["seed"] is None else str(run["seed"])),
        ("Experiments", ", ".join(run["experiments"]) or "-"),
        ("Dagster runs", ", ".join(run["dagster_runs"]) or "-"),
    ]
    return Section(
        "The ledger", intro,
        [
            Table("", head, rows),
            Table(f"The session {short(run['session_id'])}", ("", ""), facts),
        ],
    )  # fmt: skip


def _whole_usd(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f} USD"


def _points(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.1f} %"


def _fact(name: str, value: float | bool | str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return percent(value) if name.endswith(("share", "tax")) else number(value)
