"""pixi.toml and pixi.lock."""
