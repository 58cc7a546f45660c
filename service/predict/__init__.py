"""Predictions of raw rows with their uncertainty, and the models kept in memory."""
