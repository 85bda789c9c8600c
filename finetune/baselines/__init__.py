"""Today's tools, tuned with care on the same few labels: what any model has to beat."""
