"""Replay: computes stored trades again from stored inputs and compares them bit for bit."""

from trade_pipeline.core.replay.report import Replay, SessionReplay, joined
from trade_pipeline.core.replay.sessions import (
    replay_all,
    replay_session,
    replay_trade,
    session_days,
)

__all__ = [
    "Replay",
    "SessionReplay",
    "joined",
    "replay_all",
    "replay_session",
    "replay_trade",
    "session_days",
]
