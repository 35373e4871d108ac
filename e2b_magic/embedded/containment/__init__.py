"""What keeps a sandbox in: namespaces and mounts, system calls, identity, and the files that it sees.

`bubblewrap` is the policy, as data. `launcher` starts it, with what `interpreter`, `own_files`, `seccomp`, `staging`
and `state` prepare. Nothing here talks to what runs inside.
"""
