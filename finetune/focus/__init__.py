"""Focus from few labelled stacks: features, ridge regression, calibration, the quality branch."""
