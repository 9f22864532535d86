"""A strategy of one's own: buy near the day's high, sell when half of the best gain is lost."""

from typing import Any, ClassVar

from trade_pipeline.extend import Held, Look, Strategy


class Breakout(Strategy):
    """The product's own filters, sizes and stops hold beside these rules."""

    # Settings that it brings; --set strategy.exits.profit_target=0.4 stands above them.
    config: ClassVar[dict[str, Any]] = {
        "exits": {"stop_loss": 0.1, "profit_target": 0.5, "max_hold_hours": 72}
    }

    # Its own settings: --set strategy.rule_settings.near_high=0.05
    near_high = 0.03
    worth_keeping = 0.04
    give_back = 0.5

    def enters(self, look: Look) -> bool | str:
        # An unknown feature is NaN, and no comparison with it is true.
        if look.known["drawdown_24h"] <= self.near_high:
            return True
        return "below_the_high"  # stored as the reason why it was skipped

    def stake(self, look: Look, usd: float) -> float:
        # Half as much where the last hour was wild.
        return usd / 2 if look.known["bar_range_1h"] > 0.05 else usd

    def leaves(self, held: Held) -> bool:
        return held.best > self.worth_keeping and held.gain < self.give_back * held.best
