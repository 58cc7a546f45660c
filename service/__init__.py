"""The HTTP side of Trainyard: the language, the store, the API and predictions."""
