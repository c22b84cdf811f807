"""How a command ends by a signal."""

import subprocess
import sys

import pytest

ENDS = """
import os, signal, sys, time
from deepreduce.cli import signals
signals.CLEAN_UP_S = 0.2
signals.end_politely()
try:
    os.kill(os.getpid(), signal.SIG{name})
    time.sleep(5)
except KeyboardInterrupt:
    print("cleaning up", signals.ending_signal() == signal.SIG{name}, flush=True)
    os.kill(os.getpid(), signal.SIG{name})
    time.sleep({clean_up_s})
    print("cleaned up", flush=True)
"""


def ends(name: str, clean_up_s: float) -> tuple[int, list[str]]:
    program = ENDS.format(name=name, clean_up_s=clean_up_s)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize(("name", "number"), [("INT", 2), ("TERM", 15)])
def test_a_second_signal_does_not_disturb_cleaning_up_but_a_clean_up_that_hangs_ends(name, number):
    assert ends(name, 0) == (0, ["cleaning up True", "cleaned up"])
    assert ends(name, 20) == (128 + number, ["cleaning up True"])


def test_a_signal_that_was_ignored_stays_ignored():
    program = (
        "import os, signal\nfrom deepreduce.cli.signals import end_politely\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nend_politely()\nos.kill(os.getpid(), signal.SIGINT)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=30, check=False).returncode == 0


def test_a_hangup_before_there_is_something_to_reload_is_not_lost():
    program = (
        "import os, queue, signal\nfrom deepreduce.cli.signals import at_hangup, until_signalled\n"
        "until_signalled()\nos.kill(os.getpid(), signal.SIGHUP)\n"
        "done = queue.SimpleQueue()\nat_hangup(lambda: done.put('read again'))\nprint(done.get(timeout=10))\n"
        "os.kill(os.getpid(), signal.SIGHUP)\nprint(done.get(timeout=10))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "read again\nread again\n", "")
