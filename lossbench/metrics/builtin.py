"""Built-in metrics are computed by `lossbench.evaluation`; this table is where plugins add theirs."""
