"""Where runs happen: in this process, in worker processes, on the nodes of a cluster; and how they are stopped."""
