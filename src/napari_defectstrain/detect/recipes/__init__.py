"""Settings of trainings that anyone can repeat: JSON for ``defectstrain train --config``."""

__all__: list[str] = []
