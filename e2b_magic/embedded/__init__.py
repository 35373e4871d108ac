"""The embedded E2B server: E2B's own protocol, served on this machine, each sandbox contained by bubblewrap.

Outside in: the daemon and its routes speak HTTP; a `Sandbox` (`sandbox.py`) is one contained machine; a `Launcher`
(`launcher.py`), prepared once a daemon, starts bubblewrap; the agent (`agent/`) is pid 1 inside and does all that
must be done there. Nothing is imported here, so that looking for the server's runtime file costs nothing.
"""
