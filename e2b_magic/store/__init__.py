"""What is remembered between commands, cells and sessions: one file, in the format of Python 3.13's `dbm.sqlite3`.

`KeyValueStore` is the file as a mapping of bytes to bytes, with expiry and eviction. `Store` keeps typed records in it,
each user's under a namespace of their own: executions for seven days, cached results for an hour, projects for good.
"""

from e2b_magic.store.executions import RESULT_LIFETIME
from e2b_magic.store.mapping import KeyValueStore
from e2b_magic.store.store import CachedResult, CacheInfo, Store, open_store

__all__ = ["RESULT_LIFETIME", "CacheInfo", "CachedResult", "KeyValueStore", "Store", "open_store"]
