"""Lineage: what any stored object was made from, and what was made from it."""
