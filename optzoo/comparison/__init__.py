"""Runs and sweeps compared: records, statistics, tables, figures, a page."""
