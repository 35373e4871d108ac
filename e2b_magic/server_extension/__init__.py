"""The Jupyter server's side: the worker behind HTTP routes, and the preview of what a sandbox serves.

`app.E2BMagicApp` is what Jupyter loads. It takes the API key out of the environment (`environment`), lets a
`redaction.Redactor` into the log, gives each kernel a token of its own (`tokens`, `kernels`), and serves

- `worker_routes`: requests in, events and envelopes out, answered by the `users.UserWorker` of whoever asks;
- `preview`: the pages of a dev server in a sandbox, without any right at Jupyter's origin.

`routes` has what all of them share: who asks (`identity`), and how much a body may hold.
"""
