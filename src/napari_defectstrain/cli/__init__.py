"""The command line, one module a command: thin layers over `pipeline` and `output`."""

__all__: list[str] = []
