"""`python -m worker.predicting`: run a predictor until it is told to stop."""

from worker.app import main

main(predicting=True)
