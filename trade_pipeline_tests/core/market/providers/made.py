"""Made-up answers in the shapes of the real ones."""

from __future__ import annotations

from typing import Any

TOKEN = "0x" + "ab" * 20
# As some providers write it, with its checksum in the letters' case.
CHECKSUMMED = "0x" + "Ab" * 20
POOL = "0x" + "cd" * 20
OTHER_POOL = "0x" + "ef" * 20
CREATOR = "0x" + "12" * 20
MINT = "So1anaMintSo1anaMintSo1anaMintSo1anaMint1234"


def dexscreener(price: str = "0.02", contract: str = CHECKSUMMED) -> list[dict[str, Any]]:
    def pair(address: str, usd: float, price: str) -> dict[str, Any]:
        return {
            "chainId": "ethereum",
            "pairAddress": address,
            "baseToken": {"address": contract, "symbol": "MADE"},
            "priceUsd": price,
            "volume": {"h24": 150_000.5},
            "liquidity": {"usd": usd},
            "fdv": 3_000_000,
            "pairCreatedAt": 1_700_000_000_123,
        }

    return [pair(OTHER_POOL, 10.0, "0.5"), pair(POOL, 80_000.0, price)]


def geckoterminal(
    price: str = "0.0201", contract: str = TOKEN, cap: str | None = "2000000"
) -> dict[str, Any]:
    return {
        "data": [
            {
                "attributes": {
                    "address": POOL,
                    "name": "MADE / WETH",
                    "base_token_price_usd": price,
                    "fdv_usd": "3100000",
                    "market_cap_usd": cap,
                    "reserve_in_usd": "79000.5",
                    "volume_usd": {"h24": "151000.25"},
                    "pool_created_at": "2023-11-14T22:13:20Z",
                },
                "relationships": {"base_token": {"data": {"id": f"eth_{contract}"}}},
            }
        ]
    }


def coingecko_coin(votes: float | None = 80.0, cap: float = 1_900_000.0) -> dict[str, Any]:
    return {
        "id": "made",
        "symbol": "made",
        "market_data": {
            "current_price": {"usd": 0.0199, "eur": 0.018},
            "market_cap": {"usd": cap},
            "total_volume": {"usd": 400_000},
        },
        "sentiment_votes_up_percentage": votes,
        "community_data": {"twitter_followers": 1000, "telegram_channel_user_count": 200},
    }


def coingecko_markets() -> list[dict[str, Any]]:
    def coin(name: str, cap: float | None, volume: float) -> dict[str, Any]:
        return {
            "id": name,
            "symbol": name,
            "current_price": 0.0199,
            "market_cap": cap,
            "total_volume": volume,
        }

    return [
        coin("made", 1_900_000, 400_000),
        coin("large", 900_000_000, 400_000),
        coin("quiet", 1_900_000, 10),
        coin("unknown", 0, 400_000),
        coin("elsewhere", 1_900_000, 400_000),
    ]


def coingecko_list() -> list[dict[str, Any]]:
    places = {
        "made": {"ethereum": TOKEN, "base": "0x1"},
        "large": {"ethereum": "0x2"},
        "quiet": {"ethereum": "0x3"},
        "unknown": {"ethereum": "0x4"},
        "elsewhere": {"solana": MINT},
        "coin": {},
        "odd": {"": ""},
    }
    return [{"id": name, "platforms": platforms} for name, platforms in places.items()]


def coinmarketcap_coin(cap: float = 0, reported: float | None = 2_500_000) -> dict[str, Any]:
    return {
        "id": 77,
        "slug": "made",
        "symbol": "MADE",
        "platform": {"slug": "ethereum", "token_address": CHECKSUMMED},
        "quote": {"USD": {"price": 0.02, "volume_24h": 390_000, "market_cap": cap}},
        "self_reported_market_cap": reported,
    }


def goplus(**changed: Any) -> dict[str, Any]:
    said = {
        "buy_tax": "0.03",
        "sell_tax": "",
        "creator_address": CREATOR,
        "creator_percent": "0.04",
        "owner_address": CREATOR,
        "owner_percent": "0.04",
        "dex": [{"pair": POOL, "liquidity": "81000.5"}],
        "holder_count": "1580",
        "holders": [
            {"address": POOL, "percent": "0.5", "is_locked": 0},
            {"address": "0x" + "0" * 36 + "dEaD", "percent": "0.2", "is_locked": 0},
            {"address": "0x" + "77" * 20, "percent": "0.1", "is_locked": 1},
            {"address": CREATOR, "percent": "0.04", "is_locked": 0},
        ],
        "lp_holders": [
            {"address": "0x" + "88" * 20, "percent": "0.6", "is_locked": 1},
            {"address": CREATOR, "percent": "0.3", "is_locked": 0},
            {"address": "0x" + "0" * 40, "percent": "0.1", "is_locked": 1},
        ],
        "is_honeypot": "0",
        "hidden_owner": "1",
        "is_mintable": "1",
        "is_open_source": "1",
        "token_symbol": "MADE",
    }
    return {"code": 1, "message": "OK", "result": {TOKEN: {**said, **changed}}}


def honeypot_is(honeypot: bool = False, simulated: bool = True) -> dict[str, Any]:
    return {
        "token": {"symbol": "MADE", "totalHolders": 1600},
        "simulationSuccess": simulated,
        "honeypotResult": {"isHoneypot": honeypot},
        "simulationResult": {"buyTax": 3.0, "sellTax": 4.5, "transferTax": 0},
        "holderAnalysis": {"holders": "100", "successful": "95", "failed": "4", "siphoned": "1"},
        "contractCode": {"openSource": True},
        "pair": {"liquidity": 80_500.0},
        "pairAddress": POOL,
    }


def rugcheck() -> dict[str, Any]:
    return {
        "creatorBalance": 50,
        "mintAuthority": None,
        "token": {"supply": 1000},
        "topHolders": [
            {"owner": "pool", "pct": 60.0},
            {"owner": "one", "pct": 4.0},
            {"owner": "two", "pct": 3.0},
        ],
        "knownAccounts": {"pool": {"type": "AMM"}, "one": {"type": "CREATOR"}},
        "markets": [
            {"lp": {"lpLockedPct": 0.0, "baseUSD": 1.0, "quoteUSD": 1.0}},
            {"lp": {"lpLockedPct": 95.0, "baseUSD": 900.0, "quoteUSD": 900.0}},
        ],
        "totalHolders": 700,
        "totalMarketLiquidity": 1802.0,
        "risks": [{"name": "Low Liquidity"}],
        "rugged": True,
    }
