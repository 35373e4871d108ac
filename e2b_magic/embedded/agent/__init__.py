"""The agent: pid 1 of a sandbox, and the only process inside that the daemon speaks with.

::

    main        confines itself, then answers requests until the daemon goes
    ├── confinement   undumpable, resource limits, its own standard streams
    ├── oom_score     what is killed first when memory runs out
    ├── channel       requests in, answers and descriptors out, over one Unix socket
    ├── loop          epoll, and long work done a slice at a time
    ├── processes     spawns, signals and reaps
    │   ├── starting      a program in a process of its own
    │   └── terminals     a pseudo terminal, relayed over a socket that the daemon made
    ├── files         stat, list, open, make, move, remove
    │   ├── entries       what is told of a file
    │   └── users         who there is, and where a path of theirs leads
    ├── watching      what happens in directories
    │   ├── watcher       one watch, and what its client does not know yet
    │   └── inotify       the kernel's queue of events
    ├── ports         dials a port of the sandbox's own loopback
    └── outlet        listens where programs look for the proxy, and hands each connection out

It runs by `python -I -S -E -B`, packed into one file of bytecode (`containment.bundle`), without a byte of
this package or of any other around it. So its modules import each other and a few modules of the standard library
that are written in C: `json`, `signal`, `socket` and `subprocess` would cost 8, 5, 8 and 13 milliseconds of each
sandbox's start, of which bubblewrap and Python take 12 together.

The agent trusts the daemon. The daemon does not trust the agent, nor does the agent have a right that a command
run beside it would lack: all that it does is done by the sandbox's user, within the sandbox's view of the world.
"""
