"""raybench: choose and size an inference server, with numbers that can be defended."""
