"""Built-in metrics are computed by `lossbench.run.evaluation`; this table is where plugins add theirs."""
