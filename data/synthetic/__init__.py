"""Simulated structures with captions, one structure a file."""
