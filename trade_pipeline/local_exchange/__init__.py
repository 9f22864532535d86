"""A local exchange over HTTP that speaks Binance spot's REST dialect, for tests and paper demos."""
