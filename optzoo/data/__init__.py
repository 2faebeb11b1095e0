"""Preparing text: sources -> documents -> token files that training maps into memory.

A prepared directory is a pure function of the request that made it and of the sources' content.
Nothing here imports torch; `datasets` and tokenizer packages are imported where they are needed.
"""
