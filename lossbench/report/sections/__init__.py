"""What the report says, section by section: its tables and its sentences."""
