from .dock import gallery_of as gallery_of
from .dock import open_gallery as open_gallery
from .panel import GalleryPanel as GalleryPanel
