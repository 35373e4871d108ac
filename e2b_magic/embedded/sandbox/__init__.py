"""A contained machine, and what can be asked of it.

`Sandbox` (in `sandbox`) is the whole of it for those above: processes, files, ports. Below it a `machine` runs, whose
agent is spoken to over a `channel`; what comes back is checked by `entries`, `outward` and `spawned`. `preflight` finds
out whether this machine can contain one.
"""
