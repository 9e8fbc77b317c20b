"""Triton model repository that raybench ships: nothing in it imports raybench."""
