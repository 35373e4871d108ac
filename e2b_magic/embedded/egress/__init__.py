"""The way out of a sandbox: an HTTP proxy of the server's, under the sandbox's rules.

A sandbox has no route to any network. Its programs find a proxy on their loopback, as `HTTP_PROXY` and the like tell
them; the agent hands each connection out, and here it is read, judged and served::

    proxy          one sandbox's way out: takes its connections, keeps its policy, cuts what is no longer allowed
    ├── request        the head of a request: bounded, and read strictly
    │   └── destination    a host and a port, or a refusal: what is no plain name and no plain address gets no further
    ├── policy         what the sandbox's creator allows and denies (`allow_out`, `deny_out`)
    │   ├── names          names of hosts, as rules write them
    │   └── transforms     headers that its creator has put into requests (`rules`)
    ├── lookups        a name's addresses, a bounded number of lookups at a time
    ├── gateway        the machine's side: judges the very addresses that are dialled, and dials them
    │   ├── addresses      what no sandbox may reach, whatever its policy says: the machine, its network, metadata
    │   ├── authority      certificates in the place of hosts into whose requests headers are put
    │   ├── upstream       a proxy that this machine itself has to use
    │   └── socks          a proxy of the sandbox's creator's own
    ├── doctor         what is said of it before a server starts
    ├── relay, exchange    a tunnel's bytes, and a plain request's
    └── streams        a connection's two directions, plain or by TLS

Whatever cannot be judged is refused. A refusal is an answer of one line (`refusals`) that names the rule.
"""
