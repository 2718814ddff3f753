"""The status page: pure functions from what a gateway shows of itself to HTML."""
