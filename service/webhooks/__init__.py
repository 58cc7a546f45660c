"""Telling others of changes of state: where to, signed how, and the thread that sends."""
