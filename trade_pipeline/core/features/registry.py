"""Every feature, once: its name, family, unit, definition, source and version.

A feature set is all of them together; its version is a hash over what is written here, so a changed
definition (raise its ``version``) is another feature set and no stored vector is misread.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache

from trade_pipeline.core.canonical import canonical_bytes, sha256
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.extensions.feature import declared_features
from trade_pipeline.core.extensions.load import loaded, version_of
from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.research.columns import SOURCES
from trade_pipeline.core.research.rug import WEIGHTS

FAMILIES = ("market", "onchain", "social", "rug", "execution")

# How late a recorder of each source may know what happened, microseconds: a feature whose power
# does not survive this delay is not one that can be traded on.
SOURCE_DELAYS: dict[str, int] = {
    "trades": HOUR // 60,
    "token facts": HOUR // 4,
    "social feeds": HOUR,
    "own records": 0,
    "venue": HOUR // 60,
    "clock": 0,
    "model": HOUR // 60,
}


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the feature table.

    Attributes:
        unit: of the value; ``share`` is a fraction of 1, ``flag`` is 0 or 1.
        definition: what it is at the moment of the decision; windows end there.
        source: whose data it is made from; a key of `SOURCE_DELAYS`.
        version: raised when the definition changes.
        low, high: bounds that hold for every value, for the data contract.
    """

    name: str
    family: str
    unit: str
    definition: str
    source: str
    version: int = 1
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class AddedFeature(Feature):
    """A feature of a module of the user's.

    Attributes:
        window_hours: how far back it looks.
        module: where it is from; ``code``: the version of that module's source.
    """

    window_hours: int = 0
    module: str = ""
    code: str = ""


# What a function over events can be made from.
_OPEN_SOURCES = ("trades", "token facts", "social feeds", "venue", "clock")


def _market() -> list[Feature]:
    def trades(
        name: str, unit: str, what: str, low: float | None = None, high: float | None = None
    ) -> Feature:
        return Feature(name, "market", unit, what, "trades", low=low, high=high)

    found = [
        trades(f"return_{h}h", "fraction", f"price against the price {h} h ago", -1)
        for h in (1, 6, 24, 72)
    ]
    found += [
        trades(
            f"volatility_{h}h", "fraction",
            f"standard deviation of the hourly price moves of {h} h, each against the middle of "
            "its two prices", 0, 2,
        )
        for h in (6, 24, 72)
    ]  # fmt: skip
    for h in (24, 72):
        found += [
            trades(f"drawdown_{h}h", "share", f"below the highest hourly price of {h} h", 0, 1),
            trades(f"recovery_{h}h", "fraction", f"above the lowest hourly price of {h} h", 0),
        ]
    found += [
        trades("bar_range_1h", "fraction", "high less low of the newest bar, by its close", 0),
        trades("reference_return_1h", "fraction",
               "move of the quote token (on an exchange: BTC/USDT) in 1 h", -1),
        trades("reference_return_24h", "fraction", "the same in 24 h", -1),
    ]  # fmt: skip
    found += [
        trades(f"volume_{h}h_usd", "USD", f"traded in {h} h, either side", 0) for h in (1, 6, 24)
    ]
    found += [
        trades(
            f"flow_imbalance_{h}h",
            "share",
            f"bought less sold, by the volume of {h} h",
            -1.000001,
            1.000001,
        )
        for h in (1, 6, 24)
    ]
    found += [
        trades("volume_acceleration", "ratio", "volume of 1 h times 24, by the volume of 24 h", 0),
        trades("volume_to_market_cap_24h", "ratio", "volume of 24 h by the market cap", 0),
        trades("turnover_24h", "ratio", "volume of 24 h by both sides of the pool", 0),
        trades("buys_24h", "count", "purchases in 24 h", 0),
        trades("sells_24h", "count", "sales in 24 h", 0),
        trades("buy_share_24h", "share", "purchases by all swaps of 24 h", 0, 1),
        trades("largest_trade_share_24h", "share", "largest swap by the volume of 24 h", 0, 1),
        trades("mean_trade_24h_usd", "USD", "volume by swaps of 24 h", 0),
        trades("liquidity_usd", "USD", "both sides of the pool", 0),
        trades("market_cap_usd", "USD", "price times the supply as it was known", 0),
        trades("market_cap_to_liquidity", "ratio", "market cap by both sides of the pool", 0),
        Feature("recent_slippage", "market", "fraction",
                "mean slippage of the strategy's last 10 fills against the decision price",
                "own records"),
        Feature("recent_failed_orders", "market", "share",
                "share of the strategy's last 10 ended orders that were rejected or cancelled",
                "own records", low=0, high=1),
    ]  # fmt: skip
    return found


