"""Token files that training maps into memory: what they are, how they are read; and the corpus.

A prepared directory is a pure function of the request that made it and of the sources' content; the
making is in `optzoo.data.preparation`. Nothing here imports torch.
"""
