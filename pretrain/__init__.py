"""Learning without labels: recipe, masking, objectives, loop, evaluation."""
