"""The service over HTTP: routes, their models, errors, the stream of changes, metrics."""
