"""What a module of one's own imports: see docs/extending.md.

``TRADE_PIPELINE_EXTENSIONS`` names such modules.  Nothing heavy is imported here.
"""

from trade_pipeline.core.extensions.estimator import Estimator
from trade_pipeline.core.extensions.feature import Events, Known, feature
from trade_pipeline.core.extensions.strategy import Held, Look, Strategy

__all__ = ["Estimator", "Events", "Held", "Known", "Look", "Strategy", "feature"]
