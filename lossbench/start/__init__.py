"""Data of one's own: what is there, what can be asked of it, and an experiment that asks it."""
