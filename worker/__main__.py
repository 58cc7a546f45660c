"""`python -m worker`: run a worker until it is told to stop."""

from worker.app import main

main()
