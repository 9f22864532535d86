"""What keeps a backup from being made or restored."""

from __future__ import annotations

from trade_pipeline.core.errors import TradePipelineError


class BadBackup(TradePipelineError):
    """A backup that is missing, unfinished, damaged, or of another program."""


class TargetNotEmpty(TradePipelineError):
    """Restoring would destroy something that is there."""
