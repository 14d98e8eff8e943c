"""What can be named in an experiment, and how it gets there: registered, loaded, checked, started from a template."""
