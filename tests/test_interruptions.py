"""Signals end a command in one line and with its exit code, whenever they come."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from napari_defectstrain.interruptions import Interrupted, Interruptions, put_in_order

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def ended(body: str) -> subprocess.CompletedProcess[str]:
    """A process that signals itself within `body`."""
    code = f"""
import gc, os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits "ignore",
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and so does what nohup starts
from napari_defectstrain.interruptions import Interruptions, put_in_order
say = lambda text: print("error:", text, file=sys.stderr)
with Interruptions(say, forever=True) as caught:
    try:
{textwrap.indent(textwrap.dedent(body), " " * 8)}
        code = 0
    except KeyboardInterrupt:
        say("unwound")
        code = caught.exit_code
    sys.exit(caught.done(code))
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("signum", SIGNALS)
def test_at_once_where_nothing_is_being_written(signum):
    # an import turns exceptions into others: there must be none
    done = ended(f"""
        try:
            os.kill(os.getpid(), {int(signum)}); time.sleep(5)
        except BaseException as error:
            raise ImportError("half-imported") from error
    """)
    assert done.returncode == 128 + signum
    assert done.stderr == "error: stopped; nothing was left half-written\n"


@pytest.mark.parametrize("signum", SIGNALS)
def test_unwinds_where_files_are_to_be_put_in_order(signum):
    done = ended(f"""
        with put_in_order():
            os.kill(os.getpid(), {int(signum)}); time.sleep(5)
    """)
    assert done.returncode == 128 + signum
    assert done.stderr == "error: unwound\n"


def test_a_stop_that_a_destructor_swallows_is_asked_for_again():
    done = ended("""
        class Swallows:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT); time.sleep(0.2)
        with put_in_order():
            Swallows()
            time.sleep(20)
    """)
    assert done.returncode == 130
    assert done.stderr == "error: unwound\n"


def test_a_second_signal_ends_at_once():
    done = ended("""
        with put_in_order():
            try:
                os.kill(os.getpid(), signal.SIGINT); time.sleep(5)
            finally:
                os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)
    """)
    assert done.returncode == 143
    assert done.stderr == "error: stopped\n"


def test_a_worker_process_has_nothing_to_say():
    done = ended("""
        with put_in_order():
            child = os.fork()
            if not child:
                os.kill(os.getpid(), signal.SIGINT); time.sleep(5)
            assert os.waitpid(child, 0)[1] == signal.SIGINT
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_end_of_a_finished_command_is_not_interrupted():
    done = ended("import atexit; atexit.register(os.kill, os.getpid(), signal.SIGINT)")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_process_ends_with_its_code_and_all_that_it_said():
    code = """
        import atexit, sys, threading, time
        from napari_defectstrain.interruptions import end_process
        atexit.register(print, "put in order", flush=False)
        threading.Thread(target=lambda: (time.sleep(0.3), print("waited for"))).start()
        print("said")
        end_process(3)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.split("\n")[:3] == ["said", "waited for", "put in order"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_what_cannot_be_written_is_no_success():
    code = "print(1); from napari_defectstrain.interruptions import end_process; end_process(0)"
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, env=buffered, check=False)
    assert done.returncode == 120


def test_what_was_before_comes_back():
    before = [signal.getsignal(signum) for signum in SIGNALS]
    with Interruptions(print, forever=False) as caught, put_in_order():
        with pytest.raises(Interrupted, match="^$"):
            os.kill(os.getpid(), signal.SIGTERM)
        assert caught.exit_code == 143
    assert [signal.getsignal(signum) for signum in SIGNALS] == before
