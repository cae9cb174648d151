from .bar import StudyBar as StudyBar
from .copying import CopyButtons as CopyButtons
from .copying import CopyTexts as CopyTexts
from .keeper import StudyKeeper as StudyKeeper
from .keeper import keeper_of as keeper_of
from .opening import open_into as open_into
from .opening import save_as as save_as
from .ties import paths_of as paths_of
