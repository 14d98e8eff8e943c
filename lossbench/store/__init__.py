"""`runs/`: one folder a run, written whole or not at all; what a file must be to count, and the table made from it."""

from lossbench.store.folder import KEPT_RECORDS as KEPT_RECORDS
from lossbench.store.folder import Store as Store
from lossbench.store.folder import load_results as load_results
from lossbench.store.records import StoreError as StoreError
from lossbench.store.records import write_whole as write_whole
