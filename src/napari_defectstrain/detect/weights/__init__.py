"""Weights of networks that come with the package: safetensors, each with its hash."""

__all__: list[str] = []
