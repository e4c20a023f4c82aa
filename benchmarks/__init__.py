"""How fast and how right, as ratios inside one run. `python -m benchmarks` runs all; results are stored as JSON."""
