#!/usr/bin/env python3
"""Stands in for whoever keeps /dev/cachefiles open: starts a command with the device as an inherited descriptor
(sd_listen_fds(3), named "cachefiles") and starts it again whenever it was killed. Ends with SIGTERM, after the command.

usage: keep_cachefiles.py COMMAND...
"""
import os
import signal
import subprocess
import sys

FIRST_FD = 3


def main():
    device = os.open("/dev/cachefiles", os.O_RDWR | os.O_NONBLOCK)
    if device != FIRST_FD:
        os.dup2(device, FIRST_FD)
        os.close(device)
    os.set_inheritable(FIRST_FD, True)
    child = None
    ending = False

    def end(_signal, _frame):
        nonlocal ending
        ending = True
        if child:
            child.terminate()

    signal.signal(signal.SIGTERM, end)
    # The shell makes the variable that names the very process that the command becomes.
    command = ["sh", "-c", 'export LISTEN_PID=$$; exec "$@"', "sh", *sys.argv[1:]]
    environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "cachefiles"}
    while not ending:
        child = subprocess.Popen(command, env=environment, pass_fds=[FIRST_FD])
        child.wait()


if __name__ == "__main__":
    main()
