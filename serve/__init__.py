"""Who may ask, and how: HTTP API, webhooks, CDN and the farm command."""
