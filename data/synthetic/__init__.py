"""Simulated light-sheet volumes: scenes, one structure a file, and what comes of them."""
