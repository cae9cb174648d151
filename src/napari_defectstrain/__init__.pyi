__version__: str

from .io.files import read_images as read_images
from .materials import get_material as get_material
from .output.results import write_results as write_results
from .output.studies import run_study as run_study
from .pipeline.chain import average_classes as average_classes
from .pipeline.chain import detect_images as detect_images
from .pipeline.chain import run as run
from .pipeline.class_measurement import measure_classes as measure_classes
from .pipeline.class_measurement import measure_spacings as measure_spacings
from .pipeline.loading import load_images as load_images
from .pipeline.runs import RunConfig as RunConfig
from .pipeline.runs import RunResult as RunResult
from .series.chain import analyse_series as analyse_series
from .series.settings import SeriesConfig as SeriesConfig
from .simulate.dataset import SimulationConfig as SimulationConfig
from .simulate.dataset import simulate_image as simulate_image
from .strain.displacement import displacement_field as displacement_field
from .strain.field import strain_field as strain_field
from .study.opening import create_study as create_study
from .study.opening import open_study as open_study
from .types import CalibratedImage as CalibratedImage
from .types import DefectStrainError as DefectStrainError
from .types import Sites as Sites
