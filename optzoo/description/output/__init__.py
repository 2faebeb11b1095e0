"""What `describe` says, as text, as a page and as figures."""
