"""Trades and finished orders beyond memory: SQLite on every node, PostgreSQL if told."""
