"""From images to a strain field: the notebook user's ten lines.

python examples/quickstart.py IMAGE...
"""

import sys

import numpy as np

import napari_defectstrain as nds

images = [image for path in sys.argv[1:] for image in nds.read_images(path)]
result = nds.run(images, nds.RunConfig(material="WSe2", bootstrap=2000))

print(result.populations.to_string(index=False))
for name, measured in result.measurements.items():
    spacing = measured.spacing
    print(f"{name}: N = {spacing.n}, {spacing.spacing_pm:.2f} ± {spacing.precision_pm:.2f} pm")
    if measured.strain is not None:
        dilation = measured.strain.components["dilation"]  # (H, W), a fraction, y up
        print(f"  dilation from {np.nanmin(dilation):+.2%} to {np.nanmax(dilation):+.2%}")
