"""What a run leaves on disk: its directory, checkpoints, metrics, comparisons."""
