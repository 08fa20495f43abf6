"""HTTP API: one module per resource; `server.create_app` puts them together, `app.wiring` gives them services."""
