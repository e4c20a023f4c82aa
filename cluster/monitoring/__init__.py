"""What the farm says of itself: figures, log lines, spans."""
