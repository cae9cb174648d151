from .drift import DRIFT_TABLE as DRIFT_TABLE
from .drift import drift_of as drift_of
from .drift import drift_table as drift_table
from .drift import frame_time_s as frame_time_s
from .drift import series_summary as series_summary
from .register import FrameConfig as FrameConfig
from .register import register_frames as register_frames
