"""What touches the disk: YAML with positions, files whole or absent, what is shipped."""
