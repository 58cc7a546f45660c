"""What the API answers: one model per resource, each field described once, here."""
