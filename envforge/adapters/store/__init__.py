"""The store of model files on disk, and the cache trees that hang on it.

| place | what is there |
|---|---|
| `store.py` | the store itself; who may write it: `trust.py`, `acl.py`, `acting.py` |
| `holders.py`, `leases.py` | who is at work, and what is kept from collection for them |
| `known_hashes.py`, `copying.py`, `writeback.py` | bytes: remembered, copied, written early |
| `arriving/` | files on their way in |
| `trees/` | views, in folders that belong to somebody else: no link is followed |
| `serving/` | hardlinks for users who do not own the store |
| `looking/` | what lies in a store, in its views and on its disk |
| `removing/` | what goes, and what keeps it |
| `dedupe/` | existing caches |
"""
