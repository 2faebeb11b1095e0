"""The program layer: expressions, the IR, its checker, passes, and the domain protocol."""
