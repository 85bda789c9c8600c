"""K-shot tables: every method on the same draws, cell by cell, with intervals over animals."""
