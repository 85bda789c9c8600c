"""Metrics, one family a file; numpy in, plain numbers out."""
