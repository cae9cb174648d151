"""What workers send back is read without the library that they found it with."""

import pickle
import subprocess
import sys

import numpy as np

from napari_defectstrain.detect import Detection
from napari_defectstrain.types import Sites


def test_a_detection_is_read_without_torch():
    names = ("W", "2Se", "SeTe", "2Te", "SV", "DV", "other")
    sites = Sites(np.ones((2, 2)), np.eye(7)[:2], np.arange(2), names, np.full(2, "model"))
    sent = pickle.dumps(Detection(sites, 20.0, "0" * 64, "WSe2", ()))
    read = f"import pickle, sys; pickle.loads({sent!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", read], check=False).returncode == 0
