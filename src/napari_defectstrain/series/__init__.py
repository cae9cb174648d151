"""Series of frames: what the beam, or time, does to every site.

`settings` says what is asked; `sums` sums a few frames each, `linking` finds their columns on the
sites, `hidden` follows each site by a hidden Markov chain, `rates`, `events` and `holes` say what
happened; `chain` joins them, `records` makes tables of it, `snippets` says it as command or script.
Imports `study`, `pipeline`, `frames`, `crystal`, `averages`, `io` and the words.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
