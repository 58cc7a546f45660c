"""The HTTP side: one router per resource, problem+json errors, uploads and the event stream."""
