"""Many runs: from a plan to stored results, what to run next, who does it, how far it is."""
