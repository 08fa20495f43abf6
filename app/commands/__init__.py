"""The commands, one module per group; `app.cli` puts them together."""
