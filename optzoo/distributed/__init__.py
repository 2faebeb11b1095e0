"""The processes of a run: who they are, how they stop, how tensors are spread over them."""
