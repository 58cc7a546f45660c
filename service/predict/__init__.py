"""Predictions with uncertainty: Monte-Carlo dropout, what it says, and the models kept in memory."""
