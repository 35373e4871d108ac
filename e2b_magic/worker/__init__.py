"""The worker: what a client asks for, who answers, and how the question gets there.

`protocol` is the language (requests, events, envelopes), `Handler` answers by way of a `SandboxManager`, and a
`Caller` brings a request to a handler: in this process, or over HTTP to a Jupyter server.
"""
