"""What results mean: one pair of recipes (`effects`), all pairs (`verdicts`), several data sets (`aggregates`)."""
