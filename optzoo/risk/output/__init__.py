"""What `quadratic` says, as tables, figures and studies."""
