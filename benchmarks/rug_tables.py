"""The published rug tables of whole tokens, as numbers; used by ``rug.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

_DUST = 1e-9
# Nothing real is greater; the table holds numbers up to 1e117.
_LARGEST = 1e30
# Text, the later life, and what was collected once the outcome was known (a site's address is that
# of an archive where the project is dead; the date tells which campaign collected the row).
_TM_LEFT_OUT = (
    "class",
    "Project Title",
    "Sign",
    "website",
    "x profile",
    "Contract address",
    "Blockchain",
    "Blockchain Type",
    "project starting date",
    "project end date",
    "project period (days)",
    "MaxPrice (Quarter 3)",
    "MaxPrice (Quarter 4)",
)
_TM_HITS = {
    "title": ("title (first day)", "title (project duration/2)"),
    "website": ("website (first day)", "website (duration/2)"),
    "profile": ("x profile (first days)", "x profile (duration/2)"),
}


def read_kang(data: Path) -> tuple[pd.DataFrame, pd.DataFrame, npt.NDArray[np.bool_]]:
    """Columns as given, ours, and whether each pool is a rug."""
    table = pd.read_parquet(data / "rug_benchmarks" / "kang_dataset_v1.9.parquet")
    given = table.drop(columns=["pool", "is_rugpull"]).astype(np.float64)
    swaps = given["swap_in_per_week"] + given["swap_out_per_week"]
    events = given["mint_count_per_week"] / (given["mint_ratio"] + _DUST)
    ours = given.assign(
        mints_to_swaps=given["mint_ratio"] / (given["swap_ratio"] + _DUST),
        burns_to_mints=given["burn_ratio"] / (given["mint_ratio"] + _DUST),
        swaps_per_week=swaps,
        swap_in_share=given["swap_in_per_week"] / (swaps + _DUST),
        events_per_week=events,
        swap_count_check=given["swap_ratio"] * events / (swaps + _DUST),
        events_per_mint=1.0 / (given["mint_ratio"] + _DUST),
        lp_variation=given["lp_std"] / (given["lp_avg"] + _DUST),
        lp_creator_or_locked=given["lp_creator_holding_ratio"] + given["lp_lock_ratio"],
        token_burned_or_creator=given["token_burn_ratio"] + given["token_creator_holding_ratio"],
        swaps_after_mints=given["swap_mean_period"] - given["mint_mean_period"],
        burns_after_mints=given["burn_mean_period"] - given["mint_mean_period"],
    )
    return given, ours, table["is_rugpull"].to_numpy(np.bool_)


def read_tm(data: Path) -> tuple[pd.DataFrame, pd.DataFrame, npt.NDArray[np.bool_]]:
    """Columns as given without the later life, ours, and whether each token is a scam."""
    table = pd.read_parquet(data / "rug_benchmarks" / "tm_rugpull_enriched_v1.0.parquet")
    table.columns = table.columns.str.strip()
    given = table.drop(columns=list(_TM_LEFT_OUT)).astype(np.float64).clip(upper=_LARGEST)
    for chain in ("ETH", "BSC", "POLYGON"):
        given[f"on {chain}"] = (table["Blockchain"] == chain).astype(np.float64)

    def log(name: str) -> pd.Series:
        return np.log(given[name] + 1e-12)

    holders, balance = np.log1p(given["Number of holders"]), log("Token balance")
    whales = log("Variance of holders with more than 1% tokens")
    ours = given.assign(
        holders_to_transactions=holders - np.log1p(given["the number of Transactions"]),
        second_price_to_first=log("MaxPrice (Quarter 2)") - log("MaxPrice (Quarter 1)"),
        first_value=log("MaxPrice (Quarter 1)") + balance,
        whales_to_all=whales - log("Total Variance"),
        whales_to_balance=whales - 2 * balance,
        variance_to_balance=log("Total Variance") - 2 * balance,
        holders_day_to_hour=np.log1p(given["Holders_24h"]) - np.log1p(given["Holders_1h"]),
        holders_day_to_all=np.log1p(given["Holders_24h"]) - holders,
        title_length=table["Project Title"].fillna("").str.len().astype(np.float64),
        symbol_length=table["Sign"].fillna("").str.len().astype(np.float64),
    )
    prefix = "Google results for project "
    for name, (first, middle) in _TM_HITS.items():
        ours[f"hits_growth_{name}"] = np.log1p(given[prefix + middle]) - np.log1p(
            given[prefix + first]
        )
    hits = [np.log1p(given[c]) for c in given.columns if c.startswith(prefix)]
    return given, ours.assign(hits_log=sum(hits)), (table["class"] == "scam").to_numpy()
