"""What corrections teach: priors of the judge, thresholds, the network; and whether it helps.

`lessons` are images with what somebody who looked at them says of their columns; `priors` and
`thresholds` learn from them what the judge takes on, `fine_tuning` what the network does;
`holding_out` compares columns that were not learnt from, before and after; `course` takes one part
after the other, `telling` puts it into words, and `taught` keeps it under a name. Imports `study`
and the rooms above; torch comes along only when columns are looked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
