"""Trees of files on this machine: looked through, packed into an archive, and unpacked from one that is not trusted."""
