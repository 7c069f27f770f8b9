"""The shared model cache: what belongs where, what may go, what is equal. Pure: no I/O.

| module | decides |
|---|---|
| `layout.py` | where a blob lies in the store, and how a cache tree of the hub is laid out |
| `git_blob.py` | what git, and so a hub, calls the bytes of a file |
| `patterns.py` | which files of a repository are meant |
| `lock_check.py` | whether models.yml and its lock agree, and what moved between two locks |
| `fetch_plan.py` | which files have to come, and whether there is room for them |
| `view_plan.py` | what a view holds: folders, blobs, links, refs; and the old flat cache |
| `view_variables.py` | which variables make clients use a view |
| `hub_variables.py` | which cache the user's own variables name, and how they are set by mistake |
| `dedupe_plan.py` | which copies in existing caches become links of one |
| `survey.py`, `usage.py` | what was seen of a store and of cache trees; who uses which bytes |
| `treemap.py` | the same as rectangles |
| `collect_plan.py` | what a collection may remove |
| `amounts.py` | ages and sizes as people type them |
| `health.py` | what is wrong in a store and its views, compared with the locks |
| `disk_facts.py`, `disk_checks.py` | what was seen of a disk and its settings; what is wrong |
| `proof.py` | whether a load that was watched is proven |
"""
