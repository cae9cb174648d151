from .steps import Advice as Advice
from .steps import State as State
from .steps import advice as advice
from .steps import state_of as state_of
from .widget import WorkbenchWidget as WorkbenchWidget
