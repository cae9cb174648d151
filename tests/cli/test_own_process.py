"""What a process for one command alone does without, it still gets where it asks for it."""

import subprocess
import sys

CODE = """
import sys
from napari_defectstrain.cli import own_process
own_process.prepare({arguments!r})
import torch
late = isinstance(sys.modules[own_process.LATE], own_process._ImportedLate)
from torch._meta_registrations import register_meta
came = not isinstance(sys.modules[own_process.LATE], own_process._ImportedLate)
without_values = torch.ones(3, device="meta").cumsum(0)
print(late, came, callable(register_meta), tuple(without_values.shape))
"""


def answers(arguments: list[str]) -> str:
    code = CODE.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_compiling_needs_comes_when_it_is_asked_for():
    assert answers(["run", "a.tif"]) == "True True True (3,)"


def test_training_has_all_of_torch_from_the_beginning():
    assert answers(["train"]) == "False True True (3,)"
