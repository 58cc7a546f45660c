"""One training run: the step, the loop around it, what is measured, kept and decided on the way."""
