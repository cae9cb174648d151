"""Another signal, averaged at the same sites.

python examples/spectra.py [FOLDER]

A spectrum image that was scanned along is averaged over the windows of each class. The simulated
one has a line that only vacancies send out, a fraction of a count a position: no single spectrum
shows it.
"""

import sys
from pathlib import Path

import numpy as np
from known import known_images
from matplotlib.figure import Figure

import napari_defectstrain as nds
from napari_defectstrain.output import save_figure
from napari_defectstrain.pipeline import average_companion, detect
from napari_defectstrain.simulate import SpectrumConfig, simulate_spectra


def main(picture: Path, size: int = 512, config: nds.RunConfig | None = None) -> None:
    """Average spectra around vacancies, and draw the difference to the perfect crystal."""
    made, columns = known_images(picture.parent, 1, size, (0.02, 0.0, 0.04, 0.0))
    settings = SpectrumConfig()
    spectra = simulate_spectra(made[0], settings, np.random.default_rng(0))  # (y, x, channel)
    found = detect([made[0].image], config or nds.RunConfig(), columns)
    averaged = average_companion(found, {0: spectra})
    difference = averaged.differences["SV"]
    middle = difference.mean.shape[0] // 2
    at_site = np.s_[middle - 1 : middle + 2, middle - 1 : middle + 2]
    mean = difference.mean[at_site].sum(axis=(0, 1))
    sigma = np.sqrt((difference.sigma[at_site] ** 2).sum(axis=(0, 1)))
    line = int(settings.line_channel[2])
    print(f"{difference.n} windows of SV; the vacancies' line lies in channel {line}:")
    print(f"{mean[line]:.2f} ± {sigma[line]:.2f} counts more than in the perfect crystal")
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(np.arange(len(mean)), mean - sigma, mean + sigma, color="C0", alpha=0.3)
    axes.plot(mean, color="C0")
    axes.axvline(line, color="C1", ls="--", label="line of vacancies")
    axes.axhline(0, color="0.6", lw=0.8)
    axes.set(xlabel="channel", ylabel="counts, SV less 2Se")
    axes.legend(frameon=False)
    save_figure(figure, picture)


if __name__ == "__main__":
    main(Path(*sys.argv[1:], "spectra.png"))