def _onchain() -> list[Feature]:
    def fact(
        name: str, unit: str, what: str, low: float | None = None, high: float | None = None
    ) -> Feature:
        return Feature(name, "onchain", unit, what, "token facts", low=low, high=high)

    return [
        fact("holders", "count", "holders of the token", 0),
        fact("holders_growth_24h", "fraction", "change of the holders in 24 h", -1),
        fact("top_holders_share", "share", "supply held by the ten largest holders", 0, 1),
        fact("top_holders_share_change_24h", "share", "change of it in 24 h", -1, 1),
        fact("developer_share", "share", "supply held by the developer", 0, 1),
        fact("developer_share_change_24h", "share",
             "change of it in 24 h: the developer sells or buys", -1, 1),
        Feature("token_age_hours", "onchain", "hours", "since its trading began", "trades", low=0),
        fact("contract_verified", "flag", "the contract's source is verified", 0, 1),
        fact("mintable", "flag", "more of the token can be made", 0, 1),
        fact("buy_tax", "share", "of a purchase that the contract keeps", 0, 1),
        fact("sell_tax", "share", "of a sale that the contract keeps", 0, 1),
        fact("failed_sell_share", "share", "sales that failed lately", 0, 1),
        fact("market_cap_estimated", "flag", "the market cap's supply is an old one", 0, 1),
        Feature("supply_change_24h", "onchain", "fraction",
                "change in 24 h of market cap by price: minted or burned", "trades", low=-1),
        Feature("supply_in_pool_share", "onchain", "share", "of the supply that lies in the pool",
                "trades", low=0),
        fact("lp_creator_share", "share", "of the pool's LP tokens, held by who made it", 0, 1),
        fact("lp_creator_share_change_24h", "share", "change of it in 24 h", -1, 1),
        fact("lp_locked_share", "share", "of the LP tokens in known lockers", 0, 1),
        fact("lp_locked_share_change_24h", "share", "change of it in 24 h", -1, 1),
        fact("lp_burned_share", "share", "of the LP tokens that are burned", 0, 1),
    ]  # fmt: skip


def _social() -> list[Feature]:
    def said(
        name: str, unit: str, what: str, low: float | None = None, high: float | None = None
    ) -> Feature:
        return Feature(name, "social", unit, what, "social feeds", low=low, high=high)

    return [
        *(
            said(f"sentiment_{source}", "score", f"sentiment on {source}; 0.5 is neutral", 0, 1)
            for source in SOURCES
        ),
        said("sentiment_level", "score", "mean over the sources that spoke", 0, 1),
        said("sentiment_momentum", "score", "mean change by source in 6 h", -1, 1),
        said("sentiment_consensus", "score", "1: all sources agree; needs two", 0, 1),
        said("sentiment_dispersion", "score", "standard deviation over the sources", 0, 1),
        said("sentiment_sources", "count", "sources that spoke", 1),
        said("mentions_1h", "count", "messages that name the token in 1 h", 0),
        said("mentions_24h", "count", "the same in 24 h", 0),
        said("mention_burst_1h", "ratio",
             "mentions of 1 h and one, by the hourly mean of a week and one", 0),
        said("mention_burst_24h", "ratio",
             "mentions of 24 h and one, by the daily mean of a week and one", 0),
        said("mention_momentum_24h", "count", "mentions of 24 h less those of the 24 h before"),
        said("mention_share_24h", "share", "mentions by all messages of 24 h", 0),
    ]  # fmt: skip


