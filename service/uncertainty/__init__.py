"""What a network does not know: Monte-Carlo dropout, what its samples say, and how they are calibrated and judged."""
