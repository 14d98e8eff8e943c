"""What is asked: the experiment file, checked and resolved to a plan, and what makes a run the run it is."""
