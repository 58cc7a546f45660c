"""Alembic migrations of the Trainyard database."""
