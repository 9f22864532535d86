"""Backups: the database, its artifacts and its heads in a place from which they can come back."""
