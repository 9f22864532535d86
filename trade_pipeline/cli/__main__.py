"""`python -m trade_pipeline.cli`."""

from trade_pipeline.cli import main

main()
