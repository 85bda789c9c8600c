"""Learning from few labels: draws, examples, adaptation, tasks, and the loop."""
