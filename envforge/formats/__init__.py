"""Text to model and back, pure; one module a file format.

| place | what is there |
|---|---|
| `conda/` | conda's own: what is asked for, explicit lists, and what a prefix notes |
| `conda_lock/` | conda-lock.yml: written, and read quickly or strictly |
| `python/` | What Python's packaging standards and pip write |
| `pixi/` | pixi.toml and pixi.lock |
| `images/` | What a Dockerfile installs |
| `models/` | models.yml and models-lock.yml |
| `packs/` | What carries an environment to other places |
| `text/` | What the formats are made of: YAML, TOML, JSON, quoting, moments, the shape of secrets |
| `source_kind.py` | which of them a text is in |
| `archive_name.py` | what an address says of a package |
| `activation.py`, `template_yml.py` | code for shells; environments to start from |
"""
