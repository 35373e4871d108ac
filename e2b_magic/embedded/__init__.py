"""The embedded E2B server: E2B's protocol, served on this machine, each sandbox contained by bubblewrap.

From the outside in: `runtime` finds the server or starts it (`python -m e2b_magic.embedded`), `server` answers HTTP,
`sandbox` is one contained machine, `containment` what keeps it in, `agent` the script that is its first process. Each
knows only those after it. Nothing is imported here: whoever looks for a running server pays for no more than that.
"""
