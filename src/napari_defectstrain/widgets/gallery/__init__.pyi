from .dock import gallery_of as gallery_of
from .dock import open_gallery as open_gallery
from .dock import restyle_gallery as restyle_gallery
from .panel import GalleryPanel as GalleryPanel
