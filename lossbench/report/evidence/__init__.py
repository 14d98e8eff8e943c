"""What is computed from the stored runs before a table, a sentence or a figure is made of it."""
