"""The API for programs in other languages: REST with OpenAPI 3.1 over the SDK. `skerry api` serves it; no node does."""
