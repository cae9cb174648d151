from .known_fields import Places as Places
from .known_fields import choose_places as choose_places
from .known_fields import known_displacement as known_displacement
from .known_fields import left_for_reference as left_for_reference
from .moving import move_columns as move_columns
from .twins import make_twin as make_twin
