"""What should be produced: recipes, ladders, rungs and which of them suit a source."""
