"""OpenAPI documents as upstreams: operations become tools."""
