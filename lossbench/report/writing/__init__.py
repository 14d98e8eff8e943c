"""How a report leaves: as a page, as Markdown, as tables for LaTeX and CSV, as JSON; and how numbers are written."""
