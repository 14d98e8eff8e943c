"""One run: from a specification to figures, on one machine, without a thought of other runs."""
