"""The web room: admin page, JSON API, health and metrics, sign-in. It asks `engine.client` and knows nothing of Redis."""
