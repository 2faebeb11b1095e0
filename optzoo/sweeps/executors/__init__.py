"""Who runs the jobs of a sweep: this machine, SLURM, Ray."""
