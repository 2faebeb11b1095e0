"""`verify`: someone's own torch optimizer beside a recipe, and the term through which they part."""
