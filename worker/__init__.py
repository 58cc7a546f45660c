"""The training side of Trainyard: Celery tasks that own jobs and train networks."""
