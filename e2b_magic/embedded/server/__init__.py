"""E2B's protocol over HTTP: the `daemon` serves an `application` that routes to the control plane, to envd, to ports.

`control` keeps `sandboxes`. `envd` answers for one of them: `process` and `filesystem` over Connect, `files` over plain
HTTP. `ports` passes requests on to what listens inside.
"""
