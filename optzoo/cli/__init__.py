"""The commands. They parse flags, call the package and print; they hold no arithmetic.

Every command imports what it needs when it runs, so that `optzoo --help` stays instant.
"""
