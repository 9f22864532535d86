"""Experiments: batches of sessions that differ in their settings, and what may be said of them."""
