"""WHAT to run: recipes as YAML, their strict loader, and the one error that users see."""
