"""What any widget has measured, for all of them: fits of averages serve their strain, too."""

from ...pipeline.measurement_cache import MeasurementCache

KNOWN = MeasurementCache()
measure_spacings, measure_classes = KNOWN.spacings, KNOWN.classes