def _rug() -> list[Feature]:
    def shown(name: str, what: str, low: float | None = 0, high: float | None = 1) -> Feature:
        return Feature(name, "rug", "share", what, "trades", low=low, high=high)

    return [
        *(
            Feature(f"rug_{name}", "rug", "score", f"rug heuristic: {name.replace('_', ' ')}",
                    "token facts", low=0, high=1)
            for name in WEIGHTS
        ),
        Feature("rug_risk", "rug", "score", "the heuristics combined", "token facts", low=0,
                high=1),
        shown("liquidity_removed_24h", "liquidity removed in 24 h, by the most that was there"),
        shown("liquidity_change_1h", "change of the liquidity in 1 h", -1, None),
        shown("liquidity_change_24h", "the same in 24 h", -1, None),
        shown("liquidity_from_peak_72h", "below the highest liquidity of 72 h"),
        Feature("audited", "rug", "flag", "the contract was audited", "token facts", low=0, high=1),
        Feature("rug_probability", "rug", "probability",
                "calibrated probability of a rug within 48 h, learned from tokens whose fate was "
                "known before", "model", low=0, high=1),
    ]  # fmt: skip


def _execution() -> list[Feature]:
    def own(
        name: str, unit: str, what: str, low: float | None = None, high: float | None = None
    ) -> Feature:
        return Feature(name, "execution", unit, what, "own records", low=low, high=high)

    def venue(name: str, unit: str, what: str) -> Feature:
        return Feature(name, "execution", unit, what, "venue", low=0)

    return [
        Feature("hour_of_day", "execution", "hours", "UTC hour", "clock", low=0, high=23),
        Feature("day_of_week", "execution", "days", "UTC weekday, Monday is 0", "clock", low=0,
                high=6),
        venue("stake_to_depth", "ratio", "full stake by the stake whose impact reaches the limit"),
        venue("expected_impact", "fraction", "own price impact of a full stake's entry"),
        venue("expected_cost", "fraction",
              "fees, gas, spread and impact of a full stake, there and back"),
        Feature("heuristic_confidence", "execution", "probability",
                "confidence of the heuristic (heuristic-1)", "model", low=0, high=1),
        own("open_positions", "count", "positions and entry orders that are open", 0),
        own("recent_win_rate", "share", "of the strategy's last 10 closed trades", 0, 1),
        own("recent_mean_return", "fraction", "the same: mean return after costs", -1.5),
        own("recent_stops", "share", "the same: share ended by stop or rug exit", 0, 1),
        own("hours_since_last_close", "hours", "since the strategy's last trade closed", 0),
    ]  # fmt: skip


def _added(built_in: tuple[Feature, ...]) -> tuple[AddedFeature, ...]:
    """The features of the user's own modules.

    Raises:
        BadConfig: one cannot be, or its name is taken.
    """
    loaded()
    names = {feature.name for feature in built_in}
    found = []
    for one in declared_features():
        named = f"feature {one.name!r} of {one.module}"
        if one.name in names:
            raise BadConfig(f"{named}: the name is taken by a built-in feature")
        for field, value, known in (
            ("family", one.family, FAMILIES),
            ("source", one.source, _OPEN_SOURCES),
        ):
            if value not in known:
                raise BadConfig(f"{named}: {field}={value!r}: expected one of {', '.join(known)}")
        found.append(
            AddedFeature(
                one.name, one.family, one.unit, one.definition, one.source, low=one.low,
                high=one.high, window_hours=one.window_hours, module=one.module,
                code=version_of(one.module),
            )
        )  # fmt: skip
    return tuple(found)


BUILT_IN: tuple[Feature, ...] = (*_market(), *_onchain(), *_social(), *_rug(), *_execution())
FEATURES: tuple[Feature, ...] = (*BUILT_IN, *_added(BUILT_IN))
NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)


def definitions() -> bytes:
    """The canonical bytes of all definitions, for the artifact store."""
    return canonical_bytes([asdict(feature) for feature in FEATURES])


@cache
def feature_set() -> str:
    """The version of all features together: a hash of their definitions, 16 hex digits."""
    return sha256(definitions()).hex()[:16]
