"""What programs read of a run: facts as metadata, which they find again by `daily_runs`."""

from typing import Any

import dagster as dg
import orjson


def facts_metadata(facts: Any) -> dg.JsonMetadataValue:
    """Facts as the command line prints them; NaN, which is unknown, as null."""
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
    return dg.MetadataValue.json(orjson.loads(orjson.dumps(facts, option=options, default=str)))
