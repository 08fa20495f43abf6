"""Commands of `countersign`, one module per group; `app.cli` puts them together."""
